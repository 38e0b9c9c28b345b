//! WASI as guests see it: arguments, environment, clocks, random numbers, standard streams.

mod support;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use support::{
    Module, Output, Running, guest, lunatic, program, run_command, run_guest, run_wat,
    run_wat_with, spawn, spawn_with, times,
};

/// Runs `args_env` with these words before the module and behind it.
#[track_caller]
fn args_env(options: &[&str], args: &[&str]) -> Option<Vec<String>> {
    let guest = guest("args_env")?;
    let mut command = lunatic();
    command.env("LUNATIC_TEST_FROM_OUTSIDE", "yes");
    command.arg("run").args(options).arg(guest).args(args);
    let output = run_command(command, b"").expect_quiet_success();
    Some(output.stdout.lines().map(str::to_string).collect())
}

#[test]
fn arguments_arrive_unchanged_and_in_order() {
    let args = ["a", "--", "--workers", "", "two words", "ä\t\"q\"", "-v"];
    let Some(lines) = args_env(&[], &args) else { return };
    let expected: Vec<String> = ["a", "--workers", "", "two words", "ä\t\"q\"", "-v"]
        .iter()
        .map(|argument| format!("argument {argument:?}"))
        .collect();
    assert_eq!(lines, expected);
}

#[test]
fn many_and_long_arguments_arrive() {
    let args: Vec<String> = (0..5000).map(|n| format!("{n:0>20}")).collect();
    let mut words = vec!["--"];
    words.extend(args.iter().map(String::as_str));
    let Some(lines) = args_env(&[], &words) else { return };
    assert_eq!(lines.len(), 5000);
    assert_eq!(lines[4999], format!("argument {:?}", args[4999]));
}

#[test]
fn the_environment_is_empty_unless_it_is_given() {
    let Some(lines) = args_env(&[], &[]) else { return };
    assert_eq!(lines, [""; 0]);
    let given = ["--env", "B=2", "--env", "A=1=1", "--env", "EMPTY=", "--env", "B=3"];
    let lines = args_env(&given, &[]).expect("it was there before");
    assert_eq!(
        lines,
        [r#"environment "A" = "1=1""#, r#"environment "B" = "3""#, r#"environment "EMPTY" = """#]
    );
}

#[test]
fn the_environment_can_be_inherited_and_overridden() {
    let Some(lines) = args_env(&["--env-inherit"], &[]) else { return };
    let line = |value| format!("environment \"LUNATIC_TEST_FROM_OUTSIDE\" = {value:?}");
    assert!(lines.contains(&line("yes")), "{lines:#?}");
    let options = ["--env-inherit", "--env", "LUNATIC_TEST_FROM_OUTSIDE=no"];
    let lines = args_env(&options, &[]).expect("it was there before");
    assert!(lines.contains(&line("no")) && !lines.contains(&line("yes")), "{lines:#?}");
}

/// A program that imports these functions of WASI as well (`name (param …)`), all with an error
/// number as their result.
fn wasi_program(imports: &[&str], items: &str, body: &str) -> String {
    let declarations: String = imports
        .iter()
        .map(|import| {
            let (name, params) = import.split_once(' ').expect("a name and parameters");
            format!(
                "(import \"wasi_snapshot_preview1\" \"{name}\"
                   (func ${name} {params} (result i32)))"
            )
        })
        .collect();
    program(items, body).replacen("(module", &format!("(module {declarations}"), 1)
}

const CLOCK: &str = "clock_time_get (param i32 i64 i32)";
const POLL: &str = "poll_oneoff (param i32 i32 i32 i32)";
const READ: &str = "fd_read (param i32 i32 i32 i32)";

#[test]
fn clocks_tell_the_time_and_do_not_go_back() {
    let get = |id, at| {
        format!(
            "(if (call $clock_time_get (i32.const {id}) (i64.const 1) (i32.const {at}))
               (then unreachable))"
        )
    };
    let body = format!(
        "(local $i i64) {} {}
         {}
         (call $say (i64.div_u (i64.load (i32.const 1024)) (i64.const 1000000000)))
         (call $say32 (call $clock_time_get (i32.const 99) (i64.const 1) (i32.const 1024)))
         (call $say32 (call $clock_time_get (i32.const 0) (i64.const 1) (i32.const -4)))
         (call $say32 (call $clock_res_get (i32.const 1) (i32.const 1024)))
         (call $say32 (i64.eqz (i64.load (i32.const 1024))))",
        get(1, 1024),
        times(
            1000,
            &format!(
                "{} (if (i64.lt_u (i64.load (i32.const 1032)) (i64.load (i32.const 1024)))
                      (then unreachable))
                 (i64.store (i32.const 1024) (i64.load (i32.const 1032)))",
                get(1, 1032)
            )
        ),
        get(0, 1024)
    );
    let text = wasi_program(&[CLOCK, "clock_res_get (param i32 i32)"], "", &body);
    let numbers = run_wat(&text).expect_quiet_success().numbers();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("it is after 1970")
        .as_secs();
    let told = u64::try_from(numbers[0]).expect("it is after 1970");
    assert!(told <= now && now - told < 24 * 3600, "the guest thinks it is {told}, it is {now}");
    const INVAL: i64 = 28;
    const FAULT: i64 = 21;
    assert_eq!(numbers[1..], [INVAL, FAULT, 0, 0]);
}

