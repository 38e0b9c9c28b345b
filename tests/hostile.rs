//! Hostile guests against every host call: no guest crashes, hangs or corrupts the runtime, or makes it
//! hold memory without bound.
//!
//! The first test makes its calls from the binary's own list of imports, with a memory so large that
//! absurd lengths lie inside of it. The others are attacks that once succeeded.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use support::imports::{Import, imports, random};

use support::{
    Module, Output, lunatic, program, run_command, run_wat, run_wat_with, spawn_linked_with,
    spawn_with, times, wait,
};

/// Pages of the memory of attackers, and where it ends: 1 GiB.
const PAGES: u64 = 16_384;
const END: i64 = PAGES as i64 * 65_536;

/// A good address: what lies there passes for a path, an address, a list of buffers.
const GOOD: i64 = 1024;

/// Addresses, lengths, handles, times and numbers at which something may go wrong.
const EDGES: [i64; 14] = [
    0,
    1,
    3,
    4,
    GOOD,
    END / 2,
    END - 8,
    END - GOOD,
    END - 1,
    END,
    0x7fff_ffff,
    -1,
    i64::MAX,
    i64::MIN,
];

/// Values for so many parameters: every edge at each place among good addresses, and mixtures.
fn rows(import: &Import) -> Vec<Vec<i64>> {
    let params = import.params.len();
    if params == 0 {
        return vec![Vec::new()];
    }
    let mut rows = Vec::new();
    for place in 0..params {
        for edge in EDGES {
            for others in [0, GOOD] {
                let mut row = vec![others; params];
                row[place] = edge;
                rows.push(row);
            }
        }
    }
    // The same numbers in every run: a failure can be repeated.
    let mut seed = 1_u64;
    for _ in 0..30 {
        rows.push((0..params).map(|_| EDGES[random(&mut seed, EDGES.len())]).collect());
    }
    let kills = ["kill", "send_exit"].contains(&import.name.as_str());
    if kills && import.module == "lunatic::process" {
        // The main process may have this id.
        rows.retain(|row| row[0] != 1);
    }
    rows
}

/// Gives an attacker what the calls of its interface want: something of each kind with number 0, and a
/// current message.
const PREPARE: &str = r#"
  (data (i32.const 1024) "\00\08\00\00\08\00\00\00\00\08\00\00\08\00\00\00")
  (data (i32.const 512) "\7f\00\00\01")
  (data (i32.const 528) "f")
  (data (i32.const 544) "\00asm\01\00\00\00")
  (func $has (param i32) (if (local.get 0) (then unreachable)))
  (func $prepare (local $port i32)
    (call $number (i64.const 0) (i64.const 42))
    (drop (call $send_after (call $self) (i64.const 3600000)))
    (drop (call $create_config))
    (if (i32.ne (call $add_rule (i64.const 0) (i32.const 528) (i32.const 1) (i32.const 560))
          (i32.const 1)) (then unreachable))
    (call $number (i64.const 0) (i64.const 42))
    (drop (call $push_channel (call $open (i64.const 1)))))
  (func $prepare_sockets
    (call $has (call $tcp_bind (i32.const 4) (i32.const 512) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 560)))
    (call $has (call $tcp_local_addr (i64.const 0) (i32.const 560)))
    (call $has (call $resolve_next (i64.const 0) (i32.const 568) (i32.const 576) (i32.const 592)
      (i32.const 600) (i32.const 604)))
    (call $has (call $tcp_connect (i32.const 4) (i32.const 512) (i32.load16_u (i32.const 592))
      (i32.const 0) (i32.const 0) (i64.const -1) (i32.const 560)))
    (call $has (call $udp_bind (i32.const 4) (i32.const 512) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 560))))
  (func $prepare_module
    (call $has (call $compile (i32.const 544) (i32.const 8) (i32.const 560))))
  (func $prepare_file
    (call $has (call $path_open (i32.const 3) (i32.const 0) (i32.const 528) (i32.const 1) (i32.const 0)
      (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 560))))
