//! The breadcrumb: which events are being planned, so that a crash while planning is noticed.
//!
//! A small file beside the database, written in place without a sync: it is to survive the end of
//! the process, not of the machine.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Its name in the data directory.
const FILE: &str = "planning";

/// The open file.
#[derive(Debug)]
pub(super) struct Crumb(Mutex<File>);

impl Crumb {
    /// Opens it, and says which events were being planned when the last process ended.
    pub(super) fn open(dir: &Path) -> io::Result<(Self, Vec<u64>)> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join(FILE))?;
        let mut text = String::new();
        // What is not text is a crumb of a machine's crash: it says nothing.
        let left = match file.read_to_string(&mut text) {
            Ok(_) => parse(&text),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok((Self(Mutex::new(file)), left))
    }

    /// Replaces what it says. One write: a process killed in it leaves the old text or the new.
    pub(super) fn write(&self, seqs: &[u64]) -> io::Result<()> {
        let mut line = String::new();
        for seq in seqs {
            line.push_str(&seq.to_string());
            line.push(' ');
        }
        line.push('\n');
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(0))?;
        file.write_all(line.as_bytes())
    }
}

/// The first line; what comes after it is of a longer line before.
fn parse(text: &str) -> Vec<u64> {
    text.split_once('\n')
        .map(|(line, _)| {
            line.split_whitespace()
                .filter_map(|seq| seq.parse().ok())
                .collect()
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_the_last_process_was_planning() {
        let dir = tempfile::tempdir().unwrap();
        let (crumb, left) = Crumb::open(dir.path()).unwrap();
        assert_eq!(left, [0_u64; 0]);
        crumb.write(&[10, 11, 12]).unwrap();
        assert_eq!(Crumb::open(dir.path()).unwrap().1, [10, 11, 12]);
        crumb.write(&[9]).unwrap();
        assert_eq!(Crumb::open(dir.path()).unwrap().1, [9]);
        crumb.write(&[]).unwrap();
        assert_eq!(Crumb::open(dir.path()).unwrap().1, [0_u64; 0]);
    }
}
