//! A receiver's own copy of the snapshot, for a start without the API server.
//!
//! It holds secrets: only its owner may read it, and it belongs in memory (an `emptyDir` with `medium:
//! Memory`). Each file is replaced as a whole.

use std::io;
use std::path::{Path, PathBuf};

use tokio::fs;
use tokio::io::AsyncWriteExt as _;

/// The file of a shard, by the name of its Secret: `hookswitch-snapshot-0.json.zst`.
#[must_use]
pub fn file(directory: &Path, secret: &str) -> PathBuf {
    directory.join(format!("{secret}.json.zst"))
}

/// Writes a shard, unless it stands there already.
///
/// Cancellation: what was there before stays.
///
/// # Errors
/// Where it can't be written; what was there before stays.
pub async fn write(directory: &Path, secret: &str, bytes: &[u8]) -> io::Result<()> {
    let path = file(directory, secret);
    if fs::read(&path).await.is_ok_and(|known| known == bytes) {
        return Ok(());
    }
    fs::create_dir_all(directory).await?;
    let temporary = path.with_extension("new");
    // One that was left behind may have another mode.
    match fs::remove_file(&temporary).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    let mut file = options.open(&temporary).await?;
    file.write_all(bytes).await?;
    file.flush().await?;
    fs::rename(&temporary, &path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_copy_is_replaced_as_a_whole_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("made");
        for bytes in [b"one".as_slice(), b"one", b"two"] {
            write(&dir, "hookswitch-snapshot-0", bytes).await.unwrap();
            let path = file(&dir, "hookswitch-snapshot-0");
            assert_eq!(fs::read(&path).await.unwrap(), bytes);
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt as _;
                let mode = fs::metadata(&path).await.unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600);
            }
        }
        let mut names = fs::read_dir(&dir).await.unwrap();
        assert!(names.next_entry().await.unwrap().is_some());
        assert!(
            names.next_entry().await.unwrap().is_none(),
            "nothing is left behind"
        );
    }
}
