//! Stands in for the runtime's functions on every target but WebAssembly, so that `cargo doc`, `cargo check`, doc
//! examples and editors work there. Calling one says what to do instead.

macro_rules! stubs {
    ($visible:vis, $($name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?;)*) => { $(
        #[allow(clippy::too_many_arguments, reason = "the runtime's signature")]
        $visible unsafe fn $name($(_: $ty),*) $(-> $ret)? {
            panic!(
                "called `{}` of the lunatic runtime in a program that was not compiled for it; \
                 build with `--target wasm32-wasip1` and run with `lunatic`",
                stringify!($name)
            )
        }
    )* };
}

stubs! { pub(super),
    spawn_with_message(link: i64, config_id: i64, module_id: i64, function_ptr: *const u8, function_len: usize,
        params_ptr: *const u8, params_len: usize, id_ptr: *mut u64) -> i32;
    sleep_ms(milliseconds: u64);
    process_id() -> u64;
    exists(process: u64) -> i32;
    kill(process: u64);
    drop_config(config: i64);
    create_data(tag: i64, capacity: u64);
    write_data(data: *const u8, len: usize) -> u32;
    read_data(data: *mut u8, len: usize) -> u32;
    data_size() -> u64;
    send(process: u64) -> i32;
    receive(tags: *const i64, tag_count: usize, timeout_ms: u64) -> i32;
    push_channel(handle: u64) -> u64;
    take_channel(index: u64) -> u64;
    major() -> u32;
    minor() -> u32;
    patch() -> u32;
    __wasm_call_ctors();
}

pub(super) mod channel {
    stubs! { pub(in super::super),
        open(bound: u64) -> u64;
        clone_handle(handle: u64) -> u64;
        close(handle: u64);
        send(handle: u64, timeout_ms: u64) -> i32;
        receive(handle: u64, timeout_ms: u64) -> i32;
    }
}

pub(super) mod error {
    stubs! { pub(in super::super),
        string_size(id: u64) -> u32;
        to_string(id: u64, text: *mut u8);
        drop(id: u64);
    }
}

pub(super) mod config {
    stubs! { pub(in super::super),
        create() -> i64;
        copy_own() -> i64;
        set_limit(config: i64, limit: u32, value: u64, id: *mut u64) -> i32;
        set_right(config: i64, right: u32, has: u32, id: *mut u64) -> i32;
        add_dir(config: i64, path_ptr: *const u8, path_len: usize, name_ptr: *const u8, name_len: usize,
            writes: u32, id: *mut u64) -> i32;
        add_network_rule(config: i64, rule_ptr: *const u8, rule_len: usize, id: *mut u64) -> i32;
        clear_network_rules(config: i64);
        usage(config: i64, what: u32) -> u64;
    }
}

pub(super) mod wasi {
    stubs! { pub(in super::super),
        config_add_environment_variable(config: i64, key_ptr: *const u8, key_len: usize, value_ptr: *const u8,
            value_len: usize);
        config_add_command_line_argument(config: i64, argument_ptr: *const u8, argument_len: usize);
    }
}
