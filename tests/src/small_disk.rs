//! A disk that can be full.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system of its own, gone with the test.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of this size, such as `16m`, on a folder, which is made.
    #[must_use]
    pub fn mount(at: &Path, size: &str) -> Self {
        std::fs::create_dir_all(at).expect("the mount point is made");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(at)
            .status()
            .expect("mount starts");
        assert!(
            mounted.success(),
            "this test fills a small tmpfs, and needs the right to mount one: run it as root, or in `unshare --user --map-root-user --mount`"
        );
        Self(at.to_owned())
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        let filled = Command::new("dd")
            .args(["if=/dev/zero", "bs=4096", "status=none"])
            .arg(format!("of={}", self.ballast().display()))
            .output()
            .expect("dd starts");
        assert!(!filled.status.success(), "dd ends when the disk is full");
    }

    /// Takes away what fills it.
    pub fn make_room(&self) {
        std::fs::remove_file(self.ballast()).expect("room is made");
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "{} stays mounted",
            self.0.display()
        );
    }
}
