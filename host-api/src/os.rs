//! What the operating system says about the machine.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of memory that this program may have: the machine's, or what its control group leaves of it.
/// `None` if nobody says.
pub(crate) fn memory_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| group_limit(&text));
    machine.into_iter().chain(group).min()
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The least limit of the group and those above it, of either version of control groups.
fn group_limit(groups: &str) -> Option<u64> {
    groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let (root, file) = match controllers {
                "" => ("/sys/fs/cgroup", "memory.max"),
                some if some.split(',').any(|name| name == "memory") => {
                    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
                }
                _ => return None,
            };
            // In a container its own group may be mounted as the root.
            let path = PathBuf::from(root).join(path.trim_start_matches('/'));
            let within = path.ancestors().take_while(|path| path.starts_with(root));
            within.filter_map(|path| limit(&path.join(file))).min()
        })
        .min()
}

/// "max" is none.
fn limit(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_how_much_it_has() {
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       24683520 kB\n"), Some(24_683_520 << 10));
        assert_eq!(total("MemTotal: lots"), None);
        assert!(memory_bytes().is_none_or(|bytes| bytes > 1 << 20));
    }
}