#[test]
fn random_bytes_differ_and_fill_what_is_asked_for() {
    let body = "
      (drop (memory.grow (i32.const 64)))
      (call $say32 (call $random_get (i32.const 1024) (i32.const 8)))
      (call $say32 (call $random_get (i32.const 1032) (i32.const 8)))
      (call $say32 (i64.eq (i64.load (i32.const 1024)) (i64.load (i32.const 1032))))
      (call $say32 (call $random_get (i32.const 0) (i32.const 0)))
      (call $say32 (call $random_get (i32.const 131072) (i32.const 4194304)))
      (call $say32 (i64.eqz (i64.load (i32.const 4325368))))
      (call $say32 (call $random_get (i32.const 4325368) (i32.const 9)))
      (call $say32 (call $random_get (i32.const -1) (i32.const -1)))";
    const FAULT: i64 = 21;
    run_wat(&wasi_program(&["random_get (param i32 i32)"], "", body))
        .expect_quiet_success()
        .prints(&[0, 0, 0, 0, 0, 0, FAULT, FAULT]);
}

#[test]
fn a_poll_on_clocks_gives_the_one_that_comes_first() {
    // Subscriptions at 1024 and 1072: userdata 7 in an hour, userdata 8 in a millisecond.
    let body = "
      (i64.store (i32.const 1024) (i64.const 7))
      (i32.store (i32.const 1040) (i32.const 1))
      (i64.store (i32.const 1048) (i64.const 3600000000000))
      (i64.store (i32.const 1072) (i64.const 8))
      (i32.store (i32.const 1088) (i32.const 1))
      (i64.store (i32.const 1096) (i64.const 1000000))
      (call $say32 (call $poll_oneoff
        (i32.const 1024) (i32.const 2048) (i32.const 2) (i32.const 4096)))
      (call $say32 (i32.load (i32.const 4096)))
      (call $say (i64.load (i32.const 2048)))
      (call $say32 (i32.load16_u (i32.const 2056)))
      (call $say32 (call $poll_oneoff
        (i32.const 1024) (i32.const 2048) (i32.const 0) (i32.const 4096)))";
    const INVAL: i64 = 28;
    run_wat(&wasi_program(&[POLL], "", body)).expect_quiet_success().prints(&[0, 1, 8, 0, INVAL]);
}

