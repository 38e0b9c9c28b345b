//! What is denied is answered with the interface's own error, told to the log once, and has done
//! nothing: each way to ask for what one has not, in each interface.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use support::{Output, guest, lunatic, program, run_command, run_wat_with, spawn_with};
use tempfile::TempDir;

/// The log tells of one denial, in these words.
#[track_caller]
fn told_once(output: Output, words: &str) -> Output {
    assert_eq!(output.stderr.matches("denied: ").count(), 1, "{words}\n{output:#?}");
    output.says(&[words])
}

/// Makes the call three times in a guest of WASI that has this directory, and is refused with 63.
#[track_caller]
fn refused(dir: &str, prepare: &str, call: &str, words: &str) {
    let Some(guest) = guest("wasi_calls") else { return };
    let mut command = lunatic();
    command.args(["run", "-v", "--dir", dir]).arg(guest);
    let script = format!("{prepare}repeat 3 {call}\n");
    let output = run_command(command, script.as_bytes()).expect(0);
    assert_eq!(output.stdout.lines().last(), Some("3x 63"), "{call}\n{output:#?}");
    told_once(output, words);
}

/// A directory with something beside it, and links in it that lead there.
fn prison() -> TempDir {
    let outside = TempDir::new().expect("a temporary directory can be made");
    let inside = outside.path().join("inside");
    fs::create_dir_all(inside.join("dir")).expect("it can be made");
    fs::write(outside.path().join("secret"), "secret").expect("it can be written");
    fs::write(inside.join("file"), "mine").expect("it can be written");
    symlink("../secret", inside.join("up")).expect("it can be made");
    symlink(outside.path().join("secret"), inside.join("absolute")).expect("it can be made");
    outside
}

#[test]
fn each_path_that_leads_out_is_told() {
    let outside = prison();
    let dir = format!("{}::/", outside.path().join("inside").display());
    for (call, path) in [
        ("path_open 3 0 ../secret 0 2 0", "../secret"),
        ("path_open 3 1 up 0 2 0", "up"),
        ("path_open 3 1 absolute 1 66 0", "absolute"),
        ("path_open 3 1 /etc/passwd 8 66 0", "/etc/passwd"),
        ("path_filestat_get 3 1 up", "up"),
        ("path_filestat_set_times 3 1 up 0 0 4", "up"),
        ("path_create_directory 3 ../new", "../new"),
        ("path_unlink_file 3 ../secret", "../secret"),
        ("path_remove_directory 3 dir/../../inside", "dir/../../inside"),
        ("path_readlink 3 absolute 100", "absolute"),
        ("path_rename 3 file 3 ../file", "../file"),
        ("path_rename 3 ../secret 3 mine", "../secret"),
        ("path_link 3 0 ../secret 3 mine", "../secret"),
        ("path_link 3 0 file 3 ../file", "../file"),
        ("path_symlink file 3 ../link", "../link"),
        ("path_symlink /etc/passwd 3 link", "/etc/passwd"),
    ] {
        refused(&dir, "", call, &format!("\"{path}\""));
    }
    refused(&dir, "path_open 3 0 dir 2 2 0\n", "path_open 4 0 ../file 0 2 0", "\"../file\"");
    refused(&dir, "", "path_open 3 0 ../a%0ab 0 2 0", "\"../a\\nb\" leads out");
    let left: Vec<_> = fs::read_dir(outside.path()).expect("it is there").collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(fs::read(outside.path().join("secret")).expect("it is there"), b"secret");
}

