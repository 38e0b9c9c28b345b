//! Programs of the first half year: crates `lunatic` 0.2.1, 0.3.0, 0.3.4 and 0.3.10 as the registry has
//! them, and guests that misuse what those of 2021 import (`lunatic_seed_2020.rs`: those of 2020).

mod support;

use std::io::Read;
use std::net::Shutdown;

use support::seed::{address, is_sums_of_the_readme, on_workers};
use support::server::{Server, ask, ask_for_much};
use support::{Output, guest, lunatic, run_guest, run_wat, run_wat_with};

#[test]
fn the_example_of_the_readme_of_2021_runs() {
    on_workers("seed_readme", is_sums_of_the_readme);
}

#[test]
fn channels_that_are_numbers_travel_block_and_are_joined_by() {
    on_workers("seed_numbered", |output| {
        assert_eq!(
            output.stdout, "bounded 4950\nrelayed 285\njoined true\njoined one that failed\n",
            "{output:#?}"
        );
    });
}

#[test]
fn senders_and_receivers_travel_and_close() {
    on_workers("seed_sided", |output| {
        assert_eq!(
            output.stdout,
            "sums 166666500\nbounded 4950\nanswered 285\nleft Ok(1) Err(())\nnobody Err(())\n\
             reader Err(())\nwell Ok(())\nbadly Err(())\ncancelled Err(())\n",
            "{output:#?}"
        );
    });
}

#[test]
fn the_first_version_with_senders_runs_too() {
    on_workers("seed_sided_early", |output| {
        assert_eq!(
            output.stdout, "sum 999000\nwell Ok(())\nbadly Err(())\nclosed Err(())\n",
            "{output:#?}"
        );
    });
}

fn server(workers: &str, name: &str, args: &[&str]) -> Option<Server> {
    let mut command = lunatic();
    command.args(["run", "--allow-net", "--workers", workers]);
    command.arg(guest(name)?).arg("--").args(args);
    Some(Server::that_says_so(command))
}

#[test]
fn a_server_of_version_0_3_0_serves() {
    for (workers, host) in [("1", "127.83.0.1"), ("4", "127.83.0.2")] {
        let Some(mut server) = server(workers, "seed_net_numbered", &[&address(host), "3"]) else {
            return;
        };
        let connections = [server.connect(), server.connect(), server.connect()];
        for (connection, text) in connections.iter().zip([&b"one"[..], b"two", b"three"]) {
            ask(connection, text);
        }
        for connection in &connections {
            ask(connection, &[7; 10_000]);
            connection.shutdown(Shutdown::Write).expect("it is open");
        }
        // These guests never close a stream: it ends with their main process.
        for mut connection in &connections {
            assert_eq!(connection.read(&mut [0]).expect("it ends"), 0);
        }
        // 3 is WASI's number of "address in use".
        assert_eq!(server.line(), "echoed 30011, again Some(3)");
    }
}

#[test]
fn listeners_and_streams_of_version_0_3_10_travel_and_close() {
    for (workers, host) in [("1", "127.83.0.3"), ("4", "127.83.0.4")] {
        let options = ["--allow-net", "--workers", workers];
        let at = address(host);
        let Some(output) = run_guest(&options, "seed_net_sided", &[&at], b"") else { return };
        assert_eq!(
            output.expect(0).stdout,
            format!(
                "again Some(Can't bind the socket)\ntalked 190\n\
                 listed 6 ['o', 'n'] ['e', 't', 'w', 'o']\nlistening on {at}\n\
                 nobody Some(Can't establish TCP connection)\n"
            )
        );
    }
}

#[test]
fn a_server_of_version_0_3_10_serves_slow_and_large_ones_side_by_side() {
    for (workers, host) in [("1", "127.83.0.5"), ("4", "127.83.0.6")] {
        let Some(server) = server(workers, "seed_net_sided", &[&address(host), "serve"]) else {
            return;
        };
        let idle = server.connect();
        ask_for_much(server.connect());
        ask(&idle, b"still here");
        drop(idle);
        // The listener alone.
        server.wait_for_sockets(1);
    }
}

