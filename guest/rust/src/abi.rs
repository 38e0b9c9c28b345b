//! The border to the runtime: every host function this crate imports, the one function it exports, and nothing else.
//! All unsafe code of the crate is in this file.
//!
//! Rules:
//! - a wrapper takes slices and references, so that a pointer and its length cannot disagree;
//! - a wrapper adds no policy: status codes are given names in `Status`, and what they mean is decided by the caller;
//! - the runtime keeps ONE scratch message for each process. `message_create` replaces it, sending takes it, receiving
//!   fills it. `codec` decides who may touch it when;
//! - on any target but WebAssembly the imports are replaced by `host_stub`, so that `cargo doc` and editors work.

pub(crate) mod ties;

use std::mem::MaybeUninit;

pub(crate) mod net;

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
        pub(super) fn sleep_ms(milliseconds: u64);
        pub(super) fn process_id() -> u64;
        pub(super) fn exists(process: u64) -> i32;
        pub(super) fn kill(process: u64);
        pub(super) fn drop_config(config: i64);
    }

    pub(super) mod config {
        #[link(wasm_import_module = "lunatic::config")]
        extern "C" {
            pub(in super::super) fn create() -> i64;
            pub(in super::super) fn copy_own() -> i64;
            pub(in super::super) fn set_limit(
                config: i64,
                limit: u32,
                value: u64,
                id: *mut u64,
            ) -> i32;
            pub(in super::super) fn set_right(
                config: i64,
                right: u32,
                has: u32,
                id: *mut u64,
            ) -> i32;
            pub(in super::super) fn add_dir(
                config: i64,
                path_ptr: *const u8,
                path_len: usize,
                name_ptr: *const u8,
                name_len: usize,
                writes: u32,
                id: *mut u64,
            ) -> i32;
            pub(in super::super) fn add_network_rule(
                config: i64,
                rule_ptr: *const u8,
                rule_len: usize,
                id: *mut u64,
            ) -> i32;
            pub(in super::super) fn clear_network_rules(config: i64);
            pub(in super::super) fn set_overflow(config: i64, overflow: u32);
            pub(in super::super) fn usage(config: i64, what: u32) -> u64;
        }
    }

    pub(super) mod wasi {
        #[link(wasm_import_module = "lunatic::wasi")]
        extern "C" {
            pub(in super::super) fn config_add_environment_variable(
                config: i64,
                key_ptr: *const u8,
                key_len: usize,
                value_ptr: *const u8,
                value_len: usize,
            );
            pub(in super::super) fn config_add_command_line_argument(
                config: i64,
                argument_ptr: *const u8,
                argument_len: usize,
            );
        }
    }

    #[link(wasm_import_module = "lunatic::message")]
    extern "C" {
        pub(super) fn create_data(tag: i64, capacity: u64);
        pub(super) fn write_data(data: *const u8, len: usize) -> u32;
        pub(super) fn read_data(data: *mut u8, len: usize) -> u32;
        pub(super) fn data_size() -> u64;
        pub(super) fn send(process: u64) -> i32;
        pub(super) fn receive(tags: *const i64, tag_count: usize, timeout_ms: u64) -> i32;
        pub(super) fn push_channel(handle: u64) -> u64;
        pub(super) fn take_channel(index: u64) -> u64;
    }

    pub(super) mod channel {
        #[link(wasm_import_module = "lunatic::channel")]
        extern "C" {
            pub(in super::super) fn open(bound: u64) -> u64;
            pub(in super::super) fn clone_handle(handle: u64) -> u64;
            pub(in super::super) fn close(handle: u64);
            pub(in super::super) fn send(handle: u64, timeout_ms: u64) -> i32;
            pub(in super::super) fn receive(handle: u64, timeout_ms: u64) -> i32;
        }
    }

    pub(super) mod error {
        #[link(wasm_import_module = "lunatic::error")]
        extern "C" {
            pub(in super::super) fn string_size(id: u64) -> u32;
            pub(in super::super) fn code(id: u64) -> u32;
            pub(in super::super) fn to_string(id: u64, text: *mut u8);
            pub(in super::super) fn drop(id: u64);
        }
    }

    #[link(wasm_import_module = "lunatic::version")]
    extern "C" {
        pub(super) fn major() -> u32;
        pub(super) fn minor() -> u32;
        pub(super) fn patch() -> u32;
    }

    extern "C" {
        /// Made by the linker: runs the constructors of C libraries and of the WASI library, once for each instance. Not
        /// to be named where the linker runs it by itself: see build.rs.
        #[cfg(not(linker_runs_constructors))]
        pub(super) fn __wasm_call_ctors();
    }
}

