//! Looks for damage in the log before SQLite reads it.
//!
//! SQLite reads the log up to the first frame whose checksum does not fit, and forgets the rest. After
//! a crash that is right for the last transaction: it was not synced, so nobody was told of it. But a
//! frame that was synced and is damaged later would take all commits after it along, silently. The
//! two can be told apart: each commit is synced before the next one begins, so behind the damage of a
//! crash there is at most one commit, and nothing after it.
//!
//! A frame's checksum goes on from the one before, as that one's header has it; so frames behind the
//! damage can still be checked one against the other.
//!
//! The format: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// A running checksum.
type Sum = [u32; 2];

/// What the header says.
struct Log {
    /// Whether the words that are summed are big-endian.
    big_endian: bool,
    page: usize,
    salts: [u8; 8],
    sum: Sum,
}

/// A frame that may be good.
struct Frame {
    /// It ends a transaction.
    commits: bool,
    salts: [u8; 8],
    sum: Sum,
    /// What its checksum ought to be after the frame before.
    fits: bool,
}

/// Says what is wrong with the log, where more than a crash's last transaction is lost.
pub(super) fn damage(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut file = BufReader::with_capacity(1 << 16, file);
    let mut header = [0; HEADER];
    if !fill(&mut file, &mut header)? {
        // Not even a header: nothing was ever committed in it.
        return Ok(None);
    }
    let Some(log) = Log::read(&header) else {
        return later_commits(&mut file).map(|lost| {
            lost.then(|| "the header of its log is damaged, and commits stand behind it".to_owned())
        });
    };
    let mut before = log.sum;
    let mut number = 0_u64;
    let mut damaged = None;
    let mut after_commit = false;
    let mut buffer = vec![0; FRAME_HEADER + log.page];
    while fill(&mut file, &mut buffer)? {
        number += 1;
        let Some(frame) = log.frame(&buffer, before) else {
            break;
        };
        before = frame.sum;
        let good = frame.fits && frame.salts == log.salts;
        match (damaged, good) {
            (None, true) => {}
            (None, false) => damaged = Some(number),
            (Some(first), true) if after_commit => {
                return Ok(Some(format!(
                    "frame {first} of its log is damaged, and commits stand behind it"
                )));
            }
            (Some(_), good) => after_commit = good && frame.commits,
        }
    }
    Ok(None)
}

/// Whether frames follow one another across a commit, by the largest and the smallest page size: the
/// header that would tell is damaged.
fn later_commits(file: &mut impl Read) -> io::Result<bool> {
    let mut rest = Vec::new();
    file.take(1 << 26).read_to_end(&mut rest)?;
    let chained = |page: usize, big_endian: bool| {
        let log = Log {
            big_endian,
            page,
            salts: [0; 8],
            sum: [0; 2],
        };
        let mut before: Option<Frame> = None;
        let mut after_commit = false;
        for chunk in rest.chunks_exact(FRAME_HEADER + page) {
            let sum = before.as_ref().map_or([0; 2], |frame| frame.sum);
            let Some(frame) = log.frame(chunk, sum) else {
                return false;
            };
            let follows = frame.fits && before.is_some_and(|before| before.salts == frame.salts);
            if follows && after_commit {
                return true;
            }
            after_commit = follows && frame.commits;
            before = Some(frame);
        }
        false
    };
    Ok([512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]
        .into_iter()
        .any(|page| chained(page, false) || chained(page, true)))
}

impl Log {
    /// Reads the header; nothing where its own checksum does not fit.
    fn read(header: &[u8; HEADER]) -> Option<Self> {
        let magic = big(header, 0)?;
        if magic & !1 != 0x377f_0682 {
            return None;
        }
        let big_endian = magic & 1 == 1;
        let sum = [big(header, 24)?, big(header, 28)?];
        let page = usize::try_from(big(header, 8)?).ok()?;
        let log = Self {
            big_endian,
            page,
            salts: header.get(16..24)?.try_into().ok()?,
            sum,
        };
        let fits = log.add([0; 2], header.get(..24)?) == sum;
        (fits && (512..=65536).contains(&page)).then_some(log)
    }

    /// Reads a frame, and checks it against the sum of the one before.
    fn frame(&self, bytes: &[u8], before: Sum) -> Option<Frame> {
        let (header, page) = bytes.split_at_checked(FRAME_HEADER)?;
        let sum = [big(header, 16)?, big(header, 20)?];
        let expected = self.add(self.add(before, header.get(..8)?), page);
        Some(Frame {
            commits: big(header, 4)? != 0,
            salts: header.get(8..16)?.try_into().ok()?,
            sum,
            fits: sum == expected,
        })
    }

    /// The log's checksum, from a sum so far.
    fn add(&self, [mut a, mut b]: Sum, bytes: &[u8]) -> Sum {
        let (words, _) = bytes.as_chunks::<4>();
        let (pairs, _) = words.as_chunks::<2>();
        let word = |bytes| {
            if self.big_endian {
                u32::from_be_bytes(bytes)
            } else {
                u32::from_le_bytes(bytes)
            }
        };
        for [first, second] in pairs {
            a = a.wrapping_add(word(*first)).wrapping_add(b);
            b = b.wrapping_add(word(*second)).wrapping_add(a);
        }
        [a, b]
    }
}

/// Numbers in headers are big-endian.
fn big(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

/// Fills the buffer; false where the file ends before that.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of ten commits, and where each frame begins.
    fn log(dir: &Path) -> (Vec<u8>, usize) {
        let path = dir.join("db");
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x)",
            )
            .unwrap();
        for n in 0..10 {
            connection.execute("INSERT INTO t VALUES (?)", [n]).unwrap();
        }
        let bytes = std::fs::read(dir.join("db-wal")).unwrap();
        (bytes, FRAME_HEADER + 4096)
    }

    fn verdict(dir: &Path, bytes: &[u8]) -> Option<String> {
        let path = dir.join("damaged");
        std::fs::write(&path, bytes).unwrap();
        damage(&path).unwrap()
    }

    #[test]
    fn a_torn_end_is_a_crash_and_a_torn_middle_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let (bytes, frame) = log(dir.path());
        let frames = (bytes.len() - HEADER) / frame;
        assert!(frames > 8);
        assert_eq!(verdict(dir.path(), &bytes), None);
        for cut in [
            0,
            10,
            HEADER,
            HEADER + 30,
            bytes.len() - 1,
            bytes.len() - frame,
        ] {
            assert_eq!(verdict(dir.path(), &bytes[..cut]), None, "cut at {cut}");
        }
        for number in 0..frames {
            for inside in [2, 6, 9, 18, 100, frame - 1] {
                let mut bytes = bytes.clone();
                bytes[HEADER + number * frame + inside] ^= 0x10;
                let found = verdict(dir.path(), &bytes);
                if number + 3 < frames {
                    assert!(found.is_some(), "frame {number} of {frames} at {inside}");
                }
                if number + 1 == frames {
                    assert_eq!(found, None, "the last transaction may be a crash's");
                }
            }
        }
        let mut bytes = bytes;
        bytes[20] ^= 1;
        assert!(verdict(dir.path(), &bytes).unwrap().contains("header"));
    }
}