#[test]
fn without_the_right_nothing_listens_or_connects() {
    let at = address("127.83.0.7");
    let Some(output) = run_guest(&[], "seed_net_sided", &[&at], b"") else { return };
    assert_eq!(
        output.expect(0).stdout,
        "bind Can't bind the socket\nconnect Some(Can't establish TCP connection)\n"
    );
    // 76 is WASI's number of "not capable".
    let Some(output) = run_guest(&[], "seed_net_numbered", &[&at, "1"], b"") else { return };
    assert_eq!(output.expect(0).stdout, "bind 76\n");
    // A name costs a right of its own to be looked up.
    let Some(output) = run_guest(&[], "seed_net_numbered", &["localhost:0", "1"], b"") else {
        return;
    };
    assert_eq!(output.expect(0).stdout, "bind 76\n");
    let options = ["--allow-net", "listen:localhost:0"];
    let Some(output) = run_guest(&options, "seed_net_numbered", &["localhost:0", "0"], b"") else {
        return;
    };
    assert_eq!(output.expect(0).stdout, "listening on localhost:0\nechoed 0, again None\n");
}

/// A module that imports all of both interfaces, with a table of functions: 0 and 4 are empty, 1
/// takes nothing, 2 takes two numbers, 3 takes a large one.
fn program(body: &str, child: &str) -> String {
    format!(
        r#"(module
          (import "lunatic" "yield_" (func $yield))
          (import "lunatic" "sleep_ms" (func $sleep (param i64)))
          (import "lunatic" "spawn" (func $spawn (param i32 i32 i32) (result i32)))
          (import "lunatic" "join" (func $join (param i32)))
          (import "lunatic" "channel_open" (func $open (param i32) (result i32)))
          (import "lunatic" "channel_close" (func $close (param i32)))
          (import "lunatic" "channel_send" (func $send (param i32 i32 i32)))
          (import "lunatic" "channel_receive_prepare" (func $prepare (param i32) (result i32)))
          (import "lunatic" "channel_receive" (func $receive (param i32 i32)))
          (import "lunatic" "spawn_with_context"
            (func $spawn_with (param i32 i32 i32) (result i32)))
          (import "lunatic" "join" (func $join_well (param i32) (result i32)))
          (import "lunatic" "detach_process" (func $detach (param i32)))
          (import "lunatic" "cancel_process" (func $cancel (param i32)))
          (import "lunatic" "channel" (func $channel (param i32 i32) (result i32)))
          (import "lunatic" "close_sender" (func $close_sender (param i32)))
          (import "lunatic" "close_receiver" (func $close_receiver (param i32)))
          (import "lunatic" "channel_send" (func $send_sided (param i32 i32 i32) (result i32)))
          (import "lunatic" "channel_receive_prepare"
            (func $prepare_sided (param i32 i32) (result i32)))
          (import "lunatic" "channel_receive" (func $receive_sided (param i32 i32) (result i32)))
          (import "lunatic" "drop_last_message" (func $drop_message))
          (import "lunatic" "sender_serialize" (func $sender_out (param i32) (result i32)))
          (import "lunatic" "sender_deserialize" (func $sender_in (param i32) (result i32)))
          (import "lunatic" "receiver_serialize" (func $receiver_out (param i32) (result i32)))
          (import "lunatic" "receiver_deserialize" (func $receiver_in (param i32) (result i32)))
          (import "lunatic" "tcp_bind_str" (func $bind_str (param i32 i32 i32) (result i32)))
          (import "lunatic" "tcp_accept" (func $accept (param i32 i32) (result i32)))
          (import "lunatic" "tcp_write_vectored"
            (func $write (param i32 i32 i32 i32) (result i32)))
          (import "lunatic" "tcp_read_vectored"
            (func $read (param i32 i32 i32 i32) (result i32)))
          (import "lunatic" "tcp_stream_serialize" (func $number (param i32) (result i64)))
          (import "lunatic" "tcp_stream_deserialize" (func $of_number (param i64) (result i32)))
          (import "lunatic" "tcp_bind" (func $bind (param i32 i32 i32 i32) (result i32)))
          (import "lunatic" "tcp_connect" (func $connect (param i32 i32 i32 i32) (result i32)))
          (import "lunatic" "tcp_flush" (func $flush (param i32) (result i32)))
          (import "lunatic" "close_tcp_listener" (func $close_listener (param i32)))
          (import "lunatic" "close_tcp_stream" (func $close_stream (param i32)))
          (import "lunatic" "tcp_listener_serialize" (func $listener_out (param i32) (result i32)))
          (import "lunatic" "tcp_listener_deserialize" (func $listener_in (param i32) (result i32)))
          (import "lunatic" "tcp_stream_serialize" (func $stream_out (param i32) (result i32)))
          (import "lunatic" "tcp_stream_deserialize" (func $stream_in (param i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1)
          (table 5 funcref)
          (elem (i32.const 1) $nothing $two $large)
          (func $nothing)
          (func $two (param $a i32) (param $b i32) {child})
          (func $large (param i64))
          ;; The four bytes at 64 as a slice at 80.
          (func $slice (param $value i32) (result i32)
            (i32.store (i32.const 64) (local.get $value))
            (i32.store (i32.const 80) (i32.const 64))
            (i32.store (i32.const 84) (i32.const 4))
            (i32.const 80))
          (func $put (param $channel i32) (param $value i32)
            (call $send (local.get $channel) (call $slice (local.get $value)) (i32.const 1)))
          (func $get (param $channel i32) (result i32)
            (if (i32.ne (call $prepare (local.get $channel)) (i32.const 4)) (then unreachable))
            (call $receive (call $slice (i32.const 0)) (i32.const 1))
            (i32.load (i32.const 64)))
          (func (export "_start") (local $i i32) (local $c i32) (local $d i32) {body}))"#
    )
}

#[test]
fn every_wrong_handle_and_pointer_is_a_fault_of_the_guest() {
    for (body, words) in [
        ("(call $join (i32.const 7))", "child process with number 7"),
        ("(drop (call $join_well (i32.const 0)))", "child process with number 0"),
        ("(call $detach (i32.const 1))", "child process"),
        ("(call $cancel (i32.const -1))", "child process"),
        ("(call $close (i32.const 5))", "knows no channel with number 5"),
        ("(call $send (i32.const 5) (i32.const 0) (i32.const 0))", "knows no channel"),
        ("(drop (call $prepare (i32.const 5)))", "no channel"),
        ("(call $receive (i32.const 0) (i32.const 0))", "no message was prepared"),
        ("(call $send (call $open (i32.const 0)) (i32.const -8) (i32.const 2))", "outside"),
        ("(call $send (call $open (i32.const 0)) (i32.const 0) (i32.const -1))", "at most 1024"),
        (
            "(i32.store (i32.const 4) (i32.const -1))
             (call $send (call $open (i32.const 0)) (i32.const 0) (i32.const 1))",
            "outside",
        ),
        ("(drop (call $channel (i32.const 0) (i32.const -2)))", "outside"),
        ("(call $close_sender (i32.const 1))", "end of a channel with number 1"),
        ("(call $close_receiver (i32.const 1))", "end of a channel"),
        ("(drop (call $send_sided (i32.const 1) (i32.const 0) (i32.const 0)))", "channel"),
        ("(drop (call $prepare_sided (i32.const 1) (i32.const 0)))", "channel"),
        ("(drop (call $prepare_sided (i32.const 0) (i32.const -1)))", "outside"),
        ("(drop (call $receive_sided (i32.const 0) (i32.const -1)))", "outside"),
        ("(drop (call $sender_out (i32.const 1)))", "end of a channel"),
        ("(drop (call $receiver_out (i32.const 1)))", "end of a channel"),
        ("(drop (call $sender_in (i32.const 0)))", "no sender at 0"),
        ("(drop (call $receiver_in (i32.const -1)))", "no receiver at"),
        ("(drop (call $spawn_with (i32.const 1) (i32.const -1) (i32.const 2)))", "outside"),
        (
            "(drop (call $channel (i32.const 0) (i32.const 0)))
             (drop (call $receiver_out (i32.const 1)))
             (drop (call $send_sided (i32.const 1) (i32.const 0) (i32.const 0)))
             (drop (call $prepare_sided (i32.const 1) (i32.const 0)))
             (drop (call $sender_in (i32.const 0)))",
            "no sender at 0",
        ),
        ("(drop (call $accept (i32.const 0) (i32.const 0)))", "no TCP listener"),
        ("(drop (call $accept (i32.const 0) (i32.const -3)))", "outside"),
        ("(drop (call $write (i32.const 9) (i32.const 0) (i32.const 0) (i32.const 0)))", "no TCP"),
        ("(drop (call $read (i32.const 9) (i32.const 0) (i32.const 0) (i32.const 0)))", "no TCP"),
        ("(drop (call $read (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1)))", "outside"),
        ("(drop (call $flush (i32.const 0)))", "no TCP stream"),
        ("(call $close_listener (i32.const -1))", "no TCP listener"),
        ("(call $close_stream (i32.const 0))", "no TCP stream"),
        ("(drop (call $number (i32.const 0)))", "no TCP stream"),
        ("(drop (call $of_number (i64.const 0)))", "knows no stream with number 0"),
        ("(drop (call $of_number (i64.const -1)))", "knows no stream"),
        (
            "(drop (call $of_number (i64.extend_i32_u (call $open (i32.const 0)))))",
            "knows no stream",
        ),
        ("(drop (call $listener_out (i32.const 0)))", "no TCP listener"),
        ("(drop (call $listener_in (i32.const 0)))", "no TCP listener at 0"),
        ("(drop (call $stream_out (i32.const 0)))", "no TCP stream"),
        ("(drop (call $stream_in (i32.const 7)))", "no TCP stream at 7"),
        ("(drop (call $bind (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 0)))", "5 bytes"),
        (
            "(drop (call $bind (i32.const 0) (i32.const 4) (i32.const 65536) (i32.const 0)))",
            "no port",
        ),
        ("(drop (call $bind (i32.const -1) (i32.const 4) (i32.const 0) (i32.const 0)))", "outside"),
        ("(drop (call $bind (i32.const 0) (i32.const 4) (i32.const 0) (i32.const -1)))", "outside"),
        (
            "(drop (call $connect (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 0)))",
            "3 bytes",
        ),
        (
            "(drop (call $connect (i32.const 0) (i32.const 4) (i32.const 0) (i32.const -1)))",
            "outside",
        ),
        ("(drop (call $bind_str (i32.const -1) (i32.const 4) (i32.const 0)))", "outside"),
        ("(drop (call $bind_str (i32.const 0) (i32.const 0) (i32.const -1)))", "outside"),
        (
            "(i32.store (i32.const 0) (i32.const -1))
             (drop (call $bind_str (i32.const 0) (i32.const 1) (i32.const 8)))",
            "UTF-8",
        ),
    ] {
        run_wat(&program(body, "")).expect(134).says(&["lunatic::", words]);
    }
}

#[test]
fn a_function_of_the_table_that_does_not_fit_ends_the_new_process_alone() {
    let body = "(loop $next
        (call $join (call $spawn (local.get $i) (i32.const 0) (i32.const 0)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $i) (i32.const 6))))
      (call $join (call $spawn (i32.const -1) (i32.const 0) (i32.const 0)))
      (if (i32.ne (call $join_well (call $spawn_with (i32.const 2) (i32.const 0) (i32.const 0)))
                  (i32.const 1)) (then unreachable))
      (if (call $join_well (call $spawn_with (i32.const 1) (i32.const 0) (i32.const 0)))
        (then unreachable))";
    let output = run_wat(&program(body, "")).expect(0);
    assert_eq!(output.stderr.matches("could not start").count(), 7, "{output:#?}");
    output.says(&["holds no function at 0", "at 3 of the table takes [I64]", "at 4294967295"]);
}

