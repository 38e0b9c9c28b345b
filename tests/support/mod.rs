//! The harness of the tests: runs the real binary, and writes small guests as text.
//!
//! There is one limit of time, far above anything a test needs: it only makes a hanging test end.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod calls;
pub(crate) mod imports;
pub(crate) mod seed;
pub(crate) mod server;

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// A run that takes longer hangs, and is killed.
const HANG_GUARD: Duration = Duration::from_secs(120);

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

impl Output {
    /// The run ended with this code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert!(self.code == code, "exit code {}, expected {code}\n{self:#?}", self.code);
        self
    }

    /// The run ended well, and nobody complained.
    #[track_caller]
    pub(crate) fn expect_quiet_success(self) -> Self {
        let output = self.expect(0);
        assert!(output.stderr.is_empty(), "something was said on stderr\n{output:#?}");
        output
    }

    /// stderr contains all of these.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "stderr does not say {text:?}\n{self:#?}");
        }
        self
    }

    /// The module was refused with one line that contains these.
    #[track_caller]
    pub(crate) fn expect_refused(self, texts: &[&str]) -> Self {
        let output = self.expect(3).says(texts);
        assert!(output.stdout.is_empty(), "stdout belongs to the guest\n{output:#?}");
        assert!(
            output.stderr.starts_with("lunatic: ") && output.stderr.lines().count() == 1,
            "not one line that begins with the program's name\n{output:#?}"
        );
        output
    }

    /// Numbers that the guest printed, one a line.
    #[track_caller]
    pub(crate) fn numbers(&self) -> Vec<i64> {
        let parse = |line: &str| line.parse().unwrap_or_else(|_| panic!("no number: {self:#?}"));
        self.stdout.lines().map(parse).collect()
    }

    #[track_caller]
    pub(crate) fn prints(self, lines: &[i64]) -> Self {
        assert_eq!(self.numbers(), lines, "\n{self:#?}");
        self
    }
}

/// The binary under test, with a cache that the tests share and no configuration from outside.
pub(crate) fn lunatic() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lunatic"));
    command.env_remove("LUNATIC_LOG").env("NO_COLOR", "1");
    command.env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
    command
}

/// Runs `lunatic` with these arguments and this input to its end.
#[track_caller]
pub(crate) fn run<A: AsRef<OsStr>>(args: &[A], stdin: &[u8]) -> Output {
    let mut command = lunatic();
    command.args(args);
    run_command(command, stdin)
}

/// The same for a command that was prepared further.
#[track_caller]
pub(crate) fn run_command(command: Command, stdin: &[u8]) -> Output {
    let mut running = Running::start(command);
    let mut pipe = running.child.stdin.take().expect("it is a pipe");
    let input = stdin.to_vec();
    // A guest need not read its input: an error here is no failure.
    thread::spawn(move || drop(pipe.write_all(&input)));
    running.finish()
}

/// The same for one whose output leads elsewhere than to us; what it says on stderr is returned, unless
/// that leads elsewhere, too.
#[track_caller]
pub(crate) fn run_into(mut command: Command, stdout: Stdio, stderr: Option<Stdio>) -> Output {
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr.unwrap_or_else(Stdio::piped));
    let mut child = command.spawn().expect("the binary was built");
    let stderr = child.stderr.take();
    let stderr = thread::spawn(move || stderr.map(|mut pipe| collect(&mut pipe, |_| {})));
    // What is passed on is closed here, that nobody but the child has it.
    drop(command);
    let (status, hung) = wait(child);
    let stderr = stderr.join().expect("it only reads").unwrap_or_default();
    let output = Output {
        stdout: String::new(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        code: status.code().unwrap_or(-1),
    };
    assert!(!hung && status.code().is_some(), "it hung or crashed: {status}\n{output:#?}");
    output
}

/// A pipe that nobody reads from.
pub(crate) fn broken_pipe() -> Stdio {
    let (_reader, writer) = std::io::pipe().expect("a pipe can be made");
    writer.into()
}

/// A disk that is full.
pub(crate) fn full_disk() -> Stdio {
    std::fs::File::create("/dev/full").expect("Linux has it").into()
}

