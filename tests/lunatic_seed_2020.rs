//! Programs of the crate `lunatic` 0.2.1 of December 2020 as the registry has it, and guests that misuse
//! what those import.

mod support;

use std::io::Read;
use std::net::Shutdown;

use support::seed::{address, is_sums_of_the_readme, on_workers};
use support::server::{Server, ask};
use support::{guest, lunatic, run_guest, run_wat, run_wat_with};

#[test]
fn the_example_of_the_readme_of_2020_runs() {
    on_workers("seed_readme_2020", is_sums_of_the_readme);
}

#[test]
fn channels_that_are_references_travel_block_and_are_dropped() {
    on_workers("seed_referenced", |output| {
        assert_eq!(
            output.stdout,
            "bounded 4950\nrelayed 570\ncame and went\nhalf 1500000 of Some(7)\njoined true\n\
             joined one that failed\n",
            "{output:#?}"
        );
    });
}

#[test]
fn a_server_of_version_0_2_1_serves_and_closes_what_it_drops() {
    for (workers, host) in [("1", "127.83.1.1"), ("4", "127.83.1.2")] {
        let Some(wasm) = guest("seed_net_referenced") else { return };
        let mut command = lunatic();
        command.args(["run", "--allow-net", "--workers", workers]).arg(wasm);
        command.args(["--", &address(host), "4"]);
        let mut server = Server::that_says_so(command);
        let connections = [server.connect(), server.connect(), server.connect()];
        for (connection, text) in connections.iter().zip([&b"one"[..], b"two", b"three"]) {
            ask(connection, text);
        }
        for mut connection in connections {
            ask(&connection, &[7; 10_000]);
            connection.shutdown(Shutdown::Write).expect("it is open");
            // While the server goes on: it waits for a fourth.
            assert_eq!(connection.read(&mut [0]).expect("it ends"), 0);
        }
        drop(server.connect());
        // 3 is WASI's number of "address in use".
        assert_eq!(server.line(), "echoed 30011, again Some(3)");
    }
}

#[test]
fn without_the_right_nothing_listens() {
    let at = address("127.83.1.3");
    // 76 is WASI's number of "not capable".
    let Some(output) = run_guest(&[], "seed_net_referenced", &[&at, "1"], b"") else { return };
    assert_eq!(output.expect(0).stdout, "bind 76\n");
}

/// A module that imports all, with a table of functions: 0 is empty, 1 makes room at 4096, 2 answers
/// nothing, 3 is a child, 4 makes room nowhere, 5 waits for the channel at 100 in between.
fn program(body: &str, child: &str) -> String {
    format!(
        r#"(module
          (import "lunatic" "yield" (func $yield))
          (import "lunatic" "sleep_ms" (func $sleep (param i64)))
          (import "lunatic" "spawn" (func $spawn (param i32 i32 i64) (result i32)))
          (import "lunatic" "join" (func $join (param i32)))
          (import "lunatic" "channel" (func $channel (param i32) (result i32)))
          (import "lunatic" "channel_send" (func $send (param i32 i32)))
          (import "lunatic" "channel_receive" (func $receive (param i32 i32 i32) (result i32)))
          (import "lunatic" "channel_serialize" (func $number (param i32) (result i64)))
          (import "lunatic" "channel_deserialize" (func $of_number (param i64) (result i32)))
          (import "lunatic" "clone_externref" (func $clone (param i32) (result i32)))
          (import "lunatic" "drop_externref" (func $drop (param i32)))
          (import "lunatic" "tcp_bind_str" (func $bind (param i32 i32 i32) (result i32)))
          (import "lunatic" "tcp_accept" (func $accept (param i32 i32 i32) (result i32)))
          (import "lunatic" "tcp_stream_serialize" (func $stream_number (param i32) (result i64)))
          (import "lunatic" "tcp_stream_deserialize"
            (func $stream_of_number (param i64) (result i32)))
          (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1)
          (table 6 funcref)
          (elem (i32.const 1) $room $nothing $child $nowhere $waits)
          (func $room (param i32) (result i32) (i32.const 4096))
          (func $nothing (param i32))
          (func $child (param $a i32) (param $b i64) {child})
          (func $nowhere (param i32) (result i32) (i32.const -4))
          (func $waits (param i32) (result i32)
            (drop (call $receive (i32.load (i32.const 100)) (i32.const 1) (i32.const 8)))
            (i32.const 8192))
          ;; The eight bytes at 64 as a slice at 80.
          (func $put (param $channel i32) (param $value i64)
            (i64.store (i32.const 64) (local.get $value))
            (i32.store (i32.const 80) (i32.const 64))
            (i32.store (i32.const 84) (i32.const 8))
            (call $send (local.get $channel) (i32.const 80)))
          (func $get (param $channel i32) (result i64)
            (if (i32.ne (call $receive (local.get $channel) (i32.const 1) (i32.const 8))
                        (i32.const 8)) (then unreachable))
            (i64.load (i32.load (i32.const 8))))
          (func (export "_start") (local $c i32) (local $d i32) (local $n i64) {body}))"#
    )
}