"#;

const PREPARE_IMPORTS: &str = r#"
  (import "lunatic::timer" "send_after" (func $send_after (param i64 i64) (result i64)))
  (import "lunatic::process" "create_config" (func $create_config (result i64)))
  (import "lunatic::process" "compile_module" (func $compile (param i32 i32 i32) (result i32)))
  (import "lunatic::config" "add_network_rule"
    (func $add_rule (param i64 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "tcp_bind"
    (func $tcp_bind (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "tcp_local_addr" (func $tcp_local_addr (param i64 i32) (result i32)))
  (import "lunatic::networking" "resolve_next"
    (func $resolve_next (param i64 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "tcp_connect"
    (func $tcp_connect (param i32 i32 i32 i32 i32 i64 i32) (result i32)))
  (import "lunatic::networking" "udp_bind"
    (func $udp_bind (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
"#;

/// What prepares an attacker for the functions of an interface.
fn preparation(module: &str) -> &'static str {
    match module {
        "lunatic::networking" => "(call $prepare_sockets)",
        "lunatic::process" => "(call $prepare_module)",
        "lunatic::message" => "(call $prepare_sockets) (call $prepare_module) ",
        "wasi_snapshot_preview1" | "wasi_unstable" => "(call $prepare_file)",
        _ => "",
    }
}

/// A guest that makes every call in a process of its own. A call that waits is ended. After each, a
/// process that has nothing to do with it answers still.
fn attackers(imports: &[Import]) -> String {
    let (mut declarations, mut functions, mut calls) =
        (String::from(PREPARE_IMPORTS), String::new(), String::new());
    let mut number = 0;
    for (index, import) in imports.iter().enumerate() {
        let name = format!("$hostile{index}");
        declarations += &import.declaration(&name);
        for row in rows(import) {
            let call = import.call(&name, &row);
            functions += &format!(
                "(func (export \"h{number}\") (param $main i64) (call $prepare) {}
                   (call $ready (local.get $main)) {call})\n",
                preparation(&import.module)
            );
            let attacker = spawn_with(&format!("h{number}"), "(call $self)");
            calls += &format!("(call $attack {attacker} (local.get $probe))\n");
            number += 1;
        }
    }
    let items = format!(
        r#"{PREPARE}
        (func $ready (param $main i64)
          (call $send_tagged (local.get $main) (i64.const 7777) (i64.const 1))
          (call $number (i64.const 0) (i64.const 42))
          (drop (call $push_channel (i64.const 0))))
        (func (export "probe") (param $main i64)
          (loop $again
            (call $send_tagged (local.get $main) (i64.const 8888) (call $recv_tagged (i64.const 9999)))
            (br $again)))
        (func $attack (param $process i64) (param $probe i64) (local $turns i32)
          (drop (call $recv_tagged (i64.const 7777)))
          (loop $again
            (call $yield)
            (local.set $turns (i32.add (local.get $turns) (i32.const 1)))
            (br_if $again (i32.and (call $exists (local.get $process))
              (i32.lt_u (local.get $turns) (i32.const 50)))))
          (call $kill (local.get $process))
          (call $join (local.get $process))
          (call $send_tagged (local.get $probe) (i64.const 9999) (local.get $process))
          (if (i64.ne (call $recv_tagged (i64.const 8888)) (local.get $process)) (then unreachable)))
        {functions}"#
    );
    let body = format!(
        "(local $probe i64) (call $die_with_links (i32.const 0))
         (local.set $probe {}) {calls} (call $exit (i32.const 77))",
        spawn_with("probe", "(call $self)")
    );
    let text = program(&items, &body).replacen("(module", &format!("(module {declarations}"), 1);
    with_pages(&text, PAGES)
}

/// The same guest with so much memory.
fn with_pages(text: &str, pages: u64) -> String {
    let memory = "(memory (export \"memory\") ";
    text.replacen(&format!("{memory}2)"), &format!("{memory}{pages})"), 1)
}

/// Runs a guest that imports more, has so many pages of memory, and does this.
#[track_caller]
fn attack(options: &[&str], pages: u64, imports: &str, items: &str, body: &str) -> Output {
    let text = program(items, &format!("(local $i i64) {body}"));
    let text =
        text.replacen("(module", &format!("(module {PREPARE_IMPORTS} {ERRORS} {imports}"), 1);
    run_wat_with(options, &with_pages(&text, pages))
}

const ERRORS: &str = r#"
  (import "lunatic::error" "string_size" (func $error_size (param i64) (result i32)))
"#;

const TLS_CONNECT: &str = r#"
  (import "lunatic::networking" "tls_connect"
    (func $tls_connect (param i32 i32 i32 i64 i32 i32 i32) (result i32)))
"#;

#[test]
fn no_length_of_any_import_harms_a_process_beside() {
    let mut by_module: Vec<(String, Vec<Import>)> = Vec::new();
    for import in imports() {
        match by_module.last_mut() {
            Some((module, list)) if *module == import.module => list.push(import),
            _ => by_module.push((import.module.clone(), vec![import])),
        }
    }
    let directory = tempfile::TempDir::new().expect("a temporary directory can be made");
    std::fs::write(directory.path().join("f"), "text").expect("a file can be written");
    for (module, imports) in &by_module {
        eprintln!("imports of {module}: {}", imports.len());
        let file = Module::wat(&attackers(imports));
        let mut command = lunatic();
        command.args(["run", "--workers", "1", "--no-cache", "--opt-level", "none"]);
        command.args(["--allow-net", "127.0.0.0/8:*"]);
        // The memories of those that have just ended count until they are given back.
        command.args(["--max-total-memory", "1000G"]);
        command.arg("--dir").arg(format!("{}::d:ro", directory.path().display()));
        command.arg(file.path());
        run_command(command, b"some input\n").expect(77);
    }
}

#[test]
fn a_host_name_of_a_gigabyte_is_refused_without_a_copy() {
    let body = format!(
        "(if (i32.ne (call $tls_connect (i32.const 0) (i32.const {END}) (i32.const 443)
               (i64.const -1) (i32.const 1024) (i32.const 0) (i32.const 0)) (i32.const 1))
           (then unreachable))
         (if (i32.gt_u (call $error_size (i64.load (i32.const 1024))) (i32.const 4096))
           (then unreachable))
         (call $say (i64.const 1))"
    );
    attack(&[], PAGES, TLS_CONNECT, "", &body).expect_quiet_success().prints(&[1]);
}

#[test]
fn certificates_that_lie_over_each_other_are_not_read_a_thousand_times() {
    // 1024 records of 64 MiB of spaces, which may begin a text.
    let body = format!(
        "(memory.fill (i32.const 65536) (i32.const 32) (i32.const 0x4000000))
         (i32.store8 (i32.const 1024) (i32.const 97))
         {}
         (drop (call $tls_connect (i32.const 1024) (i32.const 1) (i32.const 443)
           (i64.const -1) (i32.const 1040) (i32.const 2048) (i32.const 1024)))",
        times(
            1024,
            "(i64.store (i32.add (i32.const 2048) (i32.shl (i32.wrap_i64 (local.get $i)) (i32.const 3)))
               (i64.const 0x400000000010000))"
        )
    );
    attack(&[], 2048, TLS_CONNECT, "", &body)
        .expect(134)
        .says(&["more than 1048576 bytes of certificates to trust"]);
}

#[test]
fn a_list_of_very_many_buffers_is_written_in_parts() {
    // Of 117 million, the first ones of a byte each.
    let import = r#"(import "lunatic::networking" "tcp_write_vectored"
      (func $write_vectored (param i64 i32 i32 i32) (result i32)))"#;
    let body = format!(
        "(call $prepare_sockets)
         {}
         (call $say32 (call $write_vectored (i64.const 0) (i32.const 4096) (i32.const 0x7000000)
           (i32.const 1024)))
         (call $say (i64.load (i32.const 1024)))",
        times(
            3000,
            "(i64.store (i32.add (i32.const 4096) (i32.shl (i32.wrap_i64 (local.get $i)) (i32.const 3)))
               (i64.const 0x100000400))"
        )
    );
    attack(&["--allow-net", "127.0.0.0/8:*"], PAGES, import, PREPARE, &body)
        .expect_quiet_success()
        .prints(&[0, 1024]);
}

#[test]
fn a_name_is_read_before_what_overlaps_it_is_written() {
    // The node's number would be written into the middle of a character of the name.
    let items = "(func (export \"child\") (call $sleep (i64.const -1)))
      (data (i32.const 1024) \"a\\c3\\a4bcdefghi\") (data (i32.const 1100) \"child\")
      (data (i32.const 1200) \"a\\c3\\a4bcdefghi\")";
    let spawn = |name: u32, node: u32| {
        format!(
            "(call $get_or_spawn (i32.const {name}) (i32.const 12) (i64.const 0) (i64.const -1)
               (i64.const -1) (i32.const 1100) (i32.const 5) (i32.const 0) (i32.const 0)
               (i32.const {node}) (i32.const 1300))"
        )
    };
    let body = format!(
        "(call $say32 {}) (call $say (i64.load (i32.const 1026)))
         (call $say32 {})",
        spawn(1024, 1026),
        spawn(1200, 1400)
    );
    attack(&[], 2, "", items, &body).expect_quiet_success().prints(&[0, 0, 2]);
}

#[test]
fn errors_that_nobody_reads_are_short_and_count_as_memory_of_the_host() {
    let keep = |count| {
        times(
            count,
            "(if (i32.ne (call $add_rule (i64.const 0) (i32.const 2048) (i32.const 60000)
                   (i32.const 1024)) (i32.const 1)) (then unreachable))",
        )
    };
    let items = format!(
        "(func (export \"keep\") (param $main i64) (local $i i64)
           (memory.fill (i32.const 2048) (i32.const 33) (i32.const 60000))
           (drop (call $create_config)) {} (call $sleep (i64.const -1)))",
        keep(9000)
    );
    let body = format!(
        "(memory.fill (i32.const 2048) (i32.const 33) (i32.const 60000))
         (drop (call $create_config)) {}
         (if (i32.gt_u (call $error_size (i64.load (i32.const 1024))) (i32.const 4096))
           (then unreachable))
         (call $die_with_links (i32.const 0)) {}
         (if (i32.ne (call $notice) (i32.const 1)) (then unreachable))
         (call $say32 (call $kind))",
        keep(1),
        times(8, &format!("(drop {})", spawn_linked_with("keep", "(call $self)", 7)))
    );
    // Out of memory.
    attack(&["--max-host-memory=16M"], 2, "", &items, &body)
        .expect(0)
        .prints(&[6])
        .says(&["ran out of host memory"]);
}

