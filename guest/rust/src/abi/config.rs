//! Configurations of processes: a part of [`abi`](super), under its rules.

use super::take_error_text;

mod host {
    super::super::imports! { "lunatic::process";
        drop_config(config: i64);
    }
    super::super::imports! { "lunatic::config";
        create() -> i64;
        copy_own() -> i64;
        set_limit(config: i64, limit: u32, value: u64, id: *mut u64) -> i32;
        set_right(config: i64, right: u32, has: u32, id: *mut u64) -> i32;
        get_limit(config: i64, limit: u32) -> u64;
        has_right(config: i64, right: u32) -> u32;
        add_dir(config: i64, path_ptr: *const u8, path_len: usize, name_ptr: *const u8,
            name_len: usize, writes: u32, id: *mut u64) -> i32;
        add_network_rule(config: i64, rule_ptr: *const u8, rule_len: usize, id: *mut u64) -> i32;
        clear_network_rules(config: i64);
        set_overflow(config: i64, overflow: u32);
        usage(config: i64, what: u32) -> u64;
    }
    super::super::imports! { "lunatic::wasi";
        config_add_environment_variable(config: i64, key_ptr: *const u8, key_len: usize,
            value_ptr: *const u8, value_len: usize);
        config_add_command_line_argument(config: i64, argument_ptr: *const u8, argument_len: usize);
    }
}

/// The caller's own rights, as a configuration.
pub(crate) const OWN_CONFIG: i64 = -1;

pub(crate) fn config_create() -> i64 {
    // SAFETY: takes no pointer.
    unsafe { host::create() }
}

pub(crate) fn config_copy_own() -> i64 {
    // SAFETY: takes no pointer.
    unsafe { host::copy_own() }
}

pub(crate) fn config_drop(config: i64) {
    // SAFETY: takes no pointer.
    unsafe { host::drop_config(config) }
}

/// What a call has answered: with a status other than 0 there is an error of this id.
fn accepted(status: i32, error: u64) -> Result<(), String> {
    if status == 0 {
        Ok(())
    } else {
        Err(take_error_text(error))
    }
}

pub(crate) fn config_set_limit(config: i64, limit: u32, value: u64) -> Result<(), String> {
    let mut error = 0;
    // SAFETY: `error` is 8 writable bytes that outlive the call.
    let status = unsafe { host::set_limit(config, limit, value, &mut error) };
    accepted(status, error)
}

pub(crate) fn config_limit(config: i64, limit: u32) -> u64 {
    // SAFETY: takes no pointer.
    unsafe { host::get_limit(config, limit) }
}

pub(crate) fn config_set_overflow(config: i64, overflow: u32) {
    // SAFETY: takes no pointer.
    unsafe { host::set_overflow(config, overflow) }
}

pub(crate) fn config_set_right(config: i64, right: u32, has: bool) -> Result<(), String> {
    let mut error = 0;
    // SAFETY: `error` is 8 writable bytes that outlive the call.
    let status = unsafe { host::set_right(config, right, has.into(), &mut error) };
    accepted(status, error)
}

/// Whether the caller has a right itself.
pub(crate) fn own_right(right: u32) -> bool {
    // SAFETY: takes no pointer.
    unsafe { host::has_right(OWN_CONFIG, right) != 0 }
}

pub(crate) fn config_add_dir(
    config: i64,
    path: &str,
    name: &str,
    writes: bool,
) -> Result<(), String> {
    let mut error = 0;
    // SAFETY: each pointer comes with the length of what it points to; `error` is 8 writable bytes; all outlive the call.
    let status = unsafe {
        host::add_dir(
            config,
            path.as_ptr(),
            path.len(),
            name.as_ptr(),
            name.len(),
            writes.into(),
            &mut error,
        )
    };
    accepted(status, error)
}

pub(crate) fn config_add_network_rule(config: i64, rule: &str) -> Result<(), String> {
    let mut error = 0;
    // SAFETY: as in `config_add_dir`.
    let status = unsafe { host::add_network_rule(config, rule.as_ptr(), rule.len(), &mut error) };
    accepted(status, error)
}

pub(crate) fn config_clear_network_rules(config: i64) {
    // SAFETY: takes no pointer.
    unsafe { host::clear_network_rules(config) }
}

pub(crate) fn config_usage(config: i64, what: u32) -> u64 {
    // SAFETY: takes no pointer.
    unsafe { host::usage(config, what) }
}

pub(crate) fn config_add_arg(config: i64, argument: &str) {
    // SAFETY: the pointer is readable for the length given; the runtime copies.
    unsafe { host::config_add_command_line_argument(config, argument.as_ptr(), argument.len()) }
}

pub(crate) fn config_add_env(config: i64, key: &str, value: &str) {
    // SAFETY: each pointer is readable for the length given; the runtime copies.
    unsafe {
        host::config_add_environment_variable(
            config,
            key.as_ptr(),
            key.len(),
            value.as_ptr(),
            value.len(),
        )
    }
}