#[test]
fn a_number_that_was_guessed_finds_no_channel() {
    // The child is given one channel, and tries the other, whose number it gets as if by a guess:
    // less one, which no message tells of.
    let body = "(local.set $c (call $open (i32.const 0))) (local.set $d (call $open (i32.const 0)))
      (call $join (call $spawn (i32.const 2) (local.get $c)
                     (i32.sub (local.get $d) (i32.const 1))))
      (if (i32.ne (call $get (local.get $c)) (i32.const 9)) (then unreachable))";
    let child = "(call $put (local.get $a) (i32.const 9))
      (call $put (i32.add (local.get $b) (i32.const 1)) (i32.const 9))";
    run_wat(&program(body, child)).expect(0).says(&["knows no channel with number"]);
}

#[test]
fn a_number_in_a_message_is_a_channel_only_if_its_sender_knew_it() {
    // The child learns of $d by a message, and answers there.
    let body = "(local.set $c (call $open (i32.const 0))) (local.set $d (call $open (i32.const 0)))
      (call $put (local.get $c) (local.get $d))
      (drop (call $spawn (i32.const 2) (local.get $c) (i32.const 0)))
      (call $exit (call $get (local.get $d)))";
    run_wat(&program(body, "(call $put (call $get (local.get $a)) (i32.const 9))")).expect(9);
    // One who was only told the number cannot hand the channel on.
    let child = "(call $put (local.get $a) (i32.add (local.get $b) (i32.const 1)))";
    let body = "(local.set $c (call $open (i32.const 0))) (local.set $d (call $open (i32.const 0)))
      (call $join (call $spawn (i32.const 2) (local.get $c)
                     (i32.sub (local.get $d) (i32.const 1))))
      (local.set $i (call $get (local.get $c)))
      (call $close (local.get $d))
      (call $put (local.get $i) (i32.const 1))";
    run_wat(&program(body, child)).expect(134).says(&["knows no channel"]);
}