/// Runs a guest written as text, without arguments and input.
#[track_caller]
pub(crate) fn run_wat(text: &str) -> Output {
    run_wat_with(&[], text)
}

/// Runs a guest written as text, with options for `lunatic run`.
#[track_caller]
pub(crate) fn run_wat_with(options: &[&str], text: &str) -> Output {
    let file = Module::wat(text);
    let mut command = lunatic();
    command.arg("run").args(options).arg(file.path());
    run_command(command, b"")
}

/// Runs a compiled Rust guest; `None` if it is not there and need not be.
#[track_caller]
pub(crate) fn run_guest(
    options: &[&str],
    name: &str,
    args: &[&str],
    stdin: &[u8],
) -> Option<Output> {
    let guest = guest(name)?;
    let mut command = lunatic();
    command.arg("run").args(options).arg(guest).arg("--").args(args);
    Some(run_command(command, stdin))
}

/// A compiled Rust guest. `None`, and a word about it, if `LUNATIC_SKIP_RUST_GUESTS` is 1 and it is
/// not there.
#[track_caller]
pub(crate) fn guest(name: &str) -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/guests");
    let path = directory.join(name).with_extension("wasm");
    if path.is_file() {
        return Some(path);
    }
    if std::env::var_os("LUNATIC_SKIP_RUST_GUESTS").is_some_and(|value| value == "1") {
        eprintln!("SKIPPED: there is no \"{}\"", path.display());
        return None;
    }
    panic!("there is no \"{}\": run `cargo xtask guests`", path.display());
}

/// A child whose output is collected while it runs.
pub(crate) struct Running {
    pub(crate) child: Child,
    stdout: Option<thread::JoinHandle<Vec<u8>>>,
    stderr: thread::JoinHandle<Vec<u8>>,
    /// What the child has printed so far, as it comes.
    pieces: mpsc::Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

impl Running {
    /// Starts a command with pipes everywhere.
    #[track_caller]
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary was built");
        let (sender, pieces) = mpsc::channel();
        let mut stdout = child.stdout.take().expect("it is a pipe");
        let stdout =
            thread::spawn(move || collect(&mut stdout, |piece| drop(sender.send(piece.to_vec()))));
        let mut stderr = child.stderr.take().expect("it is a pipe");
        let stderr = thread::spawn(move || collect(&mut stderr, |_| {}));
        Self { child, stdout: Some(stdout), stderr, pieces, seen: Vec::new() }
    }

    /// Waits until the child has printed this, for the first time or already.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.seen).contains(text) {
            match self.pieces.recv_timeout(HANG_GUARD) {
                Ok(piece) => self.seen.extend(piece),
                Err(error) => {
                    self.signal(libc::SIGKILL);
                    let seen = String::from_utf8_lossy(&self.seen);
                    panic!("{text:?} was never printed ({error}), but {seen:?}");
                }
            }
        }
    }

    /// Gives the child input.
    #[track_caller]
    pub(crate) fn write(&mut self, text: &str) {
        let pipe = self.child.stdin.as_mut().expect("stdin is open");
        pipe.write_all(text.as_bytes()).expect("the child reads");
    }

    /// Sends a signal, as a terminal does at Ctrl-C.
    pub(crate) fn signal(&self, signal: i32) {
        send_signal(&self.child, signal);
    }

    /// Waits for the end. Input that nobody has written ends here.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Output {
        drop(self.child.stdin.take());
        let (status, hung) = wait(self.child);
        let stdout = self.stdout.take().map(|thread| thread.join().expect("it only reads"));
        let stderr = self.stderr.join().expect("it only reads");
        let output = Output {
            stdout: String::from_utf8_lossy(&stdout.unwrap_or_default()).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            code: status.code().unwrap_or(-1),
        };
        assert!(!hung, "killed, as it ran for more than {HANG_GUARD:?}\n{output:#?}");
        assert!(status.code().is_some(), "the runtime crashed: {status}\n{output:#?}");
        assert_no_host_bug(&output);
        output
    }
}

