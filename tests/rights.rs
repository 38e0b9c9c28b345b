//! Rights and limits: a process has what it was given, a child at most what its parent has, and
//! whoever asks for more is told so and hurts nobody.

mod support;

use std::fs;
use std::os::unix::fs::symlink;

use support::{Output, program, run_wat_with};
use tempfile::TempDir;

/// Imports beside the prelude.
const IMPORTS: &str = r#"(module
  (import "lunatic::process" "create_config" (func $config (result i64)))
  (import "lunatic::process" "drop_config" (func $drop_config (param i64)))
  (import "lunatic::process" "config_set_max_memory" (func $set_memory (param i64 i64)))
  (import "lunatic::process" "config_get_max_memory" (func $memory (param i64) (result i64)))
  (import "lunatic::process" "config_set_max_fuel" (func $set_fuel (param i64 i64)))
  (import "lunatic::process" "config_get_max_fuel" (func $fuel (param i64) (result i64)))
  (import "lunatic::process" "config_set_can_compile_modules" (func $set_compile (param i64 i32)))
  (import "lunatic::process" "config_can_compile_modules" (func $compile (param i64) (result i32)))
  (import "lunatic::process" "config_set_can_create_configs" (func $set_configs (param i64 i32)))
  (import "lunatic::process" "config_can_create_configs" (func $configs (param i64) (result i32)))
  (import "lunatic::process" "config_set_can_spawn_processes" (func $set_spawn (param i64 i32)))
  (import "lunatic::process" "config_can_spawn_processes" (func $can_spawn (param i64) (result i32)))
  (import "lunatic::wasi" "config_add_environment_variable"
    (func $add_env (param i64 i32 i32 i32 i32)))
  (import "lunatic::wasi" "config_add_command_line_argument" (func $add_arg (param i64 i32 i32)))
  (import "lunatic::wasi" "config_preopen_dir" (func $preopen (param i64 i32 i32)))
  (import "lunatic::config" "create" (func $nothing (result i64)))
  (import "lunatic::config" "copy_own" (func $copy_own (result i64)))
  (import "lunatic::config" "set_limit" (func $set_limit (param i64 i32 i64 i32) (result i32)))
  (import "lunatic::config" "get_limit" (func $limit (param i64 i32) (result i64)))
  (import "lunatic::config" "set_right" (func $set_right (param i64 i32 i32 i32) (result i32)))
  (import "lunatic::config" "has_right" (func $right (param i64 i32) (result i32)))
  (import "lunatic::config" "add_dir"
    (func $add_dir (param i64 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::config" "add_network_rule" (func $rule (param i64 i32 i32 i32) (result i32)))
  (import "lunatic::config" "usage" (func $usage (param i64 i32) (result i64)))
  (import "lunatic::error" "string_size" (func $error_size (param i64) (result i32)))
  (import "lunatic::error" "to_string" (func $error_text (param i64 i32)))
  (import "lunatic::registry" "put" (func $name (param i32 i32 i64 i64)))
  (import "lunatic::registry" "get" (func $named (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $env (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_create_directory"
    (func $mkdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_filestat_get"
    (func $stat (param i32 i32 i32 i32 i32) (result i32)))"#;

/// Functions beside the prelude.
const ITEMS: &str = r#"
  ;; Spawns an exported function of one i64, the caller's id, with a configuration. The id of the
  ;; process, or of an error, is at 288.
  (func $spawn_in (param $config i64) (param $name i64) (result i32)
    (call $argument (call $self))
    (i64.store (i32.const 240) (local.get $name))
    (call $spawn_raw (i64.const 0) (local.get $config) (i64.const -1)
      (i32.const 240) (i32.const 5) (i32.const 256) (i32.const 17) (i32.const 288)))
  (func $child (result i64) (i64.load (i32.const 288)))
  ;; Prints the error whose id is at 288.
  (func $complain
    (call $error_text (call $child) (i32.const 4096))
    (i32.store8 (i32.add (i32.const 4096) (call $error_size (call $child))) (i32.const 10))
    (call $put (i32.const 4096) (i32.add (i32.const 1) (call $error_size (call $child)))))
  (func $try (param i32) (call $say32 (local.get 0)) (if (local.get 0) (then (call $complain))))
  (func (export "quiet") (param i64))
  (func (export "waits") (param i64) (drop (call $recv)))
  (func (export "loops") (param i64) (call $for_ever))
  (func (export "yield") (param i64) (loop $again (call $yield) (br $again)))"#;

/// WAT: the first eight bytes of a name.
fn named(name: &str) -> String {
    assert_eq!(name.len(), 5, "spawn_in takes names of five letters");
    let mut bytes = [0; 8];
    bytes[..5].copy_from_slice(name.as_bytes());
    format!("(i64.const {})", i64::from_le_bytes(bytes))
}

fn spawn_in(name: &str) -> String {
    format!("(call $spawn_in (local.get $c) {})", named(name))
}

/// A guest with these texts at 8192, 8448, …
fn guest(texts: &[&str], items: &str, body: &str) -> String {
    let data: String = texts
        .iter()
        .enumerate()
        .map(|(at, text)| format!("(data (i32.const {}) \"{text}\")", 8192 + 256 * at))
        .collect();
    let body = format!("(local $c i64) (local $d i64) (local $i i64) {body}");
    program(&format!("{ITEMS} {data} {items}"), &body).replacen("(module", IMPORTS, 1)
}

/// WAT: pointer and length of the text with this number.
fn text(number: usize, text: &str) -> String {
    format!("(i32.const {}) (i32.const {})", 8192 + 256 * number, text.len())
}

#[track_caller]
fn run(options: &[&str], items: &str, body: &str) -> Output {
    run_wat_with(options, &guest(&[], items, body))
}

#[test]
fn a_configuration_of_the_older_kind_grants_nothing_and_is_limited_as_its_maker() {
    let body = "
      (local.set $c (call $config))
      (call $say (local.get $c))
      (call $say (call $memory (local.get $c)))
      (call $say (call $fuel (local.get $c)))
      (call $say32 (call $compile (local.get $c)))
      (call $say32 (call $configs (local.get $c)))
      (call $say32 (call $can_spawn (local.get $c)))
      (call $set_memory (local.get $c) (i64.const 65536))
      (call $say (call $memory (local.get $c)))
      (call $set_fuel (local.get $c) (i64.const 17))
      (call $say (call $fuel (local.get $c)))
      (call $set_compile (local.get $c) (i32.const 5))
      (call $set_configs (local.get $c) (i32.const 1))
      (call $set_spawn (local.get $c) (i32.const 1))
      (call $say32 (call $compile (local.get $c)))
      (call $say32 (call $configs (local.get $c)))
      (call $say32 (call $can_spawn (local.get $c)))
      (call $set_spawn (local.get $c) (i32.const 0))
      (call $say32 (call $can_spawn (local.get $c)))
      (call $drop_config (local.get $c))
      (call $say (call $config))";
    run(&[], "", body).expect_quiet_success().prints(&[
        0,
        1 << 32,
        0,
        0,
        0,
        0,
        65536,
        17,
        1,
        1,
        1,
        0,
        1,
    ]);
}

#[test]
fn a_child_gets_at_most_what_its_parent_has() {
    let body = "
      (local.set $c (call $config))
      (call $set_memory (local.get $c) (i64.const 0x100000000))
      (call $say (call $memory (local.get $c)))
      (call $set_memory (local.get $c) (i64.const -1))
      (call $say (call $memory (local.get $c)))
      (call $set_fuel (local.get $c) (i64.const 1001))
      (call $say (call $fuel (local.get $c)))
      (call $set_fuel (local.get $c) (i64.const -1))
      (call $say (call $fuel (local.get $c)))
      (call $set_fuel (local.get $c) (i64.const 0))
      (call $say (call $fuel (local.get $c)))
      (call $set_compile (local.get $c) (i32.const 1))
      (call $say32 (call $compile (local.get $c)))";
    let limits = ["--max-memory", "1M", "--max-fuel", "1000", "--deny", "compile", "-v"];
    let output = run(&limits, "", body).expect(0);
    let output = output.prints(&[1 << 20, 1 << 20, 1000, 1000, 1000, 0]).says(&["max-memory"]);
    assert_eq!(output.stderr.matches("denied").count(), 1, "once a process\n{output:#?}");
}

#[test]
fn who_asks_precisely_is_told_what_it_cannot_have() {
    let refused = [
        (0, 1 << 20, "memory"),
        (1, 1000, "fuel"),
        (2, 5, "children"),
        (3, 100, "resources"),
        (4, 4096, "message"),
        (5, 10, "descriptors"),
        (6, 64 << 10, "stack"),
        (7, 20, "mailbox"),
        (8, 8192, "mailbox-bytes"),
    ];
    let body: String = refused
        .iter()
        .map(|(limit, most, _)| {
            let set = |value| {
                format!(
                    "(call $try (call $set_limit (local.get $c) (i32.const {limit})
                       (i64.const {value}) (i32.const 288)))
                     (call $say (call $limit (local.get $c) (i32.const {limit})))"
                )
            };
            set(most - 1) + &set(most + 1) + &set(-1)
        })
        .collect();
    let body = format!(
        "(local.set $c (call $nothing)) {body}
         (call $try (call $set_right (local.get $c) (i32.const 3) (i32.const 1) (i32.const 288)))
         (call $say32 (call $right (local.get $c) (i32.const 3)))
         (call $try (call $set_right (local.get $c) (i32.const 0) (i32.const 1) (i32.const 288)))
         (call $say32 (call $right (local.get $c) (i32.const 0)))"
    );
    let output = run(
        &[
            "--max-memory=1M",
            "--max-fuel=1000",
            "--max-children=5",
            "--max-resources=100",
            "--max-message=4K",
            "--max-descriptors=10",
            "--max-stack=64K",
            "--max-mailbox=20",
            "--max-mailbox-bytes=8K",
            "--deny=kill,names",
        ],
        "",
        &body,
    )
    .expect_quiet_success();
    let mut expected = String::new();
    for (_, most, name) in refused {
        let line = |asked: String| {
            format!(
                "1\na configuration with max-{name} = {asked}: the process itself has {most}\n{most}\n"
            )
        };
        expected += &format!("0\n{}\n", most - 1);
        expected += &line((most + 1).to_string());
        expected += &line("no limit".to_string());
    }
    expected += "1\na configuration with the right to kill other processes: the process itself has it \
                 not\n0\n0\n1\n";
    assert_eq!(output.stdout, expected);
}

#[test]
fn nobody_uses_a_configuration_that_is_not_its_own() {
    let items = "(func (export \"other\") (param i64)
      (call $send (local.get 0) (call $memory (i64.const 0))))";
    for (body, says) in [
        ("(call $drop_config (i64.const 0))", "no configuration with id 0"),
        ("(drop (call $memory (i64.const -1)))", "no configuration with id 18446744073709551615"),
        (
            "(local.set $c (call $config)) (call $drop_config (local.get $c))
             (call $drop_config (local.get $c))",
            "no configuration with id 0",
        ),
        (
            "(drop (call $config)) (drop (call $spawn_in (i64.const 7) (i64.const 0)))",
            "no configuration with id 7",
        ),
        (
            "(drop (call $spawn_in (i64.const -2) (i64.const 0)))",
            "no configuration with id 18446744073709551614",
        ),
        (
            "(local.set $c (call $config)) (call $drop_config (local.get $c))
             (drop (call $spawn_in (local.get $c) (i64.const 0)))",
            "no configuration with id 0",
        ),
        (
            "(drop (call $set_limit (call $config) (i32.const 99) (i64.const 1) (i32.const 8)))",
            "99",
        ),
        ("(drop (call $right (call $config) (i32.const -1)))", "no right with number 4294967295"),
        ("(drop (call $set_limit (call $config) (i32.const 0) (i64.const -1) (i32.const -1)))", ""),
    ] {
        let code = if says.is_empty() { 0 } else { 134 };
        run(&[], "", body).expect(code).says(&[says]);
    }
    let body = format!(
        "(drop (call $config)) (drop (call $spawn_in (i64.const -1) {})) (call $join (call $child))",
        named("other")
    );
    run(&[], items, &body).expect(0).says(&["config_get_max_memory", "no configuration with id 0"]);
}

#[test]
fn what_is_denied_is_answered_with_an_error_and_logged_once() {
    let spawn = spawn_in("quiet");
    let body = format!("(local.set $c (i64.const -1)) (call $try {spawn}) (call $try {spawn})");
    let output = run(&["--deny", "spawn", "-v"], "", &body).expect(0);
    let denied = "1\nthe process may not spawn processes\n";
    assert_eq!(output.stdout, denied.repeat(2));
    assert_eq!(output.stderr.matches("denied").count(), 1, "{output:#?}");
    run(&["--deny=configs"], "", "(call $say (call $config)) (call $say (call $nothing))")
        .expect_quiet_success()
        .prints(&[-1, -1]);
    // Killing: others are safe, oneself is one's own affair.
    let body = format!(
        "(local.set $c (i64.const -1)) (drop {}) (call $kill (call $child))
         (call $yield) (call $yield)
         (call $say32 (call $exists (call $child)))
         (call $kill (call $self)) (call $yield)",
        spawn_in("waits")
    );
    run(&["--deny=kill"], "", &body).expect(137).prints(&[1]);
    let body = format!(
        "(call $name {0} (i64.const 0) (call $self))
         (call $say32 (call $named {0} (i32.const 16) (i32.const 24)))",
        text(0, "x")
    );
    let text = guest(&["x"], "", &body);
    run_wat_with(&["--deny=names"], &text).expect_quiet_success().prints(&[1]);
    run_wat_with(&[], &text).expect_quiet_success().prints(&[0]);
}

#[test]
fn rights_shrink_on_the_way_down() {
    let items = format!(
        "(func (export \"inner\") (param i64)
           (call $send (local.get 0) (call $config))
           (call $send (local.get 0)
             (i64.extend_i32_u (call $spawn_in (i64.const -1) {}))))",
        named("quiet")
    );
    let body = format!(
        "(local.set $c (call $config)) (drop {0}) (call $say (call $recv)) (call $say (call $recv))
         (local.set $c (call $copy_own)) (drop {0}) (call $say (call $recv)) (call $say (call $recv))
         (local.set $c (call $config)) (call $set_spawn (local.get $c) (i32.const 1))
         (drop {0}) (call $say (call $recv)) (call $say (call $recv))",
        spawn_in("inner")
    );
    run(&[], &items, &body).expect_quiet_success().prints(&[-1, 1, 0, 0, -1, 0]);
}

#[test]
fn a_process_keeps_its_configuration_whatever_becomes_of_it() {
    let items = "(func (export \"grows\") (param i64)
      (drop (call $recv))
      (call $send (local.get 0) (i64.extend_i32_s (memory.grow (i32.const 1))))
      (call $send (local.get 0) (i64.extend_i32_s (memory.grow (i32.const 1)))))";
    let body = format!(
        "(local.set $c (call $config))
         (call $set_memory (local.get $c) (i64.const 196608))
         (drop {0}) (local.set $d (call $child))
         (call $set_memory (local.get $c) (i64.const 1000000))
         (call $drop_config (local.get $c))
         (call $send (local.get $d) (i64.const 1))
         (call $say (call $recv)) (call $say (call $recv))
         (local.set $c (call $config))
         (call $set_memory (local.get $c) (i64.const 65536))
         (call $try {0})",
        spawn_in("grows")
    );
    let output = run(&[], items, &body).expect_quiet_success();
    assert!(output.stdout.starts_with("2\n-1\n1\ncannot spawn a process: "), "{output:#?}");
    assert!(output.stdout.contains("131072 bytes of memory, the limit of this process is 65536"));
}

#[test]
fn fuel_that_is_used_up_ends_the_process_and_no_other() {
    for workers in ["--workers=1", "--workers=2"] {
        for name in ["loops", "yield"] {
            let body = format!(
                "(local.set $c (call $config))
                 (call $set_fuel (local.get $c) (i64.const 7))
                 (drop {}) (call $join (call $child))
                 (call $say (call $usage (local.get $c) (i32.const 0)))
                 (call $say (call $usage (local.get $c) (i32.const 3)))
                 (call $say (call $usage (local.get $c) (i32.const 4)))",
                spawn_in(name)
            );
            let output = run(&[workers], "", &body)
                .expect(0)
                .says(&["used up its fuel of 7 units (--max-fuel)"]);
            let numbers = output.numbers();
            assert!((7..=8).contains(&numbers[0]), "{output:#?}");
            assert_eq!(numbers[1..], [1, 0], "{output:#?}");
        }
    }
    let output = run(&["--max-fuel", "3"], "", "(call $for_ever)");
    output.expect(134).says(&["the main process has used up its fuel of 3 units"]);
    // More than a counter holds is as good as none.
    let body = format!(
        "(local.set $c (call $config))
         (call $set_fuel (local.get $c) (i64.const -2)) (call $say (call $fuel (local.get $c)))
         (drop {}) (call $join (call $child))",
        spawn_in("quiet")
    );
    run(&[], "", &body).expect_quiet_success().prints(&[-2]);
}

#[test]
fn what_children_use_can_be_read_by_who_made_their_configuration() {
    let items = "(func (export \"grows\") (param i64)
      (drop (memory.grow (i32.const 3)))
      (call $send (local.get 0) (i64.const 1))
      (drop (call $recv)))";
    let body = format!(
        "(local.set $c (call $config))
         (call $say (call $usage (local.get $c) (i32.const 3)))
         (drop {0}) (local.set $d (call $child)) (drop {0})
         (drop (call $recv)) (drop (call $recv))
         (call $sleep (i64.const 1))
         (call $say (call $usage (local.get $c) (i32.const 3)))
         (call $say (call $usage (local.get $c) (i32.const 4)))
         (call $send (local.get $d) (i64.const 1)) (call $join (local.get $d))
         (call $send (call $child) (i64.const 1)) (call $join (call $child))
         (call $say (call $usage (local.get $c) (i32.const 4)))
         (call $say (call $usage (local.get $c) (i32.const 1)))
         (call $say (call $usage (local.get $c) (i32.const 2)))",
        spawn_in("grows")
    );
    let output = run(&["--workers=1"], items, &body).expect_quiet_success();
    let numbers = output.numbers();
    assert_eq!(numbers[..5], [0, 2, 2, 0, 0], "{output:#?}");
    assert_eq!(numbers[5], 2 * 5 * 65536, "{output:#?}");
}

#[test]
fn children_are_counted_while_they_live() {
    let spawn = spawn_in("waits");
    let body = format!(
        "(local.set $c (i64.const -1))
         (call $try {spawn}) (local.set $d (call $child)) (call $try {spawn}) (call $try {spawn})
         (call $kill (local.get $d)) (call $join (local.get $d))
         (call $sleep (i64.const 1))
         (call $try {spawn}) (call $try {spawn})"
    );
    let output = run(&["--max-children=2", "--workers=1"], "", &body).expect_quiet_success();
    let full = "1\ncannot spawn a process: 2 children of this one live, the most there may be (--max-children)\n";
    assert_eq!(output.stdout, format!("0\n0\n{full}0\n{full}"));
}

#[test]
fn resources_and_messages_have_limits() {
    let opens = "(loop $again (drop (call $open (i64.const 1))) (br $again))";
    run(&["--max-resources=50"], "", opens).expect(134).says(&["50"]);
    let configs = "(loop $again (drop (call $config)) (br $again))";
    run(&["--max-resources=50"], "", configs).expect(134).says(&["50"]);
    run(&[], "", configs).expect(134).says(&["4096 configurations", "drop_config"]);
    let body = "(call $create (i64.const 0) (i64.const 0))
      (call $say32 (call $write (i32.const 0) (i32.const 70000)))
      (call $say32 (call $write (i32.const 0) (i32.const 70000)))";
    run(&["--max-message=100000"], "", body).expect_quiet_success().prints(&[70000, 30000]);
}

#[test]
fn arguments_and_variables_go_to_the_child_and_have_a_limit() {
    let items = "(func (export \"tells\") (param i64)
      (drop (call $args (i32.const 16) (i32.const 24)))
      (call $send (local.get 0) (i64.extend_i32_u (i32.load (i32.const 16))))
      (drop (call $args (i32.const 16) (i32.const 24)))
      (call $send (local.get 0) (i64.extend_i32_u (i32.load (i32.const 24))))
      (drop (call $env (i32.const 40) (i32.const 44)))
      (call $send (local.get 0) (i64.extend_i32_u (i32.load (i32.const 40))))
      (drop (call $env (i32.const 40) (i32.const 44)))
      (call $send (local.get 0) (i64.extend_i32_u (i32.load (i32.const 44)))))";
    let texts = ["name", "KEY", "value", "A=B", "", "\\ff", "a\\00b"];
    let (name, key, value) = (text(0, "name"), text(1, "KEY"), text(2, "value"));
    let body = format!(
        "(local.set $c (call $config))
         (call $add_arg (local.get $c) {name}) (call $add_arg (local.get $c) {value})
         (call $add_env (local.get $c) {key} {name}) (call $add_env (local.get $c) {key} {value})
         (drop {})
         (call $say (call $recv)) (call $say (call $recv)) (call $say (call $recv))
         (call $say (call $recv))",
        spawn_in("tells")
    );
    run_wat_with(&["--env", "SECRET=1"], &guest(&texts, items, &body))
        .expect_quiet_success()
        .prints(&[2, 11, 1, 10]);
    let add_env = |key: &str| format!("(call $add_env (call $config) {key} {value})");
    for (body, says) in [
        (add_env(&text(3, "A=B")), "\"A=B\""),
        (add_env(&text(4, "")), "\"\""),
        (add_env("(i32.const 9472) (i32.const 1)"), "UTF-8"),
        (add_env("(i32.const 9728) (i32.const 3)"), "zero byte"),
        ("(call $add_arg (call $config) (i32.const 0) (i32.const 65537))".into(), "65536"),
        ("(call $add_arg (call $config) (i32.const -1) (i32.const 5))".into(), "outside"),
        (
            format!(
                "(local.set $c (call $config)) (loop $again (call $add_arg (local.get $c) {name})
                 (br $again))"
            ),
            "65536 bytes together",
        ),
    ] {
        run_wat_with(&[], &guest(&texts, "", &body)).expect(134).says(&[says]);
    }
}