#[test]
fn a_hundred_sleepers_sleep_at_the_same_time() {
    for workers in ["1", "2"] {
        let Some(output) = run_guest(&["--workers", workers], "sleepers", &[], b"") else { return };
        let output = output.expect_quiet_success();
        let expected =
            ["ok all have slept", "ok nobody woke early", "ok they slept at the same time"];
        assert_eq!(output.stdout.lines().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn large_input_is_echoed() {
    let line = "0123456789 äöü abcdefghijklmnopqrstuvwxyz".repeat(3);
    let input = format!("{line}\n").repeat(40_000);
    let Some(output) = run_guest(&[], "stdin_echo", &[], input.as_bytes()) else { return };
    let output = output.expect_quiet_success();
    assert!(output.stdout.len() > 5_000_000);
    assert!(output.stdout == format!("{input}40000 lines\n"), "the echo differs");
}

#[test]
fn empty_input_ends_at_once() {
    let Some(output) = run_guest(&[], "stdin_echo", &[], b"") else { return };
    assert_eq!(output.expect_quiet_success().stdout, "0 lines\n");
    let output = run_guest(&[], "stdin_echo", &[], b"no newline").expect("it was there before");
    assert_eq!(output.expect_quiet_success().stdout, "no newline\n1 lines\n");
}

#[test]
fn slow_input_is_echoed_as_it_comes() {
    let Some(guest) = guest("stdin_echo") else { return };
    let mut command = lunatic();
    command.arg(guest);
    let mut running = Running::start(command);
    for number in 0..50 {
        running.write(&format!("line {number}\n"));
        running.wait_for(&format!("line {number}\n"));
    }
    // A line that comes in two pieces is one line.
    running.write("half a ");
    running.write("line\n");
    running.wait_for("half a line\n");
    assert!(running.finish().expect_quiet_success().stdout.ends_with("51 lines\n"));
}

#[test]
fn one_who_waits_for_input_does_not_keep_others_from_running() {
    let reader = "(func (export \"reader\") (param $main i64)
      (i32.store (i32.const 1024) (i32.const 2048))
      (i32.store (i32.const 1028) (i32.const 100))
      (call $send (local.get $main) (i64.const 5))
      (if (call $fd_read (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 1032))
        (then unreachable))
      (call $send (local.get $main) (i64.load8_u (i32.const 2048))))
      (func (export \"other\") (param $main i64)
        (call $send (local.get $main) (i64.const 6)))";
    let body = format!(
        "(drop {}) (call $say (call $recv)) (call $sleep (i64.const 1))
         (drop {}) (call $say (call $recv)) (call $say (call $recv))",
        spawn_with("reader", "(call $self)"),
        spawn_with("other", "(call $self)")
    );
    let module = Module::wat(&wasi_program(&[READ], reader, &body));
    let mut command = lunatic();
    command.args(["run", "--workers", "1"]).arg(module.path());
    let mut running = Running::start(command);
    running.wait_for("5\n6\n");
    running.write("A");
    running.finish().expect_quiet_success().prints(&[5, 6, 65]);
}

#[test]
fn a_reader_that_was_killed_takes_no_input_from_others() {
    let reader = "(func (export \"reader\") (param $main i64)
      (i32.store (i32.const 1024) (i32.const 2048))
      (i32.store (i32.const 1028) (i32.const 100))
      (if (call $fd_read (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 1032))
        (then unreachable))
      (call $send (local.get $main) (i64.load8_u (i32.const 2048))))";
    let body = format!(
        "(local $killed i64)
         (local.set $killed {reader}) (call $sleep (i64.const 1))
         (call $kill (local.get $killed)) (call $join (local.get $killed))
         (drop {reader}) (call $say (i64.const 1)) (call $say (call $recv))",
        reader = spawn_with("reader", "(call $self)")
    );
    let module = Module::wat(&wasi_program(&[READ], reader, &body));
    let mut command = lunatic();
    command.arg(module.path());
    let mut running = Running::start(command);
    running.wait_for("1\n");
    running.write("B");
    running.finish().expect_quiet_success().prints(&[1, 66]);
}

/// Fifty children print two hundred lines each.
#[track_caller]
fn lines_are_whole(options: &[&str], print: &str) {
    // `$line` makes "cc:nnn:" and 60 letters at 4096: the child's and the line's number.
    let items = format!(
        r#"
      (global $id (mut i64) (i64.const 0))
      (func $digit (param $at i32) (param $value i64)
        (i32.store8 (local.get $at)
          (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $value) (i64.const 10))))))
      (func $line (param $child i64) (param $number i64)
        (memory.fill (i32.const 4096)
          (i32.add (i32.const 65) (i32.wrap_i64 (i64.rem_u (local.get $child) (i64.const 26))))
          (i32.const 67))
        (call $digit (i32.const 4096) (i64.div_u (local.get $child) (i64.const 10)))
        (call $digit (i32.const 4097) (local.get $child))
        (i32.store8 (i32.const 4098) (i32.const 58))
        (call $digit (i32.const 4099) (i64.div_u (local.get $number) (i64.const 100)))
        (call $digit (i32.const 4100) (i64.div_u (local.get $number) (i64.const 10)))
        (call $digit (i32.const 4101) (local.get $number))
        (i32.store8 (i32.const 4102) (i32.const 58))
        (i32.store8 (i32.const 4163) (i32.const 10)))
      (func (export "child") (param $packed i64) (local $i i64) (local $child i64) (local $main i64)
        (local.set $child (i64.rem_u (local.get $packed) (i64.const 100)))
        (local.set $main (call $recv))
        {}
        (call $send (local.get $main) (i64.const 1)))"#,
        times(200, &format!("(call $line (local.get $child) (local.get $i)) {print}"))
    );
    let body = format!(
        "(local $i i64) {} {}",
        times(50, &format!("(call $send {} (call $self))", spawn_with("child", "(local.get $i)"))),
        times(50, "(drop (call $recv))").replace("$again", "$all")
    );
    let output = run_wat_with(options, &program(&items, &body)).expect_quiet_success();
    assert_lines(&output);
}