#[test]
fn others_run_while_a_long_message_is_searched_for_numbers() {
    // 16 MiB. The child takes many turns before it says so, and did so before the sender was back.
    let child = r#"
      (table 1 funcref) (elem (i32.const 0) $child)
      (func $child (param $main i32) (param i32) (local $i i32)
        (loop $again
          (call $yield)
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $again (i32.lt_u (local.get $i) (i32.const 50))))
        (call $send (i64.extend_i32_u (local.get $main)) (i64.const 7)))"#;
    let body = "(local $channel i32) (local $i i32)
      (local.set $channel (call $seed_open (i32.const 0)))
      (loop $again
        (i64.store (i32.add (i32.const 4096) (i32.mul (local.get $i) (i32.const 8)))
          (i64.const 0x1000000000000))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const 256))))
      (drop (call $seed_spawn (i32.const 0) (i32.wrap_i64 (call $self)) (i32.const 0)))
      (call $seed_send (local.get $channel) (i32.const 4096) (i32.const 256))
      (if (call $receive (i32.const 0) (i32.const 0) (i64.const 0)) (then unreachable))
      (if (i64.ne (call $value) (i64.const 7)) (then unreachable))
      (call $exit (i32.shr_u (call $seed_prepare (local.get $channel)) (i32.const 17)))";
    let imports = r#"(module
      (import "lunatic" "spawn" (func $seed_spawn (param i32 i32 i32) (result i32)))
      (import "lunatic" "channel_open" (func $seed_open (param i32) (result i32)))
      (import "lunatic" "channel_send" (func $seed_send (param i32 i32 i32)))
      (import "lunatic" "channel_receive_prepare" (func $seed_prepare (param i32) (result i32)))"#;
    let text = support::program(child, body).replacen("(module", imports, 1);
    run_wat_with(&["--workers", "1"], &text).expect(128);
}

