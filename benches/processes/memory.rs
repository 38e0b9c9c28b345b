//! What the kernel says about memory: of another process, and of the machine.

use std::fs;

/// What the benches leave to the machine: a program that goes beyond is stopped, which is better than
/// what the kernel would choose to kill. Chosen by feel.
pub(crate) const KEEP_FREE_BYTES: u64 = 1 << 30;

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footprint {
    pub(crate) resident: u64,
    pub(crate) page_tables: u64,
}

/// Of a process that may be about to end: then there is nothing to see.
pub(crate) fn footprint(process: u32) -> Option<Footprint> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    Some(Footprint { resident: bytes(&status, "VmRSS:")?, page_tables: bytes(&status, "VmPTE:")? })
}

/// What could still be had without swapping.
pub(crate) fn available() -> Option<u64> {
    bytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

pub(crate) fn total() -> Option<u64> {
    bytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// The value of a line like `VmRSS:   1234 kB`.
fn bytes(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = rest.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}