#[track_caller]
fn assert_lines(output: &Output) {
    let found: HashSet<&str> = output.stdout.lines().collect();
    for child in 0..50_u8 {
        let letters = char::from(b'A' + child % 26).to_string().repeat(60);
        for number in 0..200 {
            let line = format!("{child:02}:{number:03}:{letters}");
            assert!(found.contains(line.as_str()), "{line} is missing or torn");
        }
    }
    assert_eq!(output.stdout.lines().count(), 50 * 200);
}

#[test]
fn lines_of_concurrent_writers_do_not_tear() {
    for workers in ["1", "2", "8"] {
        lines_are_whole(&["--workers", workers], "(call $put (i32.const 4096) (i32.const 68))");
    }
}

#[test]
fn lines_written_in_pieces_do_not_tear() {
    for workers in ["1", "2", "8"] {
        lines_are_whole(
            &["--workers", workers],
            "(call $put (i32.const 4096) (i32.const 7))
             (call $put (i32.const 4103) (i32.const 30))
             (call $put (i32.const 4133) (i32.const 31))",
        );
    }
}

#[test]
fn a_line_without_an_end_comes_out_in_the_end() {
    let child = "(data (i32.const 4096) \"main\") (data (i32.const 4100) \"child\")
      (func (export \"child\") (call $put (i32.const 4100) (i32.const 5)) unreachable)";
    let body =
        format!("(call $join {}) (call $put (i32.const 4096) (i32.const 4))", spawn("child"));
    let output = run_wat(&program(child, &body)).expect(0);
    // A process is gone a moment before what it held back is out: the order is not promised.
    assert!(["childmain", "mainchild"].contains(&output.stdout.as_str()), "{output:#?}");
}

#[test]
fn a_prompt_is_seen_before_its_answer_is_read() {
    let data = "(data (i32.const 4096) \"name? \")";
    let body = "
      (call $put (i32.const 4096) (i32.const 6))
      (i32.store (i32.const 1024) (i32.const 2048))
      (i32.store (i32.const 1028) (i32.const 100))
      (drop (call $fd_read (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 1032)))
      (call $put (i32.const 2048) (i32.load (i32.const 1032)))";
    let module = Module::wat(&wasi_program(&[READ], data, body));
    let mut command = lunatic();
    command.arg(module.path());
    let mut running = Running::start(command);
    running.wait_for("name? ");
    running.write("Ada\n");
    assert_eq!(running.finish().expect_quiet_success().stdout, "name? Ada\n");
}

#[test]
fn large_output_reaches_a_slow_reader_whole() {
    // 64 KiB at a time, a thousand times.
    let body = format!(
        "(local $i i64)
         (memory.fill (i32.const 65536) (i32.const 120) (i32.const 65535))
         (i32.store8 (i32.const 131071) (i32.const 10))
         {}",
        times(1000, "(call $put (i32.const 65536) (i32.const 65536))")
    );
    let output = run_wat(&program("", &body)).expect_quiet_success();
    assert_eq!(output.stdout.len(), 65_536_000);
    assert_eq!(output.stdout.lines().filter(|line| line.len() == 65_535).count(), 1000);
}

#[test]
fn stderr_is_the_guests_too() {
    let items = "(data (i32.const 4096) \"to stderr\\n\")";
    let body = "
      (i32.store (i32.const 64) (i32.const 4096))
      (i32.store (i32.const 68) (i32.const 10))
      (drop (call $fd_write (i32.const 2) (i32.const 64) (i32.const 1) (i32.const 72)))";
    let output = run_wat(&program(items, body)).expect(0);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", "to stderr\n"));
}

#[test]
fn descriptors_nobody_opened_are_bad() {
    const BADF: i64 = 8;
    let body = "
      (call $say32 (call $fd_close (i32.const 3)))
      (call $say32 (call $fd_prestat_get (i32.const 3) (i32.const 1024)))
      (call $say32 (call $fd_fdstat_get (i32.const 77) (i32.const 1024)))
      (call $say32 (call $fd_close (i32.const -1)))
      (call $say32 (call $fd_close (i32.const 0)))
      (call $say32 (call $fd_close (i32.const 0)))
      (call $say32 (call $fd_read (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 1032)))";
    let imports = [
        READ,
        "fd_close (param i32)",
        "fd_prestat_get (param i32 i32)",
        "fd_fdstat_get (param i32 i32)",
    ];
    run_wat(&wasi_program(&imports, "", body))
        .expect_quiet_success()
        .prints(&[BADF, BADF, BADF, BADF, 0, BADF, BADF]);
}

#[test]
fn a_stream_that_one_process_closed_is_open_for_others() {
    let child = "(func (export \"child\") (drop (call $fd_close (i32.const 1))))";
    let body = format!("(call $join {}) (call $say (i64.const 1))", spawn("child"));
    run_wat(&wasi_program(&["fd_close (param i32)"], child, &body))
        .expect_quiet_success()
        .prints(&[1]);
}

#[test]
fn a_directory_that_was_given_is_known_by_its_name() {
    let body = "
      (call $say32 (call $fd_prestat_get (i32.const 3) (i32.const 1024)))
      (call $say32 (i32.load8_u (i32.const 1024)))
      (call $say32 (i32.load (i32.const 1028)))
      (call $say32 (call $fd_prestat_dir_name (i32.const 3) (i32.const 2048) (i32.const 5)))
      (i32.store8 (i32.const 2053) (i32.const 10))
      (call $put (i32.const 2048) (i32.const 6))
      (call $say32 (call $fd_prestat_get (i32.const 4) (i32.const 1024)))";
    let imports = ["fd_prestat_get (param i32 i32)", "fd_prestat_dir_name (param i32 i32 i32)"];
    let output = run_wat_with(&["--dir", ".::/data"], &wasi_program(&imports, "", body))
        .expect_quiet_success();
    assert_eq!(output.stdout, "0\n0\n5\n0\n/data\n8\n");
}

#[test]
fn a_write_of_hostile_vectors_is_an_error_and_no_trap() {
    const FAULT: i64 = 21;
    let write = |vectors: &str, count: &str, written: &str| {
        format!(
            "(call $say32 (call $fd_write (i32.const 2) (i32.const {vectors}) (i32.const {count})
               (i32.const {written})))"
        )
    };
    let body = format!(
        "(i32.store (i32.const 1024) (i32.const 0x7fffffff))
         (i32.store (i32.const 1028) (i32.const 10))
         {} {} {}",
        write("1024", "1", "1032"),
        write("131065", "1", "1032"),
        write("-1", "-1", "1032")
    );
    let output = run_wat(&program("", &body)).expect_quiet_success();
    assert_eq!(output.numbers()[..2], [FAULT, FAULT], "{output:#?}");
    assert_ne!(output.numbers()[2], 0, "{output:#?}");
}