/// A child that tells whether it has a directory, may write there, and finds "file".
const LOOKS: &str = "(func (export \"looks\") (param i64)
  (call $send (local.get 0) (i64.extend_i32_u (call $prestat (i32.const 3) (i32.const 40))))
  (call $send (local.get 0) (i64.extend_i32_u
    (call $mkdir (i32.const 3) (i32.const 8192) (i32.const 3))))
  (call $send (local.get 0) (i64.extend_i32_u
    (call $stat (i32.const 3) (i32.const 1) (i32.const 8448) (i32.const 4) (i32.const 1024)))))";

#[test]
fn a_child_gets_directories_of_its_parents_and_no_others() {
    const BADF: i64 = 8;
    const NOENT: i64 = 44;
    const PERM: i64 = 63;
    let outside = TempDir::new().expect("a temporary directory can be made");
    let inside = outside.path().join("inside");
    fs::create_dir_all(inside.join("sub/deep")).expect("it can be made");
    fs::write(inside.join("sub/file"), "").expect("it can be written");
    fs::write(outside.path().join("file"), "").expect("it can be written");
    symlink("..", inside.join("up")).expect("it can be made");
    symlink(outside.path(), inside.join("out")).expect("it can be made");
    symlink("sub", inside.join("in")).expect("it can be made");
    let dir = format!("{}::/data", inside.display());
    let read_only = format!("{dir}:ro");
    let none = [BADF; 3];
    let _ = NOENT;
    for (path, granted, expected) in [
        ("/data/sub", &read_only, [0, PERM, 0]),
        ("/data/in", &read_only, [0, PERM, 0]),
        ("/data/sub/deep/..", &read_only, [0, PERM, 0]),
        ("/data", &read_only, [0, PERM, NOENT]),
        ("/data/..", &dir, none),
        ("/data/../inside/sub", &dir, none),
        ("/data/up", &dir, none),
        ("/data/out", &dir, none),
        ("/data/sub/file", &dir, none),
        ("/data/nothing", &dir, none),
        ("/dat", &dir, none),
        ("/datamine", &dir, none),
        ("/", &dir, none),
        ("/etc", &dir, none),
        ("..", &dir, none),
        (".", &dir, none),
        ("", &dir, none),
        ("/proc/self/root", &dir, none),
    ] {
        let body = format!(
            "(local.set $c (call $config))
             (call $preopen (local.get $c) {path})
             (drop {})
             (call $say (call $recv)) (call $say (call $recv)) (call $say (call $recv))",
            spawn_in("looks"),
            path = text(2, path)
        );
        let guest = guest(&["new", "file", path], LOOKS, &body);
        let output = run_wat_with(&["--dir", granted, "-v"], &guest).expect(0);
        assert_eq!(output.numbers(), expected, "{path}\n{output:#?}");
        let refused = output.stderr.contains("denied: a configuration");
        assert_eq!(refused, expected == none, "{path}\n{output:#?}");
    }
    assert!(!inside.join("new").exists() && !inside.join("sub/new").exists());
    // Precisely: to read only, under another name; and never more than there is.
    for (granted, writes, expected) in
        [(&dir, 0, [0, PERM, 0]), (&read_only, 1, [0, PERM, 0]), (&dir, 1, [0, 0, 0])]
    {
        let body = format!(
            "(local.set $c (call $nothing))
             (call $try (call $add_dir (local.get $c) {} {} (i32.const {writes}) (i32.const 288)))
             (call $try (call $add_dir (local.get $c) {} {} (i32.const 1) (i32.const 288)))
             (drop {})
             (call $say (call $recv)) (call $say (call $recv)) (call $say (call $recv))",
            text(2, "/data/sub"),
            text(0, "new"),
            text(3, "/etc"),
            text(0, "new"),
            spawn_in("looks"),
        );
        let guest = guest(&["new", "file", "/data/sub", "/etc"], LOOKS, &body);
        let output = run_wat_with(&["--dir", granted], &guest).expect_quiet_success();
        let lines: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(lines[..2], ["0", "1"], "{output:#?}");
        assert!(lines[2].contains("\"/etc\""), "{output:#?}");
        let numbers: Vec<i64> = lines[3..].iter().map(|line| line.parse().expect("it")).collect();
        assert_eq!(numbers, expected, "{granted} {writes}");
    }
}

#[test]
fn network_rules_shrink_too() {
    let rules = [
        ("connect:10.1.0.0/16:80", "0\n"),
        ("connect:10.0.0.0/7:80", "1\n"),
        ("10.1.2.3:80", "1\n"),
        ("connect:db.local:5432", "0\n"),
        ("connect:a.db.local:5432", "1\n"),
        ("*", "1\n"),
        ("nonsense", "1\n"),
    ];
    for (rule, expected) in rules {
        let body = format!(
            "(local.set $c (call $nothing))
             (call $try (call $rule (local.get $c) {} (i32.const 288)))",
            text(0, rule)
        );
        let options = ["--allow-net=connect:10.0.0.0/8:*", "--allow-net", "connect:db.local:5432"];
        let output = run_wat_with(&options, &guest(&[rule], "", &body)).expect_quiet_success();
        assert!(output.stdout.starts_with(expected), "{rule}\n{output:#?}");
        assert!(expected == "0\n" || output.stdout.contains(rule), "{rule}\n{output:#?}");
    }
}