#[cfg(not(target_family = "wasm"))]
#[path = "host_stub.rs"]
mod imports;

/// No limit on the time to wait.
pub(crate) const FOREVER: u64 = u64::MAX;

/// A wait ended because its time was over.
const TIMED_OUT: i32 = 9027;

/// How a host call that may wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// The message was sent, or a message is now the scratch message.
    Done,
    /// Nobody can ever take the other side again.
    Closed,
    /// The time was over first.
    TimedOut,
    /// A status this version of the crate does not know.
    Other(i32),
}

impl Status {
    fn of_channel(code: i32) -> Status {
        match code {
            0 => Status::Done,
            1 => Status::Closed,
            TIMED_OUT => Status::TimedOut,
            other => Status::Other(other),
        }
    }

    /// A mailbox is never closed: its 1 means something else than a channel's 1.
    fn of_mailbox(code: i32) -> Status {
        match code {
            0 => Status::Done,
            TIMED_OUT => Status::TimedOut,
            other => Status::Other(other),
        }
    }
}

// ---- processes ----

/// Starts a process of this module at the exported function `_lunatic_spawn_<version>`, with the scratch message as the
/// first message of its mailbox. Gives the process id, or the runtime's error text.
pub(crate) fn spawn_with_message(
    config: i64,
    trampoline: fn(FnIndex),
    entry: FnIndex,
) -> Result<u64, String> {
    let params = two_i32_params(trampoline as usize as u32, entry.0);
    let mut id = 0;
    // SAFETY: each pointer comes with the length of the slice it points to, `id` is 8 writable bytes; all outlive the
    // call, and the runtime keeps none of them.
    let code = unsafe {
        imports::spawn_with_message(
            0, // no link
            config,
            -1, // the caller's own module
            SPAWN_EXPORT.as_ptr(),
            SPAWN_EXPORT.len(),
            params.as_ptr(),
            params.len(),
            &mut id,
        )
    };
    if code == 0 {
        Ok(id)
    } else {
        Err(take_error_text(id))
    }
}

/// The caller's own rights, as a configuration.
pub(crate) const OWN_CONFIG: i64 = -1;

/// The parameter list (i32, i32): for each parameter a type byte and 16 bytes, little-endian.
fn two_i32_params(first: u32, second: u32) -> [u8; 34] {
    const TYPE_I32: u8 = 0x7F;
    const RECORD: usize = 17;
    let mut params = [0; 2 * RECORD];
    for (record, value) in params.chunks_exact_mut(RECORD).zip([first, second]) {
        record[0] = TYPE_I32;
        record[1..5].copy_from_slice(&value.to_le_bytes());
    }
    params
}

pub(crate) fn sleep_ms(milliseconds: u64) {
    // SAFETY: takes no pointer.
    unsafe { imports::sleep_ms(milliseconds) }
}

pub(crate) fn process_id() -> u64 {
    // SAFETY: takes no pointer.
    unsafe { imports::process_id() }
}

pub(crate) fn process_exists(process: u64) -> bool {
    // SAFETY: takes no pointer.
    unsafe { imports::exists(process) != 0 }
}

pub(crate) fn process_kill(process: u64) {
    // SAFETY: takes no pointer.
    unsafe { imports::kill(process) }
}

// ---- configurations ----

pub(crate) fn config_create() -> i64 {
    // SAFETY: takes no pointer.
    unsafe { imports::config::create() }
}

pub(crate) fn config_copy_own() -> i64 {
    // SAFETY: takes no pointer.
    unsafe { imports::config::copy_own() }
}

pub(crate) fn config_drop(config: i64) {
    // SAFETY: takes no pointer.
    unsafe { imports::drop_config(config) }
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
    let status = unsafe { imports::config::set_limit(config, limit, value, &mut error) };
    accepted(status, error)
}

pub(crate) fn config_set_overflow(config: i64, overflow: u32) {
    // SAFETY: takes no pointer.
    unsafe { imports::config::set_overflow(config, overflow) }
}