/// Waits for a child's end; whether it had to be killed.
pub(crate) fn wait(mut child: Child) -> (std::process::ExitStatus, bool) {
    let (done, is_done) = mpsc::channel();
    thread::scope(|scope| {
        let pid = child.id();
        let waiting = scope.spawn(move || {
            let status = child.wait();
            let _ = done.send(());
            status.expect("it is our child")
        });
        let hung = is_done.recv_timeout(HANG_GUARD).is_err();
        if hung {
            send_signal_to(pid, libc::SIGKILL);
        }
        (waiting.join().expect("it only waits"), hung)
    })
}

/// Whatever a guest does, the runtime's own code must not fail.
#[track_caller]
fn assert_no_host_bug(output: &Output) {
    for sign in
        ["bug in lunatic", "panicked at host-api", "panicked at engine", "panicked at sched"]
    {
        assert!(!output.stderr.contains(sign), "the runtime failed\n{output:#?}");
    }
}

fn collect(from: &mut impl Read, mut piece: impl FnMut(&[u8])) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 64 * 1024]);
    loop {
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => return all,
            Ok(count) => {
                piece(&buffer[..count]);
                all.extend_from_slice(&buffer[..count]);
            }
        }
    }
}

pub(crate) fn send_signal(child: &Child, signal: i32) {
    send_signal_to(child.id(), signal);
}

fn send_signal_to(pid: u32, signal: i32) {
    let pid = libc::pid_t::try_from(pid).expect("the system's ids fit");
    // SAFETY: takes two numbers. The child is not reaped yet, so that the id is still its own.
    unsafe { libc::kill(pid, signal) };
}

/// A module in a directory of its own, removed in the end.
pub(crate) struct Module {
    directory: TempDir,
    name: &'static str,
}

impl Module {
    pub(crate) fn wat(text: &str) -> Self {
        Self::new("guest.wat", text.as_bytes())
    }

    pub(crate) fn wasm(bytes: &[u8]) -> Self {
        Self::new("guest.wasm", bytes)
    }

    fn new(name: &'static str, bytes: &[u8]) -> Self {
        let directory = TempDir::new().expect("a temporary directory can be made");
        std::fs::write(directory.path().join(name), bytes).expect("a file can be written");
        Self { directory, name }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join(self.name)
    }
}

/// A guest of two pages of memory with [`PRELUDE`], these items, and `_start` with this body.
pub(crate) fn program(items: &str, body: &str) -> String {
    format!("(module {PRELUDE}\n{items}\n(func $main (export \"_start\") {body}))")
}

/// WAT that spawns an exported function (whose name has at most 8 bytes) and leaves its id.
pub(crate) fn spawn(name: &str) -> String {
    format!("(call $spawn_named {} (i32.const 0))", literal(name))
}

/// The same for a function of one `i64`.
pub(crate) fn spawn_with(name: &str, argument: &str) -> String {
    format!("(call $argument {argument}) (call $spawn_named {} (i32.const 17))", literal(name))
}

/// The same as [`spawn`], linked with this tag.
pub(crate) fn spawn_linked(name: &str, tag: i64) -> String {
    format!("(call $spawn_linked {} (i32.const 0) (i64.const {tag}))", literal(name))
}

/// The same as [`spawn_with`], linked with this tag.
pub(crate) fn spawn_linked_with(name: &str, argument: &str, tag: i64) -> String {
    format!(
        "(call $argument {argument})
         (call $spawn_linked {} (i32.const 17) (i64.const {tag}))",
        literal(name)
    )
}

fn literal(name: &str) -> String {
    let mut bytes = [0; 8];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    format!("(i64.const {}) (i32.const {})", i64::from_le_bytes(bytes), name.len())
}

/// WAT that does something so often, counting `$i` from 0.
pub(crate) fn times(count: u64, body: &str) -> String {
    format!(
        "(local.set $i (i64.const 0))
         (loop $again {body}
           (local.set $i (i64.add (local.get $i) (i64.const 1)))
           (br_if $again (i64.lt_u (local.get $i) (i64.const {count}))))"
    )
}

