//! `/proc`, where a path leads into the memory of this very program.
//!
//! Who is given `/` or `/proc` may read what the system tells there about itself, but nothing about a
//! process: `/proc/self/mem` would be the runtime with all rights of all its processes, and whatever the
//! user may look into besides. The kernel's links there (`cwd`, `root`, `fd/…`) are not followed anyway.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

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

/// Whether a part of the path that the kernel knows it by is a number: the directories of processes and
/// threads, wherever `/proc` is mounted; and of interrupts, which nobody misses. Or the memory of all.
fn names_a_process(file: &File) -> bool {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    // Unknown is refused.
    std::fs::read_link(link).map_or(true, |path| {
        path.iter()
            .any(|part| part == "kcore" || part.as_encoded_bytes().iter().all(u8::is_ascii_digit))
    })
}

#[cfg(test)]
mod tests {
    use super::check;
    use std::fs::File;

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
}