#[test]
fn each_change_of_what_may_only_be_read_is_told() {
    let outside = prison();
    let inside = outside.path().join("inside");
    let dir = format!("{}::/:ro", inside.display());
    let before = times(&inside);
    let words = "that may only be read";
    for call in [
        "path_open 3 0 file 0 64 0",
        "path_open 3 0 file 0 66 0",
        "path_open 3 0 file 8 2 0",
        "path_open 3 0 new 1 2 0",
        "path_open 3 0 new 5 2 0",
        "path_create_directory 3 new",
        "path_remove_directory 3 dir",
        "path_unlink_file 3 file",
        "path_rename 3 file 3 new",
        "path_link 3 0 file 3 new",
        "path_symlink file 3 new",
        "path_filestat_set_times 3 0 file 0 0 4",
        "path_filestat_set_times 3 0 file 0 0 10",
        "fd_filestat_set_times 3 0 0 4",
    ] {
        refused(&dir, "", call, words);
    }
    for call in ["fd_filestat_set_size 4 0", "fd_allocate 4 0 10", "fd_filestat_set_times 4 0 0 5"]
    {
        refused(&dir, "path_open 3 0 file 0 2 0\n", call, words);
    }
    // What is opened in it inherits that.
    for call in ["path_open 4 0 new 1 66 0", "path_create_directory 4 new", "path_rename 4 x 4 y"] {
        refused(&dir, "path_open 3 0 dir 2 2 0\n", call, words);
    }
    assert_eq!(before, times(&inside));
}

/// What is in a directory, and when it was written.
fn times(dir: &Path) -> Vec<(std::ffi::OsString, std::time::SystemTime)> {
    let entry = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.expect("it is there");
        let metadata = entry.metadata().expect("it is there");
        (entry.file_name(), metadata.modified().expect("it is known"))
    };
    let mut all: Vec<_> = fs::read_dir(dir).expect("it is there").map(entry).collect();
    all.sort();
    all
}

