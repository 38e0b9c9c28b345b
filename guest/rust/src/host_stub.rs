//! Stands in for the runtime's functions on every target but WebAssembly, so that `cargo doc`, `cargo check`, doc
//! examples and editors work there. Calling one says what to do instead.

/// For the modules that import more.
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

pub(crate) use stubs;

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
        code(id: u64) -> u32;
        to_string(id: u64, text: *mut u8);
        drop(id: u64);
    }
}

pub(super) mod config {
    stubs! { pub(in super::super),
        create() -> i64;
        copy_own() -> i64;
        set_limit(config: i64, limit: u32, value: u64, id: *mut u64) -> i32;
        set_overflow(config: i64, overflow: u32);
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

pub(super) mod networking {
    stubs! { pub(in super::super),
        resolve(name: *const u8, len: usize, timeout: u64, id: *mut u64) -> i32;
        drop_dns_iterator(id: u64);
        resolve_next(id: u64, kind: *mut u32, bytes: *mut u8, port: *mut u16, flow_info: *mut u32,
            scope_id: *mut u32) -> i32;
        tcp_bind(kind: u32, ip: *const u8, port: u32, flow: u32, scope: u32, id: *mut u64) -> i32;
        drop_tcp_listener(id: u64);
        clone_tcp_listener(id: u64) -> u64;
        push_tcp_listener(id: u64) -> u64;
        take_tcp_listener(index: u64) -> u64;
        tcp_local_addr(id: u64, addresses: *mut u64) -> i32;
        tcp_accept_timeout(id: u64, timeout: u64, stream: *mut u64, peer: *mut u64) -> i32;
        tcp_connect(kind: u32, ip: *const u8, port: u32, flow: u32, scope: u32, timeout: u64, id: *mut u64) -> i32;
        tcp_peer_addr(id: u64, addresses: *mut u64) -> i32;
        tcp_stream_local_addr(id: u64, addresses: *mut u64) -> i32;
        drop_tcp_stream(id: u64);
        clone_tcp_stream(id: u64) -> u64;
        tcp_write_vectored(id: u64, buffers: *const u8, count: usize, written: *mut u64) -> i32;
        tcp_read(id: u64, buffer: *mut u8, len: usize, read: *mut u64) -> i32;
        tcp_peek(id: u64, buffer: *mut u8, len: usize, read: *mut u64) -> i32;
        tcp_shutdown(id: u64, how: u32, error: *mut u64) -> i32;
        get_nodelay(id: u64) -> u32;
        set_nodelay(id: u64, nodelay: u32);
        set_read_timeout(id: u64, millis: u64);
        get_read_timeout(id: u64) -> u64;
        set_write_timeout(id: u64, millis: u64);
        get_write_timeout(id: u64) -> u64;
        set_peek_timeout(id: u64, millis: u64);
        get_peek_timeout(id: u64) -> u64;
        tls_bind(kind: u32, ip: *const u8, port: u32, flow: u32, scope: u32, id: *mut u64, certs: *const u8,
            certs_len: usize, keys: *const u8, keys_len: usize) -> i32;
        drop_tls_listener(id: u64);
        tls_local_addr(id: u64, addresses: *mut u64) -> i32;
        tls_accept_timeout(id: u64, timeout: u64, stream: *mut u64, peer: *mut u64) -> i32;
        tls_connect(host: *const u8, host_len: usize, port: u32, timeout: u64, id: *mut u64, roots: *const u8,
            root_count: usize) -> i32;
        drop_tls_stream(id: u64);
        clone_tls_stream(id: u64) -> u64;
        tls_peer_addr(id: u64, addresses: *mut u64) -> i32;
        tls_write_vectored(id: u64, buffers: *const u8, count: usize, written: *mut u64) -> i32;
        tls_read(id: u64, buffer: *mut u8, len: usize, read: *mut u64) -> i32;
        tls_flush(id: u64, error: *mut u64) -> i32;
        set_tls_read_timeout(id: u64, millis: u64);
        get_tls_read_timeout(id: u64) -> u64;
        set_tls_write_timeout(id: u64, millis: u64);
        get_tls_write_timeout(id: u64) -> u64;
        udp_bind(kind: u32, ip: *const u8, port: u32, flow: u32, scope: u32, id: *mut u64) -> i32;
        drop_udp_socket(id: u64);
        udp_local_addr(id: u64, addresses: *mut u64) -> i32;
        udp_peer_addr(id: u64, addresses: *mut u64) -> i32;
        udp_connect(id: u64, kind: u32, ip: *const u8, port: u32, flow: u32, scope: u32, timeout: u64,
            error: *mut u64) -> i32;
        udp_receive_from_timeout(id: u64, buffer: *mut u8, len: usize, timeout: u64, read: *mut u64,
            sender: *mut u64) -> i32;
        udp_send(id: u64, buffer: *const u8, len: usize, sent: *mut u64) -> i32;
        udp_send_to(id: u64, buffer: *const u8, len: usize, kind: u32, ip: *const u8, port: u32, flow: u32,
            scope: u32, sent: *mut u64) -> i32;
        clone_udp_socket(id: u64) -> u64;
        set_udp_socket_broadcast(id: u64, broadcast: u32);
        get_udp_socket_broadcast(id: u64) -> i32;
        set_udp_socket_ttl(id: u64, ttl: u32);
        get_udp_socket_ttl(id: u64) -> u32;
        push_tcp_stream(id: u64) -> u64;
        take_tcp_stream(index: u64) -> u64;
        push_tls_stream(id: u64) -> u64;
        take_tls_stream(index: u64) -> u64;
        push_udp_socket(id: u64) -> u64;
        take_udp_socket(index: u64) -> u64;
    }
}
