//! Ways out that are none, and guests that want too much of everything: each is a program that tries,
//! beside others that go on. (Paths are in `wasi_escape.rs`, names that
//! change their meaning in `rebinding.rs`, configurations in `rights.rs`, what is denied in `denials.rs`.)

mod support;

use std::net::{TcpListener, UdpSocket};
use std::thread;

use support::{Output, program, run_wat_with, spawn, spawn_with, times};

/// Imports beside the prelude.
const IMPORTS: &str = r#"(module
  (import "lunatic::networking" "tcp_connect"
    (func $tcp_connect (param i32 i32 i32 i32 i32 i64 i32) (result i32)))
  (import "lunatic::networking" "tcp_bind"
    (func $tcp_bind (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "tcp_accept" (func $tcp_accept (param i64 i32 i32) (result i32)))
  (import "lunatic::networking" "drop_tcp_listener" (func $drop_listener (param i64)))
  (import "lunatic::networking" "clone_tcp_stream" (func $clone_stream (param i64) (result i64)))
  (import "lunatic::networking" "clone_udp_socket" (func $clone_udp (param i64) (result i64)))
  (import "lunatic::networking" "drop_dns_iterator" (func $drop_dns (param i64)))
  (import "lunatic::networking" "tcp_local_addr" (func $local (param i64 i32) (result i32)))
  (import "lunatic::process" "compile_module" (func $compile (param i32 i32 i32) (result i32)))
  (import "lunatic::process" "drop_module" (func $drop_module (param i64)))
  (import "lunatic::process" "drop_config" (func $drop_config (param i64)))
  (import "lunatic::process" "config_get_max_memory" (func $memory (param i64) (result i64)))
  (import "lunatic::timer" "send_after" (func $after (param i64 i64) (result i64)))
  (import "lunatic::timer" "cancel_timer" (func $cancel (param i64) (result i32)))
  (import "lunatic::error" "drop" (func $drop_error (param i64)))
  (import "lunatic::networking" "tcp_read" (func $tcp_read (param i64 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "udp_bind"
    (func $udp_bind (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "udp_send_to"
    (func $udp_send_to (param i64 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "udp_receive"
    (func $udp_receive (param i64 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "resolve" (func $resolve (param i32 i32 i64 i32) (result i32)))
  (import "lunatic::networking" "resolve_next"
    (func $resolve_next (param i64 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::process" "create_config" (func $config (result i64)))
  (import "lunatic::process" "config_set_max_fuel" (func $set_fuel (param i64 i64)))
  (import "lunatic::process" "config_set_can_spawn_processes" (func $set_spawn (param i64 i32)))
  (import "lunatic::config" "set_limit" (func $set_limit (param i64 i32 i64 i32) (result i32)))
  (import "lunatic::error" "string_size" (func $error_size (param i64) (result i32)))
  (import "lunatic::error" "to_string" (func $error_text (param i64 i32)))"#;

const ITEMS: &str = r#"
  (func $complain
    (call $error_text (i64.load (i32.const 288)) (i32.const 4096))
    (i32.store8
      (i32.add (i32.const 4096) (call $error_size (i64.load (i32.const 288)))) (i32.const 10))
    (call $put (i32.const 4096)
      (i32.add (i32.const 1) (call $error_size (i64.load (i32.const 288))))))
  ;; Prints a status, and the error if there is one.
  (func $try (param i32) (call $say32 (local.get 0)) (if (local.get 0) (then (call $complain))))
  ;; Connects to each address of the name at 8192.
  (func $connect_by_name (param $len i32) (param $port i32)
    (if (call $resolve (i32.const 8192) (local.get $len) (i64.const -1) (i32.const 288))
      (then (call $say (i64.const 9)) (call $complain) (return)))
    (i64.store (i32.const 320) (i64.load (i32.const 288)))
    (if (call $resolve_next (i64.load (i32.const 320)) (i32.const 336) (i32.const 352)
          (i32.const 340) (i32.const 344) (i32.const 348))
      (then unreachable))
    (call $try (call $tcp_connect (i32.load (i32.const 336)) (i32.const 352) (local.get $port)
      (i32.const 0) (i32.const 0) (i64.const 5000) (i32.const 288))))"#;

#[track_caller]
fn run(options: &[&str], items: &str, body: &str) -> Output {
    let text =
        program(&format!("{ITEMS} {items}"), &format!("(local $i i64) (local $c i64) {body}"));
    run_wat_with(options, &text.replacen("(module", IMPORTS, 1))
}

/// Bytes as WAT.
fn data(bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
    format!("(data (i32.const 8192) \"{text}\")")
}

/// WAT: the group of parameters that means this address, whose bytes are at 8192.
fn address(ip: &[u8], port: u16) -> String {
    let family = if ip.len() == 4 { 4 } else { 6 };
    format!("(i32.const {family}) (i32.const 8192) (i32.const {port}) (i32.const 0) (i32.const 0)")
}

const LOCALHOST: [u8; 4] = [127, 0, 0, 1];
const MAPPED: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1];
const ANY: [u8; 4] = [0; 4];
const ANY_6: [u8; 16] = [0; 16];
const MAPPED_ANY: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];

/// Whether a guest with this option reaches the port at these addresses.
#[track_caller]
fn reaches(option: &str, ip: &[u8], port: u16) -> bool {
    let body = format!(
        "(call $try (call $tcp_connect {} (i64.const 5000) (i32.const 288)))",
        address(ip, port)
    );
    let options: &[&str] = if option.is_empty() { &[] } else { &[option] };
    let output = run(options, &data(ip), &body).expect_quiet_success();
    if output.stdout != "0\n" {
        let says = "the process may not connect to ";
        assert!(output.stdout.contains(says), "{option} {ip:?}\n{output:#?}");
    }
    output.stdout == "0\n"
}

#[test]
fn no_writing_of_an_address_leads_past_the_rules() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("known").port();
    let exact = format!("--allow-net=connect:127.0.0.1:{port}");
    let mapped = format!("--allow-net=connect:[::ffff:127.0.0.1]:{port}");
    for ip in [&LOCALHOST[..], &MAPPED, &ANY, &MAPPED_ANY] {
        assert!(reaches(&exact, ip, port), "{ip:?}");
        assert!(reaches(&mapped, ip, port), "{ip:?}");
        assert!(reaches("--allow-net", ip, port), "{ip:?}");
    }
    let others = [
        String::new(),
        "--allow-net=connect:10.0.0.0/8:*".to_string(),
        format!("--allow-net=connect:127.0.0.1:{}", port ^ 1),
        format!("--allow-net=listen:127.0.0.1:{port}"),
        "--allow-net=connect:[fd00::/8]:*".to_string(),
        "--allow-net=connect:db.local:*".to_string(),
    ];
    for option in &others {
        for ip in [&LOCALHOST[..], &MAPPED, &ANY, &ANY_6, &MAPPED_ANY] {
            assert!(!reaches(option, ip, port), "{option} {ip:?}");
        }
    }
}

#[test]
fn a_name_leads_where_the_rules_allow_and_nowhere_else() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("known").port();
    let connect = |options: &[&str], name: &str| {
        let body = format!("(call $connect_by_name (i32.const {}) (i32.const {port}))", name.len());
        run(options, &data(name.as_bytes()), &body).expect_quiet_success().stdout
    };
    let name = format!("localhost:{port}");
    assert_eq!(connect(&["--allow-net=connect:127.0.0.0/8:*,connect:[::1]:*"], &name), "0\n");
    assert_eq!(connect(&[&format!("--allow-net=connect:LOCALHOST:{port}")], &name), "0\n");
    // The address is what counts, however it is written.
    for name in
        [&name, &format!("127.0.0.1:{port}"), &format!("127.1:{port}"), &format!("0x7f.1:{port}")]
    {
        let answer = connect(&["--allow-net=connect:10.0.0.0/8:*"], name);
        assert!(
            answer.contains("the process may not connect to ") || answer.starts_with("9\n"),
            "{name}: {answer}"
        );
    }
    // Who may not use the network need not ask it for names either.
    let answer = connect(&[], &name);
    assert!(answer.starts_with("9\n") && answer.contains("may not look up"), "{answer}");
}

#[test]
fn sockets_listen_where_they_may() {
    let bind = |option: &str, function: &str, ip: &[u8], port: u16| {
        let body = format!("(call $try (call ${function} {} (i32.const 288)))", address(ip, port));
        let output = run(&[option], &data(ip), &body).expect_quiet_success();
        output.stdout == "0\n"
    };
    for function in ["tcp_bind", "udp_bind"] {
        let here = "--allow-net=listen:127.0.0.1:*";
        assert!(bind(here, function, &LOCALHOST, 0));
        assert!(!bind(here, function, &ANY, 0), "every interface is more than one");
        assert!(!bind(here, function, &ANY_6, 0));
        assert!(!bind(here, function, &MAPPED_ANY, 0));
        assert!(bind("--allow-net", function, &ANY, 0));
        assert!(!bind("--allow-net=listen:127.0.0.1:1-9", function, &LOCALHOST, 0));
    }
    // A client's socket for datagrams has a port, too; but each datagram is checked.
    assert!(!bind("--allow-net=connect:10.0.0.1:53", "tcp_bind", &ANY, 0));
    let body = format!(
        "(call $try (call $udp_bind {0} (i32.const 288)))
         (call $try (call $udp_send_to (i64.load (i32.const 288)) (i32.const 0) (i32.const 4)
           (i32.const 4) (i32.const 8196) (i32.const 53) (i32.const 0) (i32.const 0)
           (i32.const 288)))",
        address(&ANY, 0)
    );
    let output =
        run(&["--allow-net=connect:10.0.0.1:53"], &data(&[0, 0, 0, 0, 127, 0, 0, 1]), &body);
    let output = output.expect_quiet_success();
    assert!(
        output.stdout.contains("0\n1\n")
            && output.stdout.contains("may not connect to 127.0.0.1:53"),
        "{output:#?}"
    );
}

#[test]
fn a_client_hears_from_those_only_to_whom_it_may_talk() {
    let friend = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = friend.local_addr().expect("known").port();
    let body = format!(
        "(call $try (call $udp_bind {0} (i32.const 288)))
         (local.set $i (i64.load (i32.const 288)))
         (call $try (call $udp_send_to (local.get $i) (i32.const 8192) (i32.const 1) {1}
           (i32.const 288)))
         (call $try (call $udp_receive (local.get $i) (i32.const 4096) (i32.const 64) (i32.const 288)))
         (call $put (i32.const 4096) (i32.wrap_i64 (i64.load (i32.const 288))))",
        address(&LOCALHOST, 0),
        address(&LOCALHOST, port)
    );
    let heard = |option: &str| {
        thread::scope(|scope| {
            scope.spawn(|| {
                let (_, guest) = friend.recv_from(&mut [0; 8]).expect("the guest sends first");
                let stranger = UdpSocket::bind("127.0.0.1:0").expect("a port");
                for _ in 0..100 {
                    stranger.send_to(b"stranger\n", guest).expect("sent");
                }
                friend.send_to(b"friend\n", guest).expect("sent");
            });
            run(&[option], &data(&LOCALHOST), &body).expect_quiet_success().stdout
        })
    };
    assert_eq!(heard(&format!("--allow-net=connect:127.0.0.1:{port}")), "0\n0\n0\nfriend\n");
    assert_eq!(heard("--allow-net"), "0\n0\n0\nstranger\n");
}

/// Three addresses, and where they are in the guest's data: all of IPv6's, and this machine by both.
fn both_families() -> (String, [String; 3], u16) {
    let port =
        TcpListener::bind("[::1]:0").and_then(|it| it.local_addr()).map_or(0, |at| at.port());
    let at = |family: u32, at: u32| {
        format!(
            "(i32.const {family}) (i32.const {at}) (i32.const {port}) (i32.const 0) (i32.const 0)"
        )
    };
    let bytes = [&ANY_6[..], &LOCALHOST, &[0; 15], &[1]].concat();
    (data(&bytes), [at(6, 8192), at(4, 8208), at(6, 8212)], port)
}

/// What a server at `[::]` allows itself, and whether those with IPv4 reach it then.
const LISTENS: [(&str, bool); 5] = [
    ("listen:[::]:PORT", false),
    ("listen:[::]:PORT,listen:0.0.0.0:1,listen:127.0.0.1:PORT", false),
    ("listen:[::]:PORT,listen:0.0.0.0:PORT", true),
    ("listen:*:PORT", true),
    ("*", true),
];

#[test]
fn who_listens_at_no_address_of_ipv4_is_not_reached_by_it() {
    let (data, [any, v4, v6], port) = both_families();
    if port == 0 {
        return eprintln!("SKIPPED: this machine has no IPv6");
    }
    let connect =
        |to| format!("(call $say32 (call $tcp_connect {to} (i64.const -1) (i32.const 288)))");
    let body = format!(
        "(call $try (call $tcp_bind {any} (i32.const 288))) {} {}",
        connect(v6),
        connect(v4)
    );
    for (rules, is_reached) in LISTENS {
        let rules = rules.replace("PORT", &port.to_string());
        let option = format!("--allow-net={rules},connect:127.0.0.1:*,connect:[::1]:*");
        let reached = if is_reached { "0\n0\n0\n" } else { "0\n0\n1\n" };
        assert_eq!(run(&[&option], &data, &body).expect_quiet_success().stdout, reached, "{rules}");
    }
}

#[test]
fn who_listens_at_no_address_of_ipv4_hears_no_datagrams_from_it() {
    let (data, [any, v4, v6], port) = both_families();
    if port == 0 {
        return eprintln!("SKIPPED: this machine has no IPv6");
    }
    // From sockets of their own, the one with IPv4 first; what comes first is printed.
    let zero = format!("(i32.const {port})");
    let client = any.replace(&zero, "(i32.const 0)");
    let client_4 = client.replace("(i32.const 6)", "(i32.const 4)");
    let send = |from: &str, to: &str, what: u32| {
        format!(
            "(call $try (call $udp_bind {from} (i32.const 288)))
             (call $try (call $udp_send_to (i64.load (i32.const 288)) (i32.const {what})
               (i32.const 3) {to} (i32.const 288)))"
        )
    };
    let body = format!(
        "(call $try (call $udp_bind {any} (i32.const 288)))
         (local.set $i (i64.load (i32.const 288)))
         {} {}
         (call $try (call $udp_receive (local.get $i) (i32.const 4096) (i32.const 64) (i32.const 288)))
         (call $put (i32.const 4096) (i32.wrap_i64 (i64.load (i32.const 288))))",
        send(&client_4, &v4, 8300),
        send(&client, &v6, 8303)
    );
    let data = format!("{data} (data (i32.const 8300) \"v4\\0av6\\0a\")");
    for (rules, is_reached) in LISTENS {
        let rules = rules.replace("PORT", &port.to_string());
        let option = format!("--allow-net={rules},connect:127.0.0.1:*,connect:[::1]:*");
        let heard = if is_reached { "v4\n" } else { "v6\n" };
        let output = run(&[&option], &data, &body).expect_quiet_success().stdout;
        assert_eq!(output, format!("{}{heard}", "0\n".repeat(6)), "{rules}");
    }
}

#[test]
fn a_client_talks_to_both_families_by_one_socket() {
    let (_, _, port) = both_families();
    if port == 0 {
        return eprintln!("SKIPPED: this machine has no IPv6");
    }
    let friend = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = friend.local_addr().expect("known").port();
    let to = address(&MAPPED, port).replace("8192", "8208");
    let body = format!(
        "(call $try (call $udp_bind {} (i32.const 288)))
         (local.set $i (i64.load (i32.const 288)))
         (call $try (call $udp_send_to (local.get $i) (i32.const 1) (i32.const 1) {to}
           (i32.const 288)))
         (call $try (call $udp_receive (local.get $i) (i32.const 4096) (i32.const 64) (i32.const 288)))
         (call $put (i32.const 4096) (i32.wrap_i64 (i64.load (i32.const 288))))",
        address(&ANY_6, 0)
    );
    let output = thread::scope(|scope| {
        scope.spawn(|| {
            let (_, guest) = friend.recv_from(&mut [0; 8]).expect("the guest sends first");
            friend.send_to(b"friend\n", guest).expect("sent");
        });
        let option = format!("--allow-net=connect:127.0.0.1:{port}");
        run(&[&option], &data(&[&ANY_6[..], &MAPPED].concat()), &body)
    });
    assert_eq!(output.expect_quiet_success().stdout, "0\n0\n0\nfriend\n");
}

#[test]
fn numbers_of_others_mean_nothing() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("known").port();
    // The main process has a connection and a channel, both with number 0.
    let items = format!(
        "{}
         (func (export \"socket\")
           (drop (call $tcp_read (i64.const 0) (i32.const 0) (i32.const 8) (i32.const 64))))
         (func (export \"channel\") (drop (call $channel_receive (i64.const 0) (i64.const 0))))
         (func (export \"forged\") (drop (call $channel_receive (i64.const -1) (i64.const 0))))",
        data(&LOCALHOST)
    );
    let body = format!(
        "(call $try (call $tcp_connect {} (i64.const 5000) (i32.const 288)))
         (call $say (call $open (i64.const 1)))
         (call $join {}) (call $join {}) (call $join {})
         (call $say (i64.const 7))",
        address(&LOCALHOST, port),
        spawn("socket"),
        spawn("channel"),
        spawn("forged")
    );
    let output = run(&["--allow-net"], &items, &body).expect(0).prints(&[0, 0, 7]);
    assert_eq!(output.stderr.matches("trapped").count(), 3, "{output:#?}");
}

/// The main process has one of each kind; a child of its own for each call finds none of them, whatever
/// number it tries, and the main process has all of them at the end.
#[test]
fn what_a_process_has_no_other_process_reaches_by_any_number() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("known").port();
    let calls = [
        ("channel::close", "(call $close (local.get 0))"),
        ("channel::clone_handle", "(drop (call $clone_handle (local.get 0)))"),
        ("channel::receive", "(drop (call $channel_receive (local.get 0) (i64.const 0)))"),
        ("process::drop_config", "(call $drop_config (local.get 0))"),
        ("process::config_get_max_memory", "(drop (call $memory (local.get 0)))"),
        ("process::drop_module", "(call $drop_module (local.get 0))"),
        ("networking::drop_tcp_listener", "(call $drop_listener (local.get 0))"),
        (
            "networking::tcp_accept",
            "(drop (call $tcp_accept (local.get 0) (i32.const 600) (i32.const 608)))",
        ),
        ("networking::clone_tcp_stream", "(drop (call $clone_stream (local.get 0)))"),
        ("networking::clone_udp_socket", "(drop (call $clone_udp (local.get 0)))"),
        ("networking::drop_dns_iterator", "(call $drop_dns (local.get 0))"),
        ("error::drop", "(call $drop_error (local.get 0))"),
    ];
    let numbers = [0i64, 1, 2, 3, 4, 5, 6, 7, 1 << 32, i64::MAX, i64::MIN];
    for (name, call) in calls {
        reaches_nothing(name, call, &numbers, port);
    }
}

/// For each number a process of its own makes the call, and ends of it.
#[track_caller]
fn reaches_nothing(name: &str, call: &str, numbers: &[i64], port: u16) {
    let module = "(module)";
    let items = format!(
        "{} (data (i32.const 8448) \"{module}\") (func (export \"call\") (param i64) {call})
         (func (export \"timer\") (param i64)
           (if (call $cancel (local.get 0)) (then (call $say (i64.const 666)))))",
        data(&LOCALHOST)
    );
    let one = |export: &str, number: &i64| {
        format!("(call $join {})", spawn_with(export, &format!("(i64.const {number})")))
    };
    let tries: String = numbers.iter().map(|n| one("call", n) + &one("timer", n)).collect();
    let body = format!(
        "(local $channel i64) (local $config i64) (local $module i64) (local $listener i64)
         (local $stream i64) (local $udp i64) (local $dns i64) (local $error i64) (local $timer i64)
         (local.set $channel (call $open (i64.const 1)))
         (local.set $config (call $config))
         (if (call $compile (i32.const 8448) (i32.const {}) (i32.const 288)) (then unreachable))
         (local.set $module (i64.load (i32.const 288)))
         (if (call $tcp_bind {} (i32.const 288)) (then unreachable))
         (local.set $listener (i64.load (i32.const 288)))
         (if (call $local (local.get $listener) (i32.const 288)) (then unreachable))
         (local.set $dns (i64.load (i32.const 288)))
         (if (call $udp_bind {} (i32.const 288)) (then unreachable))
         (local.set $udp (i64.load (i32.const 288)))
         (if (call $tcp_connect {} (i64.const 5000) (i32.const 288)) (then unreachable))
         (local.set $stream (i64.load (i32.const 288)))
         (if (i32.ne (call $tcp_bind {} (i32.const 288)) (i32.const 1)) (then unreachable))
         (local.set $error (i64.load (i32.const 288)))
         (call $create (i64.const 0) (i64.const 0))
         (local.set $timer (call $after (call $self) (i64.const 3600000)))
         {tries}
         (call $say32 (call $cancel (local.get $timer)))
         (call $drop_error (local.get $error)) (call $drop_dns (local.get $dns))
         (call $say (call $clone_udp (local.get $udp)))
         (call $say (call $clone_stream (local.get $stream)))
         (call $drop_listener (local.get $listener)) (call $drop_module (local.get $module))
         (call $drop_config (local.get $config)) (call $close (local.get $channel))",
        module.len(),
        address(&LOCALHOST, 0),
        address(&LOCALHOST, 0),
        address(&LOCALHOST, port),
        address(&LOCALHOST, port),
    );
    let output = run(&["--allow-net"], &items, &body).expect(0);
    let said = output.numbers();
    assert_eq!((said.len(), said[0]), (3, 1), "{output:#?}");
    let ended = output.stderr.matches(&format!("trapped: lunatic::{name}: ")).count();
    assert_eq!(ended, numbers.len(), "each that calls {name} ends\n{output:#?}");
}

#[test]
fn hostile_guests_are_ended_or_held_and_the_rest_goes_on() {
    let attacks = [
        // A fork bomb: each child spawns as fast as it can.
        (
            "forks",
            "(loop $again
               (call $argument (local.get 0))
               (i64.store (i32.const 240) (i64.const 0x736b726f66))
               (drop (call $spawn_raw (i64.const 0) (i64.const -1) (i64.const -1) (i32.const 240)
                 (i32.const 5) (i32.const 256) (i32.const 17) (i32.const 288)))
               (br $again))",
        ),
        ("grows", "(loop $again (drop (memory.grow (i32.const 1))) (br $again))"),
        ("flood", "(loop $again (call $send (local.get 0) (i64.const 5)) (br $again))"),
        ("selfs", "(loop $again (call $send (call $self) (i64.const 5)) (br $again))"),
        ("opens", "(loop $again (drop (call $open (i64.const 0))) (br $again))"),
        ("confs", "(loop $again (drop (call $config)) (br $again))"),
        (
            "error",
            "(loop $again
               (drop (call $tcp_connect (i32.const 4) (i32.const 0) (i32.const 1) (i32.const 0)
                 (i32.const 0) (i64.const 0) (i32.const 288)))
               (br $again))",
        ),
    ];
    let items: String = attacks
        .iter()
        .map(|(name, body)| format!("(func (export \"{name}\") (param i64) {body})"))
        .collect();
    let items = format!("{items} (func (export \"deaf\") (call $sleep (i64.const 3600000)))");
    for (name, _) in attacks {
        let mut bytes = [0; 8];
        bytes[..5].copy_from_slice(name.as_bytes());
        // With 50 units of fuel, one child at a time, 100 resources, 16 MiB.
        let body = format!(
            "(local $deaf i64)
             (local.set $c (call $config))
             (call $set_fuel (local.get $c) (i64.const 50))
             (call $set_spawn (local.get $c) (i32.const 1))
             (drop (call $set_limit (local.get $c) (i32.const 0) (i64.const 16777216) (i32.const 288)))
             (drop (call $set_limit (local.get $c) (i32.const 2) (i64.const 1) (i32.const 288)))
             (drop (call $set_limit (local.get $c) (i32.const 3) (i64.const 100) (i32.const 288)))
             (local.set $deaf {})
             (call $argument (local.get $deaf))
             (i64.store (i32.const 240) (i64.const {}))
             (if (call $spawn_raw (i64.const 0) (local.get $c) (i64.const -1) (i32.const 240)
                   (i32.const 5) (i32.const 256) (i32.const 17) (i32.const 288))
               (then unreachable))
             {}
             (call $join (i64.load (i32.const 288)))
             (call $say (local.get $i))",
            spawn("deaf"),
            i64::from_le_bytes(bytes),
            times(50, "(call $yield)"),
        );
        let options = ["--workers=2", "--processes-max=200"];
        let output = run(&options, &items, &body).expect(0).prints(&[50]);
        assert!(!output.stderr.is_empty(), "{name} has ended with a reason\n{output:#?}");
    }
}

#[test]
fn a_fork_bomb_without_limits_meets_those_of_the_node() {
    let items = "(func (export \"forks\") (param i64) (local $i i64)
        (loop $again
          (call $argument (local.get 0))
          (i64.store (i32.const 240) (i64.const 0x736b726f66))
          (if (call $spawn_raw (i64.const 0) (i64.const -1) (i64.const -1) (i32.const 240)
                (i32.const 5) (i32.const 256) (i32.const 17) (i32.const 288))
            (then (call $send (local.get 0) (i64.const 1)) (call $sleep (i64.const 3600000))))
          (br $again)))";
    let body = format!("(drop {}) (call $say (call $recv))", spawn_with("forks", "(call $self)"));
    run(&["--workers=2", "--processes-max=2000"], items, &body).expect(0).prints(&[1]);
}
