//! Subjects of NATS that something may be published to
//! (<https://docs.nats.io/nats-concepts/subjects>). The operator judges what is written out, the receiver
//! what an event makes of it, by one rule.
//!
//! A part of a subject often comes from the sender of an event. So what steers the server itself is out
//! of reach: its API and accounts (`$JS`, `$SYS`, ...), and the inboxes that answers come to.

/// The longest. A server takes lines of 4,096 bytes, in which a subject stands beside others.
const LONGEST: usize = 1024;

/// Why nothing may be published to a subject: the end of a sentence that begins with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing between two dots, or at an end.
    #[error("is empty, or has a dot at an end or beside another one")]
    Empty,
    /// White space and the like.
    #[error("has a space, a line break or another character that no subject may have")]
    Character,
    /// A wildcard.
    #[error("has * or >, which only subscriptions may have")]
    Wildcard,
    /// The server's own.
    #[error("begins with $ or _INBOX, which are the server's own")]
    Reserved,
    /// Too long.
    #[error("is longer than {LONGEST} bytes")]
    Long,
}

/// Whether something may be published to a subject.
///
/// # Errors
/// Why not.
pub fn check(subject: &str) -> Result<(), Error> {
    check_beginning(subject)?;
    if subject.split('.').any(str::is_empty) {
        return Err(Error::Empty);
    }
    if subject.len() > LONGEST {
        return Err(Error::Long);
    }
    Ok(())
}

/// Whether a server would write it otherwise than it is where it tells which subject it refused
/// (Go's `%q`), so that nobody could know which one that was.
fn is_escaped(character: char) -> bool {
    character != '\'' && character.escape_debug().len() > 1
}

/// The same as far as the beginning of a subject shows it.
///
/// # Errors
/// Why not.
pub fn check_beginning(subject: &str) -> Result<(), Error> {
    if subject
        .chars()
        .any(|it| it.is_whitespace() || it.is_control() || is_escaped(it))
    {
        return Err(Error::Character);
    }
    if subject.contains(['*', '>']) {
        return Err(Error::Wildcard);
    }
    if subject.starts_with('$') || subject.starts_with("_INBOX") {
        return Err(Error::Reserved);
    }
    if subject.starts_with('.') || subject.contains("..") {
        return Err(Error::Empty);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_words_between_dots() {
        for subject in [
            "support",
            "support.conversation.created",
            "客户.a-b_c",
            "it's",
        ] {
            assert_eq!(check(subject), Ok(()), "{subject}");
        }
        assert_eq!(check_beginning("support."), Ok(()));
        assert_eq!(check_beginning(""), Ok(()));
        for (subject, error) in [
            ("", Error::Empty),
            (".a", Error::Empty),
            ("a.", Error::Empty),
            ("a..b", Error::Empty),
            ("a b", Error::Character),
            ("a\r\nPUB b 0", Error::Character),
            ("a\0", Error::Character),
            ("a\"b", Error::Character),
            ("a\\b", Error::Character),
            ("a\u{200b}b", Error::Character),
            ("a.*", Error::Wildcard),
            ("a.>", Error::Wildcard),
            ("$JS.API.STREAM.DELETE.EVENTS", Error::Reserved),
            ("_INBOX.a.b", Error::Reserved),
        ] {
            assert_eq!(check(subject), Err(error), "{subject}");
        }
        assert_eq!(check(&"a".repeat(LONGEST + 1)), Err(Error::Long));
    }
}
