//! The form of the log's messages.
//!
//! ```text
//! 1 · header (CBOR) · changes (CBOR, one after the other)      a batch
//! 1 · header (CBOR) · some bytes of them                       a part of one that is too large for a message
//! ```
//!
//! The first byte is the format. Whoever does not know it applies nothing more: a field that one version
//! passes over and the next one heeds would make their replicas differ. So whatever a change says or does
//! anew needs another format, written only once every member reads it.

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::change::Change;
use crate::store::Error;

/// The format that this version writes, and the only one that it reads.
pub(super) const FORMAT: u8 = 1;
/// What a header takes at most.
const HEADER: usize = 256;

/// Whose batch it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    /// The member that wrote it.
    pub(super) by: Uuid,
    /// Its number, which that member gives once.
    pub(super) batch: u64,
    /// Which part it is, counted from 0, and of how many; `None` for a whole one.
    pub(super) part: Option<(u32, u32)>,
}

/// A change as it stands in a message.
pub(in crate::store) fn encode(change: &Change) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    ciborium::into_writer(change, &mut bytes)
        .map_err(|error| Error::Read(format!("a change can't be written: {error}")))?;
    Ok(bytes)
}

/// The messages of a batch, none longer than `longest`.
pub(in crate::store) fn messages(
    by: Uuid,
    batch: u64,
    changes: &[u8],
    longest: usize,
) -> Result<Vec<Bytes>, Error> {
    let room = longest.saturating_sub(HEADER).max(1024);
    let parts: Vec<&[u8]> = changes.chunks(room).collect();
    let of = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    (0..of)
        .zip(parts)
        .map(|(number, bytes)| {
            let part = (of > 1).then_some((number, of));
            let mut message = BytesMut::with_capacity(bytes.len() + HEADER).writer();
            message.get_mut().put_u8(FORMAT);
            ciborium::into_writer(&Header { by, batch, part }, &mut message)
                .map_err(|error| Error::Read(format!("a header can't be written: {error}")))?;
            let mut message = message.into_inner();
            message.extend_from_slice(bytes);
            Ok(message.freeze())
        })
        .collect()
}

/// The header of a message, and what follows it.
pub(super) fn read(message: &[u8]) -> Result<(Header, &[u8]), String> {
    let Some((format, mut rest)) = message.split_first() else {
        return Err(
            "an empty message stands in the log: only Hookswitch may write to it".to_owned(),
        );
    };
    if *format != FORMAT {
        return Err(format!(
            "the log holds records of format {format}, and this program knows format {FORMAT}: run the version of Hookswitch that wrote them, or a newer one"
        ));
    }
    let header = ciborium::from_reader(&mut rest)
        .map_err(|error| format!("a message of the log has no header: {error}"))?;
    Ok((header, rest))
}

/// The changes of a batch.
pub(super) fn changes(mut bytes: &[u8]) -> Result<Vec<Change>, String> {
    let mut changes = Vec::new();
    while !bytes.is_empty() {
        let change = ciborium::from_reader(&mut bytes)
            .map_err(|error| format!("a change in the log can't be read: {error}"))?;
        changes.push(change);
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_whole_or_in_parts() {
        let by = Uuid::from_u128(7);
        let changes = [vec![0, 1, 2], (1..5000).collect()].map(Change::Suspect);
        let bytes = changes.map(|change| encode(&change).unwrap()).concat();
        for longest in [1 << 20, 2048] {
            let messages = messages(by, 3, &bytes, longest).unwrap();
            assert_eq!(messages.len() > 1, longest == 2048);
            let mut joined = Vec::new();
            for (number, message) in (0..).zip(&messages) {
                assert!(message.len() <= longest);
                let (header, rest) = read(message).unwrap();
                let of = u32::try_from(messages.len()).unwrap();
                let part = (of > 1).then_some((number, of));
                assert_eq!(header, Header { by, batch: 3, part });
                joined.extend_from_slice(rest);
            }
            let read = super::changes(&joined).unwrap();
            let lengths = read.iter().map(|change| match change {
                Change::Suspect(seqs) => seqs.len(),
                _ => 0,
            });
            assert_eq!(lengths.collect::<Vec<_>>(), [3, 4999]);
        }
    }

    #[test]
    fn what_a_later_version_wrote_is_not_guessed_at() {
        let error = read(&[FORMAT + 1, 0xa0]).unwrap_err();
        assert!(error.contains("a newer one"), "{error}");
        assert!(read(&[]).is_err());
        assert!(changes(&[0xff]).is_err());
    }
}