/// Imports beside the prelude. An error's id, or what else comes back, goes to 288; texts are at 8192
/// and 8448.
const IMPORTS: &str = r#"(module
  (import "lunatic::process" "compile_module" (func $compile (param i32 i32 i32) (result i32)))
  (import "lunatic::process" "send_exit" (func $send_exit (param i64)))
  (import "lunatic::process" "create_config" (func $config (result i64)))
  (import "lunatic::process" "config_set_max_memory" (func $set_memory (param i64 i64)))
  (import "lunatic::process" "config_set_can_compile_modules" (func $set_compile (param i64 i32)))
  (import "lunatic::process" "spawn_monitored"
    (func $spawn_monitored (param i64 i64 i64 i64 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::registry" "put_if_free" (func $put_if_free (param i32 i32 i64) (result i32)))
  (import "lunatic::wasi" "config_preopen_dir" (func $preopen (param i64 i32 i32)))
  (import "lunatic::config" "create" (func $create_config (result i64)))
  (import "lunatic::config" "copy_own" (func $copy_own (result i64)))
  (import "lunatic::config" "set_limit" (func $set_limit (param i64 i32 i64 i32) (result i32)))
  (import "lunatic::config" "set_right" (func $set_right (param i64 i32 i32 i32) (result i32)))
  (import "lunatic::config" "add_dir"
    (func $add_dir (param i64 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::config" "add_network_rule" (func $rule (param i64 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "resolve" (func $resolve (param i32 i32 i64 i32) (result i32)))
  (import "lunatic::networking" "tcp_bind"
    (func $tcp_bind (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "tcp_connect"
    (func $tcp_connect (param i32 i32 i32 i32 i32 i64 i32) (result i32)))
  (import "lunatic::networking" "tls_bind"
    (func $tls_bind (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "tls_connect"
    (func $tls_connect (param i32 i32 i32 i64 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "udp_bind"
    (func $udp_bind (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "udp_connect"
    (func $udp_connect (param i64 i32 i32 i32 i32 i32 i64 i32) (result i32)))
  (import "lunatic::networking" "udp_send_to"
    (func $udp_send_to (param i64 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::error" "string_size" (func $error_size (param i64) (result i32)))
  (import "lunatic::error" "to_string" (func $error_text (param i64 i32)))"#;

/// `127.0.0.1` port 9, as an address is passed. It is at 4096.
const NOWHERE: &str = "(i32.const 4) (i32.const 4096) (i32.const 9) (i32.const 0) (i32.const 0)";

/// A process that others might end, or name.
const VICTIM: &str = "(func (export \"victim\") (param i64)
    (call $send (local.get 0) (i64.const 1))
    (call $say (call $recv)))";

/// Runs the call three times with these options, with the texts where [`IMPORTS`] says. Another
/// process, whose id is in `$v`, must live at the end.
#[track_caller]
fn denied(options: &[&str], texts: [&str; 2], call: &str, answers: &str, words: &str) {
    let items = format!(
        "(data (i32.const 4096) \"\\7f\\00\\00\\01\")
         (data (i32.const 8192) \"{}\") (data (i32.const 8448) \"{}\") {VICTIM}
         ;; Prints a status, and behind it the error if there is one.
         (func $answer (param i32)
           (call $say32 (local.get 0))
           (if (i32.eq (local.get 0) (i32.const 1)) (then
             (call $error_text (i64.load (i32.const 288)) (i32.const 12288))
             (call $put (i32.const 12288) (call $error_size (i64.load (i32.const 288))))
             (call $put (i32.const 12287) (i32.const 1)))))
         (data (i32.const 12287) \"\\n\")",
        texts[0], texts[1]
    );
    // Where nobody may spawn there is none.
    let alone = options.contains(&"--deny=spawn");
    let (spawn, end) = if alone {
        (String::new(), "")
    } else {
        let spawn = spawn_with("victim", "(call $self)");
        let spawn = format!("(local.set $v {spawn}) (drop (call $recv))");
        (spawn, "(call $send (local.get $v) (i64.const 77)) (call $join (local.get $v))")
    };
    let body = format!(
        "(local $v i64) (local $c i64) (local.set $c (i64.const -1))
         {spawn} {call} {call} {call} {end} (call $say (i64.const 88))"
    );
    let text = program(&items, &body).replacen("(module", IMPORTS, 1);
    let mut all = vec!["-v"];
    all.extend(options);
    let output = told_once(run_wat_with(&all, &text).expect(0), words);
    let last = if alone { "88\n" } else { "77\n88\n" };
    let Some(printed) = output.stdout.strip_suffix(last) else {
        panic!("{call}: the other process has not lived\n{output:#?}");
    };
    let lines: Vec<&str> = printed.lines().collect();
    let expected: Vec<&str> = answers.split_terminator('\n').collect();
    assert_eq!(lines.len(), 3 * expected.len(), "{call}\n{output:#?}");
    for (at, line) in lines.iter().enumerate() {
        let expected = expected[at % expected.len()];
        assert!(line.contains(expected), "{call}: no {expected:?}\n{output:#?}");
    }
}

const SPAWN: &str = "(i64.const -1) (i64.const -1) (i32.const 8192) (i32.const 4)
    (i32.const 256) (i32.const 0)";

#[test]
fn what_processes_do_among_themselves() {
    let spawns = "1\nmay not spawn processes\n";
    let told = "the process may not spawn processes";
    let texts = ["none", "name"];
    let options = ["--deny=spawn"];
    denied(
        &options,
        texts,
        &format!("(call $answer (call $spawn_raw (i64.const 0) {SPAWN} (i32.const 288)))"),
        spawns,
        told,
    );
    denied(
        &options,
        texts,
        &format!(
            "(call $create (i64.const 0) (i64.const 0))
             (call $answer (call $spawn_with_message (i64.const 0) {SPAWN} (i32.const 288)))"
        ),
        spawns,
        told,
    );
    denied(
        &options,
        texts,
        &format!(
            "(call $create (i64.const 0) (i64.const 0))
             (call $answer
               (call $spawn_monitored (i64.const 0) (i64.const 1) {SPAWN} (i32.const 288)))"
        ),
        spawns,
        told,
    );
    let named = format!(
        "(call $answer (call $get_or_spawn (i32.const 8448) (i32.const 4) (i64.const 0) {SPAWN}
           (i32.const 280) (i32.const 288)))"
    );
    denied(&options, texts, &named, spawns, told);
    let told = "the process may not name processes";
    denied(&["--deny=names"], texts, &named, "1\nmay not name processes\n", told);
    denied(
        &["--deny=names"],
        texts,
        "(call $put_name (i32.const 8448) (i32.const 4) (i64.const 0) (local.get $v))
         (call $say32 (call $get_name (i32.const 8448) (i32.const 4) (i32.const 280) (i32.const 288)))",
        "1\n",
        told,
    );
    denied(
        &["--deny=names"],
        texts,
        "(call $remove_name (i32.const 8448) (i32.const 4))",
        "",
        told,
    );
    denied(
        &["--deny=names"],
        texts,
        "(call $say32 (call $put_if_free (i32.const 8448) (i32.const 4) (local.get $v)))
         (call $say32 (call $get_name (i32.const 8448) (i32.const 4) (i32.const 280) (i32.const 288)))",
        "-1\n1\n",
        told,
    );
    let told = "the process may not kill other processes";
    denied(&["--deny=kill"], texts, "(call $kill (local.get $v))", "", told);
    denied(&["--deny=kill"], texts, "(call $send_exit (local.get $v))", "", told);
    denied(
        &["--deny=compile"],
        texts,
        "(call $say32 (call $compile (i32.const 8192) (i32.const 4) (i32.const 288)))",
        "-1\n",
        "the process may not compile modules",
    );
    for make in ["$config", "$create_config", "$copy_own"] {
        let call = format!("(call $say (call {make}))");
        denied(
            &["--deny=configs"],
            texts,
            &call,
            "-1\n",
            "the process may not make configurations",
        );
    }
}

/// Whoever may not kill does not do it by dying: its links tie nobody but itself.
#[test]
fn who_may_not_kill_takes_nobody_along() {
    let fails = "(func (export \"fails\") (param i64)
        (call $link (i64.const 5) (local.get 0))
        (call $link (i64.const 6) (local.get 0))
        unreachable)";
    let waits = "(func (export \"waits\") (param i64)
        (call $link (i64.const 5) (local.get 0))
        (drop (call $recv)))";
    // The victim lives until it is told to end; with the right, it dies and is told nothing.
    let body = |told: &str| {
        format!(
            "(local $v i64) (local $f i64)
             (call $die_with_links (i32.const 0))
             (local.set $v {}) (drop (call $recv))
             (call $monitor (local.get $v))
             (local.set $f {}) (call $join (local.get $f))
             {told} (drop (call $notice)) (call $say32 (call $kind))",
            spawn_with("victim", "(call $self)"),
            spawn_with("fails", "(local.get $v)"),
        )
    };
    let items = format!("{VICTIM} {fails}");
    let text = program(&items, &body("(call $send (local.get $v) (i64.const 77))"));
    let output = run_wat_with(&["-v", "--deny=kill"], &text).expect(0).prints(&[77, 0]);
    told_once(output, "the process may not kill other processes");
    let output = run_wat_with(&["-v"], &program(&items, &body(""))).expect(0);
    assert!(output.numbers()[0] != 0, "a link that was made with the right\n{output:#?}");
    // The other way the link holds: who made it dies with the other.
    let body = format!(
        "(local $v i64) (local $w i64)
         (call $die_with_links (i32.const 0))
         (local.set $v {})
         (local.set $w {})
         (call $monitor (local.get $w))
         (call $send (local.get $v) (i64.const 0))
         (drop (call $notice)) (call $say (call $ended)) (call $say (local.get $w))
         (call $say32 (call $kind))",
        spawn_with("dies", "(i64.const 0)"),
        spawn_with("waits", "(local.get $v)"),
    );
    let dies = "(func (export \"dies\") (param i64) (drop (call $recv)) unreachable)";
    let text = program(&format!("{dies} {waits}"), &body);
    let output = run_wat_with(&["-v", "--deny=kill"], &text).expect(0);
    let numbers = output.numbers();
    assert_eq!(numbers[0], numbers[1], "{output:#?}");
    assert_ne!(numbers[2], 0, "it has died with the link\n{output:#?}");
}

#[test]
fn configurations_that_are_more_than_their_maker_has() {
    let place = TempDir::new().expect("a temporary directory can be made");
    fs::create_dir(place.path().join("sub")).expect("it can be made");
    let dir = format!("--dir={}::/data", place.path().display());
    let made = "(local.set $c (call $create_config))";
    let path = |at: usize, len: usize| format!("(i32.const {at}) (i32.const {len})");
    let texts = ["/etc", "/data/../x"];
    let own = ["--max-memory=1M", "--deny=compile", "--allow-net=connect:10.0.0.0/8:*", &dir];
    for (call, answer, words) in [
        ("(call $set_memory (local.get $c) (i64.const 9999999))".to_string(), "", "max-memory"),
        ("(call $set_compile (local.get $c) (i32.const 1))".to_string(), "", "compile modules"),
        (
            "(call $answer (call $set_limit (local.get $c) (i32.const 0) (i64.const -1)
               (i32.const 288)))"
                .to_string(),
            "1\nmax-memory\n",
            "max-memory = no limit",
        ),
        (
            "(call $answer (call $set_right (local.get $c) (i32.const 1) (i32.const 1)
               (i32.const 288)))"
                .to_string(),
            "1\ncompile modules\n",
            "compile modules",
        ),
        (format!("(call $preopen (local.get $c) {})", path(8192, 4)), "", "the directory \"/etc\""),
        (
            format!(
                "(call $answer (call $add_dir (local.get $c) {} {} (i32.const 1) (i32.const 288)))",
                path(8448, 10),
                path(8192, 4)
            ),
            "1\nleads out\n",
            "the directory \"/data/../x\": it leads out",
        ),
    ] {
        denied(&own, texts, &format!("{made} {call}"), answer, words);
    }
    let call = format!(
        "{made} (call $answer (call $rule (local.get $c) {} (i32.const 288)))",
        path(8192, 19)
    );
    let texts = ["connect:11.0.0.1:80", ""];
    denied(&own, texts, &call, "1\n\"connect:11.0.0.1:80\"\n", "\"connect:11.0.0.1:80\"");
}

#[test]
fn the_network() {
    let texts = ["localhost:9", "localhost"];
    let connects = "the process may not connect to 127.0.0.1:9";
    let listens = "the process may not listen at 127.0.0.1:9";
    for (call, words) in [
        (
            format!("(call $answer (call $tcp_connect {NOWHERE} (i64.const 9) (i32.const 288)))"),
            connects,
        ),
        (format!("(call $answer (call $tcp_bind {NOWHERE} (i32.const 288)))"), listens),
        (format!("(call $answer (call $udp_bind {NOWHERE} (i32.const 288)))"), listens),
        (
            format!(
                "(call $answer (call $tls_bind {NOWHERE} (i32.const 288) (i32.const 0)
                   (i32.const 0) (i32.const 0) (i32.const 0)))"
            ),
            listens,
        ),
        (
            "(call $answer (call $resolve (i32.const 8192) (i32.const 11) (i64.const -1)
               (i32.const 288)))"
                .to_string(),
            "may not look up \"localhost\"",
        ),
        (
            "(call $answer (call $tls_connect (i32.const 8448) (i32.const 9) (i32.const 9)
               (i64.const -1) (i32.const 288) (i32.const 0) (i32.const 0)))"
                .to_string(),
            "may not look up \"localhost\"",
        ),
    ] {
        denied(&[], texts, &call, &format!("1\n{words}\n"), words);
    }
    // Through a socket that it may have, to an address that it may not reach; also as a name's.
    let any = "(i32.const 4) (i32.const 4100) (i32.const 0) (i32.const 0) (i32.const 0)";
    let socket = format!("(if (call $udp_bind {any} (i32.const 296)) (then unreachable))");
    for call in [
        format!(
            "(call $answer (call $udp_connect (i64.load (i32.const 296)) {NOWHERE} (i64.const 9)
               (i32.const 288)))"
        ),
        format!(
            "(call $answer (call $udp_send_to (i64.load (i32.const 296)) (i32.const 0)
               (i32.const 4) {NOWHERE} (i32.const 288)))"
        ),
    ] {
        let own = ["--allow-net=connect:10.0.0.1:53"];
        denied(&own, texts, &format!("{socket} {call}"), &format!("1\n{connects}\n"), connects);
    }
    let call = "(call $answer (call $tls_connect (i32.const 8448) (i32.const 9) (i32.const 9)
       (i64.const -1) (i32.const 288) (i32.const 0) (i32.const 0)))";
    let words = "the process may not connect to ";
    denied(&["--allow-net=connect:10.0.0.1:*"], texts, call, &format!("1\n{words}\n"), words);
}