#[test]
fn every_wrong_handle_and_pointer_is_a_fault_of_the_guest() {
    let with = |call: &str| {
        format!(
            "(local.set $c (call $channel (i32.const 0))) (call $put (local.get $c) (i64.const 5))
             {call}"
        )
    };
    let receive = |table: &str, at: &str| {
        with(&format!("(drop (call $receive (local.get $c) (i32.const {table}) (i32.const {at})))"))
    };
    for (body, words) in [
        ("(call $join (i32.const 7))".to_string(), "child process with number 7"),
        ("(call $drop (i32.const 7))".to_string(), "child process with number 7"),
        ("(call $drop (i32.const 0x40000001))".to_string(), "no channel with number 1073741825"),
        ("(call $drop (i32.const 0x80000000))".to_string(), "no TCP listener"),
        ("(call $drop (i32.const 0xa0000000))".to_string(), "no TCP stream"),
        ("(call $drop (i32.const -1))".to_string(), "no channel"),
        ("(drop (call $clone (i32.const 7)))".to_string(), "child process"),
        ("(drop (call $clone (i32.const 0x7fffffff)))".to_string(), "no channel"),
        ("(drop (call $clone (i32.const 0x9fffffff)))".to_string(), "no TCP listener"),
        ("(drop (call $clone (i32.const 0xbfffffff)))".to_string(), "no TCP stream"),
        ("(call $send (i32.const 3) (i32.const 0))".to_string(), "no channel"),
        (with("(call $send (local.get $c) (i32.const -4))"), "outside"),
        (with("(i32.store (i32.const 4) (i32.const -1)) (call $send (local.get $c) (i32.const 0))"), "outside"),
        (with("(call $drop (local.get $c)) (call $put (local.get $c) (i64.const 5))"), "no channel"),
        (with("(call $drop (local.get $c)) (call $drop (local.get $c))"), "no channel"),
        ("(drop (call $receive (i32.const 3) (i32.const 1) (i32.const 0)))".to_string(), "no channel"),
        (receive("0", "8"), "holds no function at 0"),
        (receive("6", "8"), "holds no function at 6"),
        (receive("-1", "8"), "holds no function at 4294967295"),
        (receive("2", "8"), "this call needs 1 parameters and a result"),
        (receive("3", "8"), "the function at 3 of the table has the type"),
        (receive("4", "8"), "outside"),
        (receive("1", "-2"), "outside"),
        ("(drop (call $number (i32.const 9)))".to_string(), "no channel"),
        ("(drop (call $of_number (i64.const 9)))".to_string(), "told of no channel with number 9"),
        ("(drop (call $of_number (i64.const -9)))".to_string(), "told of no channel"),
        // A number is used up by the first who takes it.
        (
            with(
                "(local.set $n (call $number (local.get $c)))
                 (drop (call $of_number (local.get $n))) (drop (call $of_number (local.get $n)))",
            ),
            "told of no channel",
        ),
        (
            with(
                "(local.set $n (call $number (local.get $c))) (call $put (local.get $c) (local.get $n))
                 (drop (call $of_number (local.get $n)))",
            ),
            "told of no channel",
        ),
        ("(drop (call $accept (i32.const 0) (i32.const 0) (i32.const 8)))".to_string(), "no TCP listener"),
        ("(drop (call $accept (i32.const 0) (i32.const 0) (i32.const -3)))".to_string(), "outside"),
        ("(drop (call $stream_number (i32.const 0)))".to_string(), "no TCP stream"),
    ] {
        run_wat(&program(&body, "")).expect(134).says(&["lunatic::", words]);
    }
    // What is no stream is WASI's affair: 8 is "no such descriptor".
    for fd in ["0xa0000000", "-1", "0x40000001", "0x80000000", "7"] {
        let body = format!(
            "(call $exit (call $write (i32.const {fd}) (i32.const 0) (i32.const 0) (i32.const 8)))"
        );
        run_wat(&program(&body, "")).expect(8);
    }
}

#[test]
fn a_number_leads_to_a_channel_only_if_a_sender_has_told_of_it() {
    // The child is spawned with a channel, is told of another one there, and answers in that.
    let body =
        "(local.set $c (call $channel (i32.const 0))) (local.set $d (call $channel (i32.const 0)))
      (call $put (local.get $c) (call $number (local.get $d)))
      (drop (call $spawn (i32.const 3) (i32.const 0) (call $number (local.get $c))))
      (call $exit (i32.wrap_i64 (call $get (local.get $d))))";
    let child =
        "(call $put (call $of_number (call $get (call $of_number (local.get $b)))) (i64.const 9))";
    run_wat(&program(body, child)).expect(9);
    // As if by a guess: the number less one tells of nothing.
    let body = "(local.set $c (call $channel (i32.const 0)))
      (call $join (call $spawn (i32.const 3) (i32.const 0)
        (i64.sub (call $number (local.get $c)) (i64.const 1))))";
    let child = "(drop (call $of_number (i64.add (local.get $b) (i64.const 1))))";
    run_wat(&program(body, child)).expect(0).says(&["told of no channel with number"]);
}

#[test]
fn a_guest_may_wait_while_it_makes_room() {
    // Another message is received in the middle of receiving the first, which comes late itself.
    let body =
        "(local.set $c (call $channel (i32.const 0))) (local.set $d (call $channel (i32.const 0)))
      (i32.store (i32.const 100) (local.get $d))
      (call $put (local.get $d) (call $number (local.get $c)))
      (drop (call $spawn (i32.const 3) (i32.const 0) (call $number (local.get $d))))
      (drop (call $receive (local.get $c) (i32.const 5) (i32.const 16)))
      (call $exit (i32.add (i32.wrap_i64 (i64.load (i32.load (i32.const 16))))
                           (i32.wrap_i64 (i64.load (i32.load (i32.const 8))))))";
    let child = "(local $c i32) (local $d i32)
      (local.set $d (call $of_number (local.get $b)))
      (local.set $c (call $of_number (call $get (local.get $d))))
      (call $sleep (i64.const 5))
      (call $put (local.get $c) (i64.const 40))
      (call $yield)
      (call $put (local.get $d) (i64.const 2))";
    for workers in ["1", "4"] {
        run_wat_with(&["--workers", workers], &program(body, child)).expect(42);
    }
}
