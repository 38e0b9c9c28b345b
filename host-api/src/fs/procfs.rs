//! `/proc`, where a path leads into the memory of this very program.
//!
//! Who is given `/` or `/proc` may read what the system tells there about itself (`meminfo`, `sys/…`), but
//! nothing about a process: `/proc/self/mem` would be the runtime with all rights of all its processes, and
//! whatever the user may look into besides. `/proc/mounts` and `/proc/net` are links into the directory of
//! this process, and so refused with it. The kernel's links there (`cwd`, `root`, `fd/…`) are not followed
//! anyway.
//!
//! The path that the kernel knows a file by begins where its file system is mounted, and a part of `/proc`
//! may be mounted anywhere (`mount --bind /proc/1 /elsewhere`). So the directory that is mounted there
//! counts as a part of the path.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use crate::api::wasi::Errno;

/// Its name for `fstatfs`.
const PROC: u64 = 0x9fa0;

/// Refuses what lies in a process's directory of any `/proc`.
pub(super) fn check(file: &File) -> Result<(), Errno> {
    if is_proc(file) && names_a_process(file) { Err(Errno::Acces) } else { Ok(()) }
}

fn is_proc(file: impl AsFd) -> bool {
    // Who does not tell its kind is not asked for more.
    rustix::fs::fstatfs(file).is_ok_and(|stat| u64::try_from(stat.f_type) == Ok(PROC))
}

/// Whether a part of the path inside of `/proc` is a number: the directories of processes and threads; and
/// of interrupts, which nobody misses. Or the memory of all. So may a part be of the path to where it is
/// mounted: then more is refused than need be.
fn names_a_process(file: &File) -> bool {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    // Unknown is refused.
    match (mounted(file), std::fs::read_link(link)) {
        (Some(root), Ok(path)) => is_of_a_process(Path::new(&root)) || is_of_a_process(&path),
        _ => true,
    }
}

fn is_of_a_process(path: &Path) -> bool {
    path.iter()
        .any(|part| part == "kcore" || part.as_encoded_bytes().iter().all(u8::is_ascii_digit))
}

/// Which directory or file of its file system is mounted where this file was found: `/` is all of it. The
/// open file holds its mount, so nobody else gets its number. `None`: the system does not tell, as for a
/// mount that is gone or outside of our root.
fn mounted(file: &File) -> Option<String> {
    let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    let mount = about.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    // Bytes, as one mount of a name that is no text would hide all others.
    let mounts = std::fs::read("/proc/self/mountinfo").ok()?;
    // The number of the mount, of its parent, the device, the root, and more.
    String::from_utf8_lossy(&mounts).lines().find_map(|line| {
        let mut fields = line.split(' ');
        (fields.next() == Some(mount)).then(|| fields.nth(2).map(str::to_string)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::{check, is_of_a_process, mounted};
    use std::fs::File;
    use std::path::Path;

    #[test]
    fn what_is_about_a_process_is_refused() {
        let own = format!("/proc/{}/mem", std::process::id());
        for path in
            [&own, "/proc/self/mem", "/proc/thread-self/maps", "/proc/self", "/proc/1/environ"]
        {
            // Others' may not be opened at all.
            if let Ok(file) = File::open(path) {
                assert!(check(&file).is_err(), "{path}");
            }
        }
        assert!(File::open(&own).is_ok());
        for path in ["/proc/meminfo", "/proc/sys/kernel/ostype", "/proc", "/", "/dev/null"] {
            assert!(check(&File::open(path).expect("it is there")).is_ok(), "{path}");
        }
    }

    #[test]
    fn what_is_mounted_counts() {
        let file = File::open("/proc/meminfo").expect("it is there");
        assert_eq!(mounted(&file).as_deref(), Some("/"), "all of /proc is mounted there");
        for (path, is) in [
            ("/7", true),
            ("/7/mem", true),
            ("/7//deleted", true),
            ("/kcore", true),
            ("/", false),
            ("/sys/net", false),
            ("/self7", false),
        ] {
            assert_eq!(is_of_a_process(Path::new(path)), is, "{path}");
        }
    }
}