pub(crate) fn config_set_right(config: i64, right: u32, has: bool) -> Result<(), String> {
    let mut error = 0;
    // SAFETY: `error` is 8 writable bytes that outlive the call.
    let status = unsafe { imports::config::set_right(config, right, has.into(), &mut error) };
    accepted(status, error)
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
        imports::config::add_dir(
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
    let status =
        unsafe { imports::config::add_network_rule(config, rule.as_ptr(), rule.len(), &mut error) };
    accepted(status, error)
}

pub(crate) fn config_clear_network_rules(config: i64) {
    // SAFETY: takes no pointer.
    unsafe { imports::config::clear_network_rules(config) }
}

pub(crate) fn config_usage(config: i64, what: u32) -> u64 {
    // SAFETY: takes no pointer.
    unsafe { imports::config::usage(config, what) }
}

pub(crate) fn config_add_arg(config: i64, argument: &str) {
    // SAFETY: the pointer is readable for the length given; the runtime copies.
    unsafe {
        imports::wasi::config_add_command_line_argument(config, argument.as_ptr(), argument.len())
    }
}

pub(crate) fn config_add_env(config: i64, key: &str, value: &str) {
    // SAFETY: each pointer is readable for the length given; the runtime copies.
    unsafe {
        imports::wasi::config_add_environment_variable(
            config,
            key.as_ptr(),
            key.len(),
            value.as_ptr(),
            value.len(),
        )
    }
}

// ---- the scratch message ----

pub(crate) fn message_create(tag: i64, capacity: usize) {
    // SAFETY: takes no pointer.
    unsafe { imports::create_data(tag, capacity as u64) }
}

/// Appends and gives the number of bytes appended: fewer than asked when the limit on message size is reached.
pub(crate) fn message_write(bytes: &[u8]) -> usize {
    // SAFETY: the pointer is readable for the length given; the runtime copies.
    unsafe { imports::write_data(bytes.as_ptr(), bytes.len()) as usize }
}

/// Reads on from the message's cursor and gives the number of bytes read: fewer than asked at the end.
pub(crate) fn message_read(bytes: &mut [u8]) -> usize {
    // SAFETY: the pointer is writable for the length given.
    unsafe { imports::read_data(bytes.as_mut_ptr(), bytes.len()) as usize }
}

/// Appends the next `count` bytes of the message to `bytes`, without clearing the room for them first.
pub(crate) fn message_read_append(bytes: &mut Vec<u8>, count: usize) {
    bytes.reserve_exact(count);
    let old = bytes.len();
    let room: &mut [MaybeUninit<u8>] = &mut bytes.spare_capacity_mut()[..count];
    // SAFETY: the pointer is writable for `count` bytes; the runtime only writes there.
    let read = unsafe { imports::read_data(room.as_mut_ptr().cast(), count) as usize };
    assert!(read <= count, "the runtime read {read} bytes of a message where {count} were asked");
    // SAFETY: the capacity holds `old + count` bytes, and the runtime has initialised the first `read` behind `old`.
    unsafe { bytes.set_len(old + read) }
}

pub(crate) fn message_size() -> usize {
    // SAFETY: takes no pointer.
    let size = unsafe { imports::data_size() };
    usize::try_from(size).expect("a message the runtime lets in fits this memory's address space")
}

pub(crate) fn message_send(process: u64) {
    // SAFETY: takes no pointer. The result is always 0: a message to a process that has ended is dropped.
    unsafe { imports::send(process) };
}

/// Waits for a message with one of `tags`, or with any tag if there are none.
pub(crate) fn mailbox_receive(tags: &[i64], timeout_ms: u64) -> Status {
    // SAFETY: the pointer is readable for `tags.len()` 64-bit numbers.
    Status::of_mailbox(unsafe { imports::receive(tags.as_ptr(), tags.len(), timeout_ms) })
}

/// Puts a new reference to the channel into the scratch message; gives its index there.
pub(crate) fn message_push_channel(handle: u64) -> u64 {
    // SAFETY: takes no pointer.
    unsafe { imports::push_channel(handle) }
}

/// Takes the channel at `index` out of the scratch message; gives this process's handle for it.
pub(crate) fn message_take_channel(index: u64) -> u64 {
    // SAFETY: takes no pointer.
    unsafe { imports::take_channel(index) }
}

// ---- channels ----

pub(crate) fn channel_open(bound: u64) -> u64 {
    // SAFETY: takes no pointer.
    unsafe { imports::channel::open(bound) }
}

pub(crate) fn channel_clone(handle: u64) -> u64 {
    // SAFETY: takes no pointer.
    unsafe { imports::channel::clone_handle(handle) }
}

pub(crate) fn channel_close(handle: u64) {
    // SAFETY: takes no pointer.
    unsafe { imports::channel::close(handle) }
}

pub(crate) fn channel_send(handle: u64, timeout_ms: u64) -> Status {
    // SAFETY: takes no pointer.
    Status::of_channel(unsafe { imports::channel::send(handle, timeout_ms) })
}

pub(crate) fn channel_receive(handle: u64, timeout_ms: u64) -> Status {
    // SAFETY: takes no pointer.
    Status::of_channel(unsafe { imports::channel::receive(handle, timeout_ms) })
}

// ---- errors and version ----

/// WASI's number for an error of the runtime; 0 if there is none.
fn error_code(id: u64) -> u16 {
    // SAFETY: takes no pointer.
    unsafe { imports::error::code(id) as u16 }
}

/// Fetches the text of an error of the runtime and frees the error.
fn take_error_text(id: u64) -> String {
    // SAFETY: takes no pointer.
    let size = unsafe { imports::error::string_size(id) };
    let mut text = vec![0; size as usize];
    // SAFETY: the buffer is writable for the size the runtime has just given, and nobody else uses this error.
    unsafe { imports::error::to_string(id, text.as_mut_ptr()) };
    // SAFETY: takes no pointer; the id is not used again.
    unsafe { imports::error::drop(id) };
    String::from_utf8_lossy(&text).into_owned()
}

pub(crate) fn version() -> (u32, u32, u32) {
    // SAFETY: takes no pointer.
    let major = unsafe { imports::major() };
    // SAFETY: takes no pointer.
    let minor = unsafe { imports::minor() };
    // SAFETY: takes no pointer.
    let patch = unsafe { imports::patch() };
    (major, minor, patch)
}

// ---- entry of child processes ----

/// A function of this module as its index in the function table: what a function pointer is in WebAssembly. Every
/// process of a module has the same table, so an index means the same function in all of them.
#[derive(Clone, Copy)]
pub(crate) struct FnIndex(u32);

impl FnIndex {
    pub(crate) fn of_entry<C>(entry: fn(C)) -> FnIndex {
        FnIndex(entry as usize as u32)
    }

    pub(crate) fn of_entry2<C, B>(entry: fn(C, B)) -> FnIndex {
        FnIndex(entry as usize as u32)
    }
}

/// The function a child was started with. Only trampolines call this, and a trampoline for `C` is only ever sent together
/// with an entry for the same `C`: see `process::spawn`.
pub(crate) fn entry_of_spawn<C>(index: FnIndex) -> fn(C) {
    let pointer = index.0 as usize as *const ();
    // SAFETY: the number was made by `FnIndex::of_entry::<C>` in a process of this module, whose table is the same. Should
    // a stranger start this export with another number, WebAssembly checks index and signature at the call, and what is
    // left of the mistake stays inside this process's own memory.
    unsafe { std::mem::transmute::<*const (), fn(C)>(pointer) }
}

/// As `entry_of_spawn`, for a function of two arguments.
pub(crate) fn entry_of_spawn_with_mailbox<C, B>(index: FnIndex) -> fn(C, B) {
    let pointer = index.0 as usize as *const ();
    // SAFETY: as in `entry_of_spawn`, with `FnIndex::of_entry2::<C, B>`.
    unsafe { std::mem::transmute::<*const (), fn(C, B)>(pointer) }
}

/// The export children start at. It carries the version of this crate, so that a program may contain several.
const SPAWN_EXPORT: &str = concat!("_lunatic_spawn_", env!("CARGO_PKG_VERSION"));

/// Where the runtime starts a child: `trampoline` knows the types, `entry` is the user's function.
#[export_name = concat!("_lunatic_spawn_", env!("CARGO_PKG_VERSION"))]
extern "C" fn spawn_entry(trampoline: u32, entry: u32) {
    #[cfg(not(linker_runs_constructors))]
    // SAFETY: takes no pointer; runs once, before anything else in this instance, as in the `_start` of a main process.
    unsafe {
        imports::__wasm_call_ctors();
    }
    let trampoline = trampoline as usize as *const ();
    // SAFETY: only `spawn_with_message` above names this export, and it passes a `fn(FnIndex)` of this module. A stranger
    // who passes anything else is stopped by WebAssembly's check of index and signature. FnIndex is one u32.
    let trampoline = unsafe { std::mem::transmute::<*const (), fn(FnIndex)>(trampoline) };
    trampoline(FnIndex(entry));
    // Ends as a main function ends: buffered output of Rust and C is written, exit handlers run. Returning instead would
    // lose what `print!` holds back until the end of a line.
    std::process::exit(0);
}

#[cfg(test)]
mod tests {
    use super::two_i32_params;

    #[test]
    fn parameters_are_records_of_17_bytes() {
        let params = two_i32_params(0x0403_0201, 9);
        assert_eq!(params[..6], [0x7F, 1, 2, 3, 4, 0]);
        assert_eq!(params[6..17], [0; 11]);
        assert_eq!(params[17..22], [0x7F, 9, 0, 0, 0]);
    }
}
