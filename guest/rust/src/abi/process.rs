//! Processes and what ties them: a part of [`abi`](super), under its rules.

use super::entry::{Routine, SPAWN_EXPORT};
use super::take_error_text;

mod host {
    super::super::imports! { "lunatic::process";
        spawn_with_message(link: i64, config_id: i64, module_id: i64, function_ptr: *const u8,
            function_len: usize, params_ptr: *const u8, params_len: usize, id_ptr: *mut u64) -> i32;
        spawn_monitored(link: i64, monitor: i64, config_id: i64, module_id: i64,
            function_ptr: *const u8, function_len: usize, params_ptr: *const u8, params_len: usize,
            id_ptr: *mut u64) -> i32;
        sleep_ms(milliseconds: u64);
        process_id() -> u64;
        exists(process: u64) -> i32;
        kill(process: u64);
        link(tag: i64, process: u64);
        unlink(process: u64);
        monitor(process: u64);
        stop_monitoring(process: u64);
        monitor_with_tag(tag: i64, process: u64);
        stop_monitoring_with_tag(tag: i64, process: u64);
        die_when_link_dies(dies: u32);
        send_exit(process: u64);
    }
}

/// How a process is started. 0 as a tag: no such tie.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    pub(crate) routine: Routine,
    pub(crate) config: i64,
    /// The tag of the link with the caller.
    pub(crate) link: i64,
    /// The tag of the notice of its end.
    pub(crate) monitor: i64,
}

/// Starts a process of this module at the exported function `_lunatic_spawn_<version>`, with the scratch message as the
/// first message of its mailbox, and tied to the caller before it can run. Gives the process id, or the runtime's error
/// text; then the scratch message is still there.
pub(crate) fn spawn(start: Start) -> Result<u64, String> {
    const OWN_MODULE: i64 = -1;
    let Start { routine, config, link, monitor } = start;
    let params = routine.params();
    let mut id = 0;
    let (name, name_len) = (SPAWN_EXPORT.as_ptr(), SPAWN_EXPORT.len());
    let (values, len) = (params.as_ptr(), params.len());
    let code = if monitor == 0 {
        // SAFETY: each pointer comes with the length of the slice it points to, `id` is 8 writable bytes; all outlive
        // the call, and the runtime keeps none of them.
        unsafe {
            host::spawn_with_message(link, config, OWN_MODULE, name, name_len, values, len, &mut id)
        }
    } else {
        // SAFETY: as above.
        unsafe {
            host::spawn_monitored(
                link, monitor, config, OWN_MODULE, name, name_len, values, len, &mut id,
            )
        }
    };
    if code == 0 {
        Ok(id)
    } else {
        Err(take_error_text(id))
    }
}

pub(crate) fn sleep_ms(milliseconds: u64) {
    // SAFETY: takes no pointer.
    unsafe { host::sleep_ms(milliseconds) }
}

pub(crate) fn process_id() -> u64 {
    // SAFETY: takes no pointer.
    unsafe { host::process_id() }
}

pub(crate) fn process_exists(process: u64) -> bool {
    // SAFETY: takes no pointer.
    unsafe { host::exists(process) != 0 }
}

pub(crate) fn process_kill(process: u64) {
    // SAFETY: takes no pointer.
    unsafe { host::kill(process) }
}

pub(crate) fn link(tag: i64, process: u64) {
    // SAFETY: takes no pointer.
    unsafe { host::link(tag, process) }
}

pub(crate) fn unlink(process: u64) {
    // SAFETY: takes no pointer.
    unsafe { host::unlink(process) }
}

pub(crate) fn monitor(process: u64) {
    // SAFETY: takes no pointer.
    unsafe { host::monitor(process) }
}

pub(crate) fn stop_monitoring(process: u64) {
    // SAFETY: takes no pointer.
    unsafe { host::stop_monitoring(process) }
}

pub(crate) fn monitor_with_tag(tag: i64, process: u64) {
    // SAFETY: takes no pointer.
    unsafe { host::monitor_with_tag(tag, process) }
}

pub(crate) fn stop_monitoring_with_tag(tag: i64, process: u64) {
    // SAFETY: takes no pointer.
    unsafe { host::stop_monitoring_with_tag(tag, process) }
}

pub(crate) fn die_when_link_dies(dies: bool) {
    // SAFETY: takes no pointer.
    unsafe { host::die_when_link_dies(dies.into()) }
}

pub(crate) fn send_exit(process: u64) {
    // SAFETY: takes no pointer.
    unsafe { host::send_exit(process) }
}