/// A stream of the process with itself: `$c` is a handle of the one end, `$d` of the other.
fn with_streams(body: &str) -> String {
    let at = address("127.83.0.8");
    let (_, port) = at.split_once(':').expect("a port");
    format!(
        "(i32.store (i32.const 0) (i32.const 0x0800537f))
         (if (call $bind (i32.const 0) (i32.const 4) (i32.const {port}) (i32.const 8))
           (then unreachable))
         (if (call $connect (i32.const 0) (i32.const 4) (i32.const {port}) (i32.const 12))
           (then unreachable))
         (if (call $accept (i32.load (i32.const 8)) (i32.const 16)) (then unreachable))
         (local.set $c (i32.load (i32.const 12)))
         (local.set $d (i32.load (i32.const 16)))
         {body}"
    )
}

fn run_with_streams(body: &str, child: &str) -> Output {
    run_wat_with(&["--allow-net"], &program(&with_streams(body), child))
}

#[test]
fn a_stream_is_had_by_a_number_only_if_a_sender_has_told_of_it() {
    // The number is told in a message, in which nothing else stands, and the child writes.
    let body = "(local.set $i (call $open (i32.const 0)))
      (call $put (local.get $i) (i32.wrap_i64 (call $number (local.get $d))))
      (call $join (call $spawn (i32.const 2) (local.get $i) (i32.const 0)))
      (if (call $read (local.get $c) (call $slice (i32.const 0)) (i32.const 1) (i32.const 4))
        (then unreachable))
      (call $exit (i32.add (i32.load (i32.const 4)) (i32.load (i32.const 64))))";
    let child = "(drop (call $write
      (call $of_number (i64.extend_i32_u (call $get (local.get $a))))
      (call $slice (i32.const 33)) (i32.const 1) (i32.const 0)))";
    run_with_streams(body, child).expect(37);
    // As if by a guess: an argument that is the number less one.
    let body = "(call $join (call $spawn (i32.const 2) (i32.const 0)
      (i32.sub (i32.wrap_i64 (call $number (local.get $d))) (i32.const 1))))";
    let child = "(drop (call $of_number
      (i64.extend_i32_u (i32.add (local.get $b) (i32.const 1)))))";
    run_with_streams(body, child).expect(0).says(&["knows no stream with number"]);
}