/// Writes its arguments and variables to stdout as it got them.
const ECHO: &str = r#"(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get"
    (func $env_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $env_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func $put
    (i32.store (i32.const 8) (i32.const 65536))
    (i32.store (i32.const 12) (i32.load (i32.const 4)))
    (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16))))
  (func (export "_start")
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (drop (call $get (i32.const 1024) (i32.const 65536)))
    (call $put)
    (drop (call $env_sizes (i32.const 0) (i32.const 4)))
    (drop (call $env_get (i32.const 1024) (i32.const 65536)))
    (call $put)))"#;

#[test]
fn arguments_and_variables_are_any_bytes() {
    let module = Module::wat(ECHO);
    let bytes = |bytes: &'static [u8]| OsStr::from_bytes(bytes);
    let mut command = lunatic();
    command.env_clear().arg("run").arg("--no-cache").arg("--env-inherit");
    command.env(bytes(b"OUT\xfe"), bytes(b"\xff side")).env("B", "taken");
    command.arg("--env").arg(bytes(b"A\xfc=\x80=\xff")).arg(bytes(b"--env=B=\xc3("));
    command.arg(module.path()).arg(bytes(b"a\xff")).arg("--").arg(bytes(b"--\xfe\x1b"));
    let output = command.output().expect("the binary was built");
    assert!(output.status.success(), "{output:?}");
    let program = module.path();
    let name = program.file_name().expect("it has one").as_bytes();
    let expected =
        [name, b"\0a\xff\0--\xfe\x1b\0", b"OUT\xfe=\xff side\0A\xfc=\x80=\xff\0B=\xc3(\0"];
    assert_eq!(
        output.stdout.escape_ascii().to_string(),
        expected.concat().escape_ascii().to_string()
    );

    // A file is text.
    let mut command = lunatic();
    command.arg("run").arg("--print-rights").arg("--env").arg(bytes(b"A\xfc=\x80\x1b"));
    command.arg("a.wasm");
    let printed = run_command(command, b"").expect_quiet_success();
    assert!(printed.stdout.contains(r"'A\xfc' = '\x80\x1b'"), "{printed:?}");
}