#[test]
fn orders_for_terminals_in_names_are_shown_and_not_obeyed() {
    let plain = |output: Output| {
        assert!(!output.stderr.contains('\x1b'), "{output:#?}");
        assert!(output.stderr.contains("\\u{1b}[2J"), "{output:#?}");
        assert!(output.stderr.len() < 10_000, "{output:#?}");
    };
    let long = "x".repeat(90_000);
    let name = format!("\\1b[2J\\0alunatic: all is well {long}");
    plain(run_wat(&format!(
        "(module (import \"{name}\" \"{name}\" (func)) (func (export \"_start\")))"
    )));
    plain(run_wat(&format!(
        "(module (import \"{name}\" \"{name}\" (memory 1)) (func (export \"_start\")))"
    )));
    plain(run_wat(&format!("(module (func (export \"{name}\")))")));
    plain(run_wat(&format!(
        "(module (func $\"{name}\" unreachable) (func (export \"_start\") (call $\"{name}\")))"
    )));
    plain(run_wat(&program(
        "(data (i32.const 4096) \"\\1b[2J\\0alunatic: all is well\")",
        "(drop (call $spawn_raw (i64.const 0) (i64.const -1) (i64.const -1) (i32.const 4096)
           (i32.const 60000) (i32.const 0) (i32.const 0) (i32.const 288)))
         (call $join (i64.load (i32.const 288)))",
    )));
}

