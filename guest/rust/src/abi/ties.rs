//! The border for links, monitors, notices and names: a part of [`abi`](super), under its rules.

use super::{two_i32_params, FnIndex, SPAWN_EXPORT};

#[cfg(target_family = "wasm")]
mod imports {
    //! The imports, exactly as the runtime names them.

    #[link(wasm_import_module = "lunatic::process")]
    extern "C" {
        pub(super) fn spawn_with_message(
            link: i64,
            config_id: i64,
            module_id: i64,
            function_ptr: *const u8,
            function_len: usize,
            params_ptr: *const u8,
            params_len: usize,
            id_ptr: *mut u64,
        ) -> i32;
        pub(super) fn spawn_monitored(
            link: i64,
            monitor: i64,
            config_id: i64,
            module_id: i64,
            function_ptr: *const u8,
            function_len: usize,
            params_ptr: *const u8,
            params_len: usize,
            id_ptr: *mut u64,
        ) -> i32;
        pub(super) fn link(tag: i64, process: u64);
        pub(super) fn unlink(process: u64);
        pub(super) fn monitor(process: u64);
        pub(super) fn stop_monitoring(process: u64);
        pub(super) fn monitor_with_tag(tag: i64, process: u64);
        pub(super) fn stop_monitoring_with_tag(tag: i64, process: u64);
        pub(super) fn die_when_link_dies(dies: u32);
        pub(super) fn send_exit(process: u64);
    }

    #[link(wasm_import_module = "lunatic::message")]
    extern "C" {
        pub(super) fn get_tag() -> i64;
        pub(super) fn get_exit_reason(record: *mut u8);
        pub(super) fn get_exit_text(text: *mut u8, len: usize) -> u32;
    }

    pub(super) mod registry {
        #[link(wasm_import_module = "lunatic::registry")]
        extern "C" {
            pub(in super::super) fn put(name: *const u8, len: usize, node: u64, process: u64);
            pub(in super::super) fn get(
                name: *const u8,
                len: usize,
                node: *mut u64,
                process: *mut u64,
            ) -> i32;
            pub(in super::super) fn remove(name: *const u8, len: usize);
        }
    }
}

#[cfg(not(target_family = "wasm"))]
mod imports {
    super::super::imports::stubs! { pub(super),
        spawn_with_message(link: i64, config_id: i64, module_id: i64, function_ptr: *const u8, function_len: usize,
            params_ptr: *const u8, params_len: usize, id_ptr: *mut u64) -> i32;
        spawn_monitored(link: i64, monitor: i64, config_id: i64, module_id: i64, function_ptr: *const u8,
            function_len: usize, params_ptr: *const u8, params_len: usize, id_ptr: *mut u64) -> i32;
        link(tag: i64, process: u64);
        unlink(process: u64);
        monitor(process: u64);
        stop_monitoring(process: u64);
        monitor_with_tag(tag: i64, process: u64);
        stop_monitoring_with_tag(tag: i64, process: u64);
        die_when_link_dies(dies: u32);
        send_exit(process: u64);
        get_tag() -> i64;
        get_exit_reason(record: *mut u8);
        get_exit_text(text: *mut u8, len: usize) -> u32;
    }

    pub(super) mod registry {
        super::super::super::imports::stubs! { pub(in super::super),
            put(name: *const u8, len: usize, node: u64, process: u64);
            get(name: *const u8, len: usize, node: *mut u64, process: *mut u64) -> i32;
            remove(name: *const u8, len: usize);
        }
    }
}

/// What `receive` answers for a notice.
pub(crate) const LINK_DIED: i32 = 1;
pub(crate) const PROCESS_DIED: i32 = 2;

/// The node of all processes of this run.
const THIS_NODE: u64 = 0;

/// Bytes that are fetched of a reason's words.
const TEXT_BYTES: usize = 2048;

/// A function of this module as the number that may travel: see [`FnIndex`].
pub(crate) fn number_of(function: FnIndex) -> u32 {
    function.0
}

/// The number of a trampoline, as [`spawn_tied`] takes it.
pub(crate) fn trampoline_number(trampoline: fn(FnIndex)) -> u32 {
    trampoline as usize as u32
}