#[test]
fn a_number_of_a_stream_is_always_the_same_and_leads_to_one_handle() {
    let body = "(if (i64.ne (call $number (local.get $c)) (call $number (local.get $c)))
        (then unreachable))
      (if (i64.eq (call $number (local.get $c)) (call $number (local.get $d))) (then unreachable))
      (if (i32.ne (call $of_number (call $number (local.get $c))) (local.get $c))
        (then unreachable))
      ;; A handle that was closed is not given again.
      (local.set $i (i32.wrap_i64 (call $number (local.get $c))))
      (call $close_stream (local.get $c))
      (if (i32.eq (call $of_number (i64.extend_i32_u (local.get $i))) (local.get $c))
        (then unreachable))
      (call $put (local.get $i) (i32.const 0))";
    run_with_streams(body, "").expect(134).says(&["knows no channel"]);
}

#[test]
fn a_slice_outside_of_memory_costs_nothing_of_what_has_come() {
    let body =
        "(if (call $write (local.get $c) (call $slice (i32.const 5)) (i32.const 1) (i32.const 4))
        (then unreachable))
      (i32.store (i32.const 88) (i32.const -8)) (i32.store (i32.const 92) (i32.const 16))
      (drop (call $read (local.get $d) (call $slice (i32.const 0)) (i32.const 2) (i32.const 4)))";
    run_with_streams(body, "").expect(134).says(&["tcp_read_vectored", "outside"]);
}

#[test]
fn numbers_of_channels_differ_and_a_closed_one_is_unknown() {
    let body = "(local.set $c (call $open (i32.const 0))) (local.set $d (call $open (i32.const 0)))
      (if (i32.eq (local.get $c) (local.get $d)) (then unreachable))
      (call $close (local.get $c)) (call $close (local.get $c))";
    run_wat(&program(body, "")).expect(134).says(&["channel_close", "knows no channel"]);
}

#[test]
fn a_message_is_cut_to_the_place_for_it() {
    let body = "(local.set $c (call $open (i32.const 0)))
      (call $put (local.get $c) (i32.const 0x11223344))
      (drop (call $prepare (local.get $c)))
      (i32.store (i32.const 0) (i32.const 32)) (i32.store (i32.const 4) (i32.const 1))
      (i32.store (i32.const 8) (i32.const 33)) (i32.store (i32.const 12) (i32.const 2))
      (call $receive (i32.const 0) (i32.const 2))
      (call $exit (i32.eq (i32.load (i32.const 32)) (i32.const 0x00223344)))";
    run_wat(&program(body, "")).expect(1);
}

#[test]
fn the_slices_of_a_receive_may_lie_over_their_own_list() {
    let body = "(local.set $c (call $open (i32.const 0)))
      (call $put (local.get $c) (i32.const -1))
      (drop (call $prepare (local.get $c)))
      (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 4))
      (i32.store (i32.const 8) (i32.const 0)) (i32.store (i32.const 12) (i32.const 0))
      (call $receive (i32.const 0) (i32.const 2))
      (call $exit (i32.load8_u (i32.const 8)))";
    run_wat(&program(body, "")).expect(255);
}