#[test]
fn tables_are_limited_as_memory_is() {
    let tables: String = (0..4).map(|at| format!("(table $t{at} 0 externref)")).collect();
    let grow: String = (0..4)
        .map(|at| {
            format!(
                "(loop $more (br_if $more (i32.ne (i32.const -1)
                   (table.grow $t{at} (ref.null extern) (i32.const 1000)))))
                 (local.set $i (i64.add (local.get $i) (i64.extend_i32_u (table.size $t{at}))))"
            )
        })
        .collect();
    let text = program(&tables, &format!("(local $i i64) {grow} (call $say (local.get $i))"));
    let output = run_wat_with(&["--max-memory=1M"], &text).expect_quiet_success();
    let elements = output.numbers()[0];
    assert!((60_000..=131_072).contains(&elements), "{elements}");
    let fixed = "(module (table 100000 100000 funcref) (func (export \"_start\")))";
    run_wat(fixed).expect_quiet_success();
    run_wat_with(&["--max-memory=1M"], fixed).expect(3).says(&["tables take", "1048576"]);
}

/// A process that writes the beginnings of lines, and waits in between, cannot have more kept than the
/// buffer of its stream.
#[test]
fn beginnings_of_lines_wait_for_their_reader_as_lines_do() {
    let items = r#"(func (export "writer") (param $main i64) (local $i i64)
        (i32.store (i32.const 64) (i32.const 4096))
        (i32.store (i32.const 68) (i32.const 8000))
        (loop $again
          (if (call $fd_write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 72))
            (then unreachable))
          (call $yield)
          (local.set $i (i64.add (local.get $i) (i64.const 1)))
          (br_if $again (i64.lt_u (local.get $i) (i64.const 2000))))
        (call $send (local.get $main) (local.get $i)))
      (func $tell
        (if (call $fd_write (i32.const 2) (i32.const 64) (i32.const 1) (i32.const 72))
          (then unreachable)))
      (data (i32.const 2048) "waiting\nwritten\n")"#;
    let body = format!(
        "(local $i i64) (drop {}) {}
         (i32.store (i32.const 64) (i32.const 2048))
         (i32.store (i32.const 68) (i32.const 8))
         (if (i32.ne (call $receive (i32.const 0) (i32.const 0) (i64.const 0)) (i32.const 9027))
           (then (i32.store (i32.const 64) (i32.const 2056)) (call $tell) (unreachable)))
         (call $tell)
         (if (i64.ne (call $recv) (i64.const 2000)) (then unreachable))",
        spawn_with("writer", "(call $self)"),
        times(10_000, "(call $yield)")
    );
    let module = Module::wat(&program(items, &body));
    let mut command = lunatic();
    command.args(["run", "--workers", "1"]).arg(module.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("built");
    let mut said = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    said.read_line(&mut line).expect("it is read");
    assert_eq!(line, "waiting\n");
    let mut written = Vec::new();
    child.stdout.take().expect("a pipe").read_to_end(&mut written).expect("it is read");
    assert_eq!(written.len(), 2000 * 8000);
    let (status, hung) = wait(child);
    assert!(status.success() && !hung, "{status}");
}
