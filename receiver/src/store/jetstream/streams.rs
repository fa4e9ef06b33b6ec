//! What the stream and the bucket are to be like, and what of one that is there already is not so.
//!
//! What the servers can change is brought to the settings: an age at which messages go, a limit that drops the oldest, or
//! too few replicas would lose what is pending. What they can't change is refused: a stream in memory is no promise.

use std::time::Duration;

use async_nats::jetstream::stream::{
    Compression, Config, DiscardPolicy, RetentionPolicy, StorageType,
};

use super::connection::{REMEMBERED, Settings};

/// The log.
pub(super) fn log(settings: &Settings, name: String, subject: String) -> Config {
    let most = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
    Config {
        name,
        subjects: vec![subject],
        description: Some("What Hookswitch's receivers share".to_owned()),
        max_bytes: settings.max_bytes.map_or(-1, most),
        deny_delete: true,
        duplicate_window: REMEMBERED,
        ..kept(settings)
    }
}

/// The stream of a bucket that is there: its parts and how much it may take are its own.
pub(super) fn bucket(settings: &Settings, there: &Config) -> Config {
    Config {
        name: there.name.clone(),
        subjects: there.subjects.clone(),
        max_bytes: there.max_bytes,
        deny_delete: false,
        duplicate_window: there.duplicate_window,
        ..kept(settings)
    }
}

/// A stream on disk that loses nothing by itself.
fn kept(settings: &Settings) -> Config {
    Config {
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: settings.replicas,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        max_consumers: -1,
        max_age: Duration::ZERO,
        compression: Some(Compression::S2),
        ..Config::default()
    }
}

/// What is to become of a stream that is there: another configuration, or nothing.
///
/// # Errors
/// What can't be changed.
pub(super) fn change(there: &Config, wanted: &Config) -> Result<Option<Config>, String> {
    refuse(there, wanted)?;
    let next = Config {
        subjects: wanted.subjects.clone(),
        discard: wanted.discard,
        discard_new_per_subject: false,
        num_replicas: wanted.num_replicas,
        max_bytes: limit(there.max_bytes, wanted.max_bytes),
        max_messages: limit(there.max_messages, wanted.max_messages),
        max_messages_per_subject: limit(
            there.max_messages_per_subject,
            wanted.max_messages_per_subject,
        ),
        max_message_size: limit(there.max_message_size, wanted.max_message_size),
        max_age: wanted.max_age,
        duplicate_window: wanted.duplicate_window,
        no_ack: false,
        deny_delete: wanted.deny_delete,
        subject_transform: None,
        ..there.clone()
    };
    Ok((next != *there).then_some(next))
}

/// The limit that is wanted; one that is there in other words stays. None is said by any number below 1.
fn limit<T: Default + PartialOrd>(there: T, wanted: T) -> T {
    let none = T::default();
    if there <= none && wanted <= none {
        there
    } else {
        wanted
    }
}

/// Refuses what a stream can't be rid of.
fn refuse(there: &Config, wanted: &Config) -> Result<(), String> {
    let wrong = [
        (
            there.storage != wanted.storage,
            "is kept in memory, and would be lost with its servers",
        ),
        (
            there.retention != wanted.retention,
            "drops messages that somebody has read (its retention is not `limits`)",
        ),
        (there.sealed, "is sealed, so nothing can be written"),
        (
            there.deny_purge,
            "can't be purged (deny_purge), so it would grow for ever",
        ),
        (
            there.deny_delete && !wanted.deny_delete,
            "can't be cleared of older checkpoints (deny_delete)",
        ),
        (
            there.mirror.is_some() || there.sources.as_ref().is_some_and(|it| !it.is_empty()),
            "takes its messages from other streams",
        ),
        (
            there.max_consumers > 0,
            "limits how many may read it (max_consumers)",
        ),
    ];
    match wrong.iter().find(|(is_so, _)| *is_so) {
        None => Ok(()),
        Some((_, what)) => Err(format!(
            "the stream {} {what}, and that can't be changed: choose another --nats-prefix, or, where nothing in it is needed, delete the stream",
            there.name
        )),
    }
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::stream::Source;

    use super::*;

    fn wanted() -> Config {
        let settings = Settings::new(Vec::new());
        log(&settings, "s-log".to_owned(), "s.log".to_owned())
    }

    #[test]
    fn what_is_as_it_should_be_stays_and_what_can_be_changed_is() {
        assert_eq!(change(&wanted(), &wanted()), Ok(None));
        // As servers of other versions tell it, and what is nobody's business.
        let same = Config {
            max_bytes: 0,
            max_message_size: 0,
            max_consumers: 0,
            compression: None,
            description: None,
            allow_direct: true,
            ..wanted()
        };
        assert_eq!(change(&same, &wanted()), Ok(None));
        let hour = Duration::from_hours(1);
        let edits: [fn(&mut Config); 8] = [
            |it| it.max_age = Duration::from_hours(1),
            |it| it.discard = DiscardPolicy::Old,
            |it| it.num_replicas = 3,
            |it| it.max_messages = 1000,
            |it| it.max_bytes = 1000,
            |it| it.subjects = vec!["other".to_owned()],
            |it| it.deny_delete = false,
            |it| it.no_ack = true,
        ];
        for edit in edits {
            let mut there = wanted();
            edit(&mut there);
            assert_eq!(change(&there, &wanted()), Ok(Some(wanted())));
        }
        let limited = Config {
            max_bytes: 5000,
            max_age: hour,
            ..wanted()
        };
        let bucket = bucket(
            &Settings::new(Vec::new()),
            &Config {
                deny_delete: false,
                ..limited
            },
        );
        assert_eq!((bucket.max_bytes, bucket.max_age), (5000, Duration::ZERO));
    }

    #[test]
    fn what_can_not_be_changed_is_refused_by_name() {
        type Edit = fn(&mut Config);
        let edits: [(Edit, &str); 6] = [
            (|it| it.storage = StorageType::Memory, "memory"),
            (|it| it.retention = RetentionPolicy::WorkQueue, "retention"),
            (|it| it.sealed = true, "sealed"),
            (|it| it.deny_purge = true, "deny_purge"),
            (|it| it.mirror = Some(Source::default()), "other streams"),
            (|it| it.max_consumers = 1, "max_consumers"),
        ];
        for (edit, named) in edits {
            let mut there = wanted();
            edit(&mut there);
            let refused = change(&there, &wanted()).unwrap_err();
            assert!(refused.contains(named), "{refused}");
            assert!(refused.contains("the stream s-log"), "{refused}");
        }
        let there = Config {
            deny_delete: true,
            ..wanted()
        };
        let refused = change(&there, &bucket(&Settings::new(Vec::new()), &there));
        assert!(refused.unwrap_err().contains("deny_delete"));
    }
}
