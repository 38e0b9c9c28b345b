//! Names of processes: a part of [`abi`](super), under its rules.

mod host {
    super::super::imports! { "lunatic::registry";
        put(name: *const u8, len: usize, node: u64, process: u64);
        put_if_free(name: *const u8, len: usize, process: u64) -> i32;
        get(name: *const u8, len: usize, node: *mut u64, process: *mut u64) -> i32;
        remove(name: *const u8, len: usize);
    }
}

/// The node of all processes of this run.
const THIS_NODE: u64 = 0;

pub(crate) fn registry_put(name: &str, process: u64) {
    // SAFETY: the pointer is readable for the length given.
    unsafe { host::put(name.as_ptr(), name.len(), THIS_NODE, process) }
}

/// Whether the process has the name now: nobody else had it, and the caller may give it.
pub(crate) fn registry_put_if_free(name: &str, process: u64) -> bool {
    // SAFETY: the pointer is readable for the length given.
    unsafe { host::put_if_free(name.as_ptr(), name.len(), process) == 0 }
}

pub(crate) fn registry_get(name: &str) -> Option<u64> {
    let (mut node, mut process) = (0, 0);
    // SAFETY: the pointer is readable for the length given; two numbers are writable.
    let code = unsafe { host::get(name.as_ptr(), name.len(), &mut node, &mut process) };
    (code == 0).then_some(process)
}

pub(crate) fn registry_remove(name: &str) {
    // SAFETY: the pointer is readable for the length given.
    unsafe { host::remove(name.as_ptr(), name.len()) }
}