/// As `spawn_with_message`, for a child that the caller is linked with and, unless `monitor` is 0, monitors. The numbers
/// are those of a trampoline and of an entry that belong together; others end in a trap of the child.
pub(crate) fn spawn_tied(
    trampoline: u32,
    entry: u32,
    link: i64,
    monitor: i64,
) -> Result<u64, String> {
    let params = two_i32_params(trampoline, entry);
    let mut id = 0;
    let (name, name_len) = (SPAWN_EXPORT.as_ptr(), SPAWN_EXPORT.len());
    let (values, values_len) = (params.as_ptr(), params.len());
    let code = if monitor == 0 {
        // SAFETY: each pointer comes with the length of the slice it points to, `id` is 8 writable bytes; all outlive
        // the call, and the runtime keeps none of them.
        unsafe {
            imports::spawn_with_message(link, -1, -1, name, name_len, values, values_len, &mut id)
        }
    } else {
        // SAFETY: as above.
        unsafe {
            imports::spawn_monitored(
                link, monitor, -1, -1, name, name_len, values, values_len, &mut id,
            )
        }
    };
    if code == 0 {
        Ok(id)
    } else {
        Err(super::take_error_text(id))
    }
}

pub(crate) fn link(tag: i64, process: u64) {
    // SAFETY: takes no pointer.
    unsafe { imports::link(tag, process) }
}

pub(crate) fn unlink(process: u64) {
    // SAFETY: takes no pointer.
    unsafe { imports::unlink(process) }
}

pub(crate) fn monitor(process: u64) {
    // SAFETY: takes no pointer.
    unsafe { imports::monitor(process) }
}

pub(crate) fn stop_monitoring(process: u64) {
    // SAFETY: takes no pointer.
    unsafe { imports::stop_monitoring(process) }
}

pub(crate) fn monitor_with_tag(tag: i64, process: u64) {
    // SAFETY: takes no pointer.
    unsafe { imports::monitor_with_tag(tag, process) }
}

pub(crate) fn stop_monitoring_with_tag(tag: i64, process: u64) {
    // SAFETY: takes no pointer.
    unsafe { imports::stop_monitoring_with_tag(tag, process) }
}

pub(crate) fn die_when_link_dies(dies: bool) {
    // SAFETY: takes no pointer.
    unsafe { imports::die_when_link_dies(dies.into()) }
}

pub(crate) fn send_exit(process: u64) {
    // SAFETY: takes no pointer.
    unsafe { imports::send_exit(process) }
}

pub(crate) fn message_tag() -> i64 {
    // SAFETY: takes no pointer.
    unsafe { imports::get_tag() }
}

/// What the runtime tells about an end, as its documentation of `get_exit_reason` has it.
pub(crate) struct ExitRecord {
    pub(crate) kind: u32,
    pub(crate) first_kind: u32,
    pub(crate) process: u64,
    pub(crate) first: u64,
    pub(crate) value: u64,
    pub(crate) link: u64,
}

/// Of the notice that is the scratch message.
pub(crate) fn exit_record() -> ExitRecord {
    let mut bytes = [0u8; 40];
    // SAFETY: the runtime writes 40 bytes, and there are so many.
    unsafe { imports::get_exit_reason(bytes.as_mut_ptr()) };
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    ExitRecord {
        kind: u32_at(0),
        first_kind: u32_at(4),
        process: u64_at(8),
        first: u64_at(16),
        value: u64_at(24),
        link: u64_at(32),
    }
}

/// The reason in words, of the notice that is the scratch message; very long ones are cut.
pub(crate) fn exit_text() -> String {
    let mut text = vec![0; TEXT_BYTES];
    // SAFETY: the pointer is writable for the length given.
    let len = unsafe { imports::get_exit_text(text.as_mut_ptr(), text.len()) };
    text.truncate(len as usize);
    String::from_utf8_lossy(&text).into_owned()
}

pub(crate) fn registry_put(name: &str, process: u64) {
    // SAFETY: the pointer is readable for the length given.
    unsafe { imports::registry::put(name.as_ptr(), name.len(), THIS_NODE, process) }
}

pub(crate) fn registry_get(name: &str) -> Option<u64> {
    let (mut node, mut process) = (0, 0);
    // SAFETY: the pointer is readable for the length given; two numbers are writable.
    let code =
        unsafe { imports::registry::get(name.as_ptr(), name.len(), &mut node, &mut process) };
    (code == 0).then_some(process)
}

pub(crate) fn registry_remove(name: &str) {
    // SAFETY: the pointer is readable for the length given.
    unsafe { imports::registry::remove(name.as_ptr(), name.len()) }
}