/// What most guests need. Memory below 1024 belongs to these functions.
const PRELUDE: &str = r#"
  (import "lunatic::process" "spawn"
    (func $spawn_raw (param i64 i64 i64 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::process" "spawn_with_message"
    (func $spawn_with_message (param i64 i64 i64 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::process" "process_id" (func $self (result i64)))
  (import "lunatic::process" "sleep_ms" (func $sleep (param i64)))
  (import "lunatic::process" "kill" (func $kill (param i64)))
  (import "lunatic::process" "exists" (func $exists (param i64) (result i32)))
  (import "lunatic::process" "link" (func $link (param i64 i64)))
  (import "lunatic::process" "unlink" (func $unlink (param i64)))
  (import "lunatic::process" "monitor" (func $monitor (param i64)))
  (import "lunatic::process" "stop_monitoring" (func $stop_monitoring (param i64)))
  (import "lunatic::process" "die_when_link_dies" (func $die_with_links (param i32)))
  (import "lunatic::process" "get_or_spawn"
    (func $get_or_spawn (param i32 i32 i64 i64 i64 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::registry" "put" (func $put_name (param i32 i32 i64 i64)))
  (import "lunatic::registry" "get" (func $get_name (param i32 i32 i32 i32) (result i32)))
  (import "lunatic::registry" "remove" (func $remove_name (param i32 i32)))
  (import "lunatic::message" "get_process_id" (func $died (result i64)))
  (import "lunatic::message" "get_exit_reason" (func $exit_reason (param i32)))
  (import "lunatic::message" "get_exit_text" (func $exit_text (param i32 i32) (result i32)))
  (import "lunatic::message" "create_data" (func $create (param i64 i64)))
  (import "lunatic::message" "write_data" (func $write (param i32 i32) (result i32)))
  (import "lunatic::message" "read_data" (func $read (param i32 i32) (result i32)))
  (import "lunatic::message" "seek_data" (func $seek (param i64)))
  (import "lunatic::message" "data_size" (func $size (result i64)))
  (import "lunatic::message" "get_tag" (func $tag (result i64)))
  (import "lunatic::message" "push_channel" (func $push_channel (param i64) (result i64)))
  (import "lunatic::message" "take_channel" (func $take_channel (param i64) (result i64)))
  (import "lunatic::message" "send" (func $send_raw (param i64) (result i32)))
  (import "lunatic::message" "receive" (func $receive (param i32 i32 i64) (result i32)))
  (import "lunatic::channel" "open" (func $open (param i64) (result i64)))
  (import "lunatic::channel" "close" (func $close (param i64)))
  (import "lunatic::channel" "clone_handle" (func $clone_handle (param i64) (result i64)))
  (import "lunatic::channel" "send" (func $channel_send (param i64 i64) (result i32)))
  (import "lunatic::channel" "receive" (func $channel_receive (param i64 i64) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (func $yield (call $sleep (i64.const 0)))
  ;; The argument of the next spawn: a record of 17 bytes at 256.
  (func $argument (param i64)
    (i32.store8 (i32.const 256) (i32.const 0x7e))
    (i64.store (i32.const 257) (local.get 0))
    (i64.store (i32.const 265) (i64.const 0)))
  (func $spawn_named (param $name i64) (param $len i32) (param $params i32) (result i64)
    (i64.store (i32.const 240) (local.get $name))
    (if (call $spawn_raw (i64.const 0) (i64.const -1) (i64.const -1)
          (i32.const 240) (local.get $len) (i32.const 256) (local.get $params) (i32.const 288))
      (then unreachable))
    (i64.load (i32.const 288)))
  (func $spawn_linked (param $name i64) (param $len i32) (param $params i32) (param $tag i64)
    (result i64)
    (i64.store (i32.const 240) (local.get $name))
    (if (call $spawn_raw (local.get $tag) (i64.const -1) (i64.const -1)
          (i32.const 240) (local.get $len) (i32.const 256) (local.get $params) (i32.const 288))
      (then unreachable))
    (i64.load (i32.const 288)))
  ;; Waits for a notice: 1 or 2, as `receive` answers; then the parts of the reason.
  (func $notice (result i32) (local $what i32)
    (local.set $what (call $receive (i32.const 0) (i32.const 0) (i64.const -1)))
    (if (local.get $what) (then (call $exit_reason (i32.const 320))))
    (local.get $what))
  (func $kind (result i32) (i32.load (i32.const 320)))
  (func $first_kind (result i32) (i32.load (i32.const 324)))
  (func $ended (result i64) (i64.load (i32.const 328)))
  (func $first (result i64) (i64.load (i32.const 336)))
  (func $detail (result i64) (i64.load (i32.const 344)))
  (func $died_with (result i64) (i64.load (i32.const 352)))
  ;; A message of one number is the current one.
  (func $number (param $tag i64) (param $value i64)
    (call $create (local.get $tag) (i64.const 8))
    (i64.store (i32.const 16) (local.get $value))
    (if (i32.ne (call $write (i32.const 16) (i32.const 8)) (i32.const 8)) (then unreachable)))
  (func $value (result i64)
    (if (i32.ne (call $read (i32.const 24) (i32.const 8)) (i32.const 8)) (then unreachable))
    (i64.load (i32.const 24)))
  (func $send_tagged (param $to i64) (param $tag i64) (param $value i64)
    (call $number (local.get $tag) (local.get $value))
    (drop (call $send_raw (local.get $to))))
  (func $send (param $to i64) (param $value i64)
    (call $send_tagged (local.get $to) (i64.const 0) (local.get $value)))
  (func $recv (result i64)
    (if (call $receive (i32.const 0) (i32.const 0) (i64.const -1)) (then unreachable))
    (call $value))
  (func $recv_tagged (param $tag i64) (result i64)
    (i64.store (i32.const 32) (local.get $tag))
    (if (call $receive (i32.const 32) (i32.const 1) (i64.const -1)) (then unreachable))
    (call $value))
  ;; Lets others run until the process has ended.
  (func $join (param $process i64)
    (loop $again
      (call $yield)
      (br_if $again (call $exists (local.get $process)))))
  (func $for_ever (loop $again (br $again)))
  (func $put (param $at i32) (param $len i32)
    (i32.store (i32.const 64) (local.get $at))
    (i32.store (i32.const 68) (local.get $len))
    (if (call $fd_write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 72))
      (then unreachable)))
  ;; Prints a signed number on a line of its own.
  (func $say (param $value i64) (local $at i32) (local $negative i32)
    (local.set $at (i32.const 200))
    (i32.store8 (i32.const 200) (i32.const 10))
    (if (i64.lt_s (local.get $value) (i64.const 0))
      (then
        (local.set $negative (i32.const 1))
        (local.set $value (i64.sub (i64.const 0) (local.get $value)))))
    (loop $digits
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $value) (i64.const 10)))))
      (local.set $value (i64.div_u (local.get $value) (i64.const 10)))
      (br_if $digits (i64.ne (local.get $value) (i64.const 0))))
    (if (local.get $negative)
      (then
        (local.set $at (i32.sub (local.get $at) (i32.const 1)))
        (i32.store8 (local.get $at) (i32.const 45))))
    (call $put (local.get $at) (i32.sub (i32.const 201) (local.get $at))))
  (func $say32 (param i32) (call $say (i64.extend_i32_s (local.get 0))))
"#;

/// Imports for reading errors, which the prelude lacks.
pub(crate) const ERRORS: &str = r#"
  (import "lunatic::error" "string_size" (func $error_size (param i64) (result i32)))
  (import "lunatic::error" "to_string" (func $error_text (param i64 i32)))
  (import "lunatic::error" "drop" (func $error_drop (param i64)))"#;

/// With [`ERRORS`]: `$try` spawns what is named "deaf" and answers 1, or prints why not and answers 0.
pub(crate) const TRY: &str = r#"
  (func (export "deaf") (call $sleep (i64.const -1)))
  (func $try (result i32) (local $error i64) (local $size i32)
    (i64.store (i32.const 240) (i64.const 0x66616564))
    (if (i32.eqz (call $spawn_raw (i64.const 0) (i64.const -1) (i64.const -1)
          (i32.const 240) (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 288)))
      (then (return (i32.const 1))))
    (local.set $error (i64.load (i32.const 288)))
    (local.set $size (call $error_size (local.get $error)))
    (call $error_text (local.get $error) (i32.const 1024))
    (i32.store8 (i32.add (i32.const 1024) (local.get $size)) (i32.const 10))
    (call $put (i32.const 1024) (i32.add (local.get $size) (i32.const 1)))
    (call $error_drop (local.get $error))
    (i32.const 0))"#;