#[test]
fn a_message_larger_than_allowed_is_refused() {
    let body = "(i32.store (i32.const 4) (i32.const 2048))
      (call $send (call $open (i32.const 0)) (i32.const 0) (i32.const 1))";
    let options = ["--max-message", "1K"];
    run_wat_with(&options, &program(body, "")).expect(134).says(&["1024", "--max-message"]);
    let body = "(drop (call $channel (i32.const 0) (i32.const 0)))
      (drop (call $send_sided (i32.const 1) (i32.const 0) (i32.const 1025)))";
    run_wat_with(&options, &program(body, "")).expect(134).says(&["1025", "--max-message"]);
}

#[test]
fn ends_inside_of_messages_inside_of_ends_are_dropped_without_depth() {
    // Each channel's only receiver and message hang on the one before: 200,000 deep.
    let body = "(local.set $c (call $channel (i32.const 0) (i32.const 0)))
      (local.set $d (i32.load (i32.const 0)))
      (loop $deeper
        (drop (call $receiver_out (local.get $d)))
        (call $close_receiver (local.get $d))
        (call $close_sender (local.get $c))
        (local.set $c (call $channel (i32.const 0) (i32.const 0)))
        (local.set $d (i32.load (i32.const 0)))
        (if (call $send_sided (local.get $c) (i32.const 0) (i32.const 0)) (then unreachable))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $deeper (i32.lt_u (local.get $i) (i32.const 200000))))
      (call $close_sender (local.get $c))
      (call $close_receiver (local.get $d))";
    run_wat(&program(body, "")).expect_quiet_success();
}

#[test]
fn a_channel_in_its_own_queue_is_given_up_with_its_process() {
    let body = "(loop $again
        (local.set $c (call $channel (i32.const 0) (i32.const 0)))
        (drop (call $sender_out (local.get $c)))
        (if (call $send_sided (local.get $c) (i32.const 0) (i32.const 0)) (then unreachable))
        (call $close_sender (local.get $c))
        (call $close_receiver (i32.load (i32.const 0)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const 10000))))";
    run_wat(&program(body, "")).expect_quiet_success();
}

#[test]
fn hoards_of_channels_count_as_what_the_host_holds() {
    let options = ["--max-host-memory=16M", "--max-resources=1000000"];
    for body in [
        "(loop $more (drop (call $open (i32.const 0))) (br $more))",
        "(loop $more (drop (call $channel (i32.const 0) (i32.const 0))) (br $more))",
    ] {
        run_wat_with(&options, &program(body, ""))
            .expect(134)
            .says(&["the main process ran out of host memory"]);
    }
    // What was given up, or sent and received, no longer counts.
    let body = "(local.set $d (call $channel (i32.const 0) (i32.const 0)))
      (loop $more
        (call $close (call $open (i32.const 0)))
        (local.set $c (call $channel (i32.const 0) (i32.const 0)))
        (drop (call $sender_out (local.get $c)))
        (call $close_sender (local.get $c))
        (call $close_receiver (i32.load (i32.const 0)))
        (drop (call $send_sided (local.get $d) (i32.const 0) (i32.const 0)))
        (drop (call $prepare_sided (i32.const 1) (i32.const 4)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $i) (i32.const 200000))))";
    run_wat_with(&options, &program(body, "")).expect_quiet_success();
}

#[test]
fn what_is_attached_to_no_message_is_limited() {
    let body = "(local.set $c (call $channel (i32.const 0) (i32.const 0)))
      (loop $l (drop (call $sender_out (local.get $c))) (br $l))";
    run_wat(&program(body, "")).expect(134).says(&["at most 10000"]);
}

#[test]
fn a_type_of_no_age_is_refused_with_the_known_ones() {
    let module = r#"(module (import "lunatic" "join" (func (param i64)))
                      (func (export "_start")))"#;
    run_wat(module).expect_refused(&["\"join\"", "(I64) -> ()", "(I32) -> ()", "(I32) -> (I32)"]);
}
