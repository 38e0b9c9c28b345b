//! Disks that are full, as guests see them.

mod support;

use std::path::Path;
use std::process::Command;

use support::{guest, lunatic, run_command};
use tempfile::TempDir;

const NOSPC: &str = "51";

/// Makes the calls in a guest that has the directory as descriptor 3; `*` is anything.
#[track_caller]
fn check(place: &Path, calls: &[(&str, &str)]) {
    let Some(guest) = guest("wasi_calls") else { return };
    let mut command = lunatic();
    command.args(["run", "--dir", &format!("{}::/", place.display())]).arg(guest);
    let script: String = calls.iter().map(|(call, _)| format!("{call}\n")).collect();
    let output = run_command(command, script.as_bytes()).expect_quiet_success();
    let answers: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(answers.len(), calls.len(), "an answer for each call: {answers:#?}");
    for ((call, expected), answer) in calls.iter().zip(&answers) {
        let as_expected = match expected.strip_suffix('*') {
            Some(beginning) => answer.starts_with(beginning),
            None => answer == expected,
        };
        assert!(as_expected, "{call}\nanswers {answer:?}, expected {expected:?}\n{answers:#?}");
    }
}

#[test]
fn a_device_that_is_always_full_is_told() {
    check(
        Path::new("/dev"),
        &[
            ("path_open 3 0 full 0 64 0", "0 4"),
            ("fd_write 4 x", NOSPC),
            // A character device.
            ("fd_fdstat_get 4", "0 type 2 *"),
        ],
    );
}

/// A file system of 64 KiB and four files, as long as this lives.
struct TinyDisk(TempDir);

impl TinyDisk {
    /// `None` if this user may not mount one.
    fn mount() -> Option<Self> {
        let place = TempDir::new().expect("a temporary directory can be made");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k,nr_inodes=4", "tmpfs"]).arg(place.path());
        let output = mount.output().ok()?;
        output.status.success().then_some(Self(place))
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        // After a panic, too. Lazily, as a guest that had to be killed may still hold a file.
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.0.path().display());
        }
    }
}

#[test]
fn a_disk_that_fills_up_is_told_and_has_room_again_afterwards() {
    let Some(disk) = TinyDisk::mount() else {
        eprintln!("SKIPPED: this user may not mount a file system");
        return;
    };
    check(
        disk.0.path(),
        &[
            ("path_open 3 0 file 1 66 0", "0 4"),
            ("fd_write 4 @40960", "0 40960"),
            ("fd_allocate 4 0 1000000", NOSPC),
            // As much as there is room for, then nothing.
            ("fd_write 4 @40960", "0 24576"),
            ("fd_write 4 x", NOSPC),
            ("fd_pwrite 4 x 65536", NOSPC),
            ("fd_pwrite 4 y 0", "0 1"),
            ("fd_tell 4", "0 65536"),
            // The root and the file are files of the four; two more, and nothing.
            ("path_create_directory 3 dir", "0"),
            ("path_create_directory 3 dir/dir", "0"),
            ("path_create_directory 3 more", NOSPC),
            ("path_symlink to 3 more", NOSPC),
            ("path_link 3 0 file 3 more", NOSPC),
            ("path_open 3 0 more 1 66 0", NOSPC),
            ("fd_filestat_set_size 4 0", "0"),
            ("path_remove_directory 3 dir/dir", "0"),
            ("path_open 3 0 more 1 66 0", "0 5"),
            ("fd_write 5 @100", "0 100"),
        ],
    );
}
