//! The signal of preemption comes at any time, to whatever thread: nothing that the host does fails for it.
//!
//! Workers get it from the runtime; here all threads of the program get it, without end, from outside.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod support;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use support::server::{Server, ask, ask_for_much};
use support::{Running, guest, lunatic, program, run_wat_with};

/// Interrupts a program until it is dropped.
struct Storm {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Storm {
    fn over(pid: u32) -> Self {
        let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, count) = (Arc::clone(&over), Arc::clone(&sent));
        let thread = thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return };
                let threads = tasks.flatten().filter_map(|t| t.file_name().to_str()?.parse().ok());
                for thread in threads {
                    send(pid, thread);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { over, sent, thread: Some(thread) }
    }

    /// Waits until so many more signals have been sent, or nobody is left who gets them.
    fn wait_for(&self, signals: u64) {
        let enough = self.sent.load(Ordering::Relaxed) + signals;
        let ended = || self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        while self.sent.load(Ordering::Relaxed) < enough && !ended() {
            thread::yield_now();
        }
    }
}

fn send(pid: u32, thread: u32) {
    // SAFETY: takes three numbers. Whoever has not asked for this signal ignores it.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, thread, libc::SIGURG) };
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "the storm failed");
    }
}

fn command(guest: std::path::PathBuf, options: &[&str]) -> Command {
    let mut command = lunatic();
    command.arg("run").args(options).arg(guest);
    command
}

#[test]
fn reads_and_writes_of_standard_streams_go_on() {
    let Some(guest) = guest("stdin_echo") else { return };
    let mut running = Running::start(command(guest, &[]));
    let storm = Storm::over(running.child.id());
    let lines: Vec<String> = (0..100).map(|number| format!("line {number}\n")).collect();
    for line in &lines {
        // The program is in the middle of a read.
        storm.wait_for(100);
        running.write(line);
    }
    drop(storm);
    let output = running.finish().expect(0);
    assert!(output.stdout.contains(&lines.concat()), "{output:#?}");
}

#[test]
fn calls_on_sockets_go_on() {
    let Some(guest) = guest("tcp_echo") else { return };
    for workers in ["1", "2"] {
        let options = ["-v", "--workers", workers, "--listen", "127.0.0.1:0"];
        let mut server = Server::that_was_given_a_socket(command(guest.clone(), &options));
        let storm = Storm::over(server.child.id());
        assert_eq!(server.line(), "ready");
        for round in 0..50 {
            let mut connection = server.connect();
            storm.wait_for(20);
            ask(&mut connection, format!("hello {round}").as_bytes());
        }
        ask_for_much(server.connect());
    }
}

#[test]
fn timers_and_sleeps_are_not_cut_short() {
    // Prints how many of its sleeps were shorter than they should be.
    let clock = r#"(module
      (import "wasi_snapshot_preview1" "clock_time_get"
        (func $clock_time_get (param i32 i64 i32) (result i32)))"#;
    let items = "(func $now (result i64)
        (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 1024)))
        (i64.load (i32.const 1024)))";
    let sleeps = support::times(
        200,
        "(local.set $begun (call $now))
         (call $sleep (i64.const 2))
         (if (i64.lt_u (i64.sub (call $now) (local.get $begun)) (i64.const 2000000))
           (then (local.set $short (i64.add (local.get $short) (i64.const 1)))))",
    );
    let body = format!(
        "(local $i i64) (local $begun i64) (local $short i64)
         {sleeps} (call $say (local.get $short))"
    );
    let text = program(items, &body).replacen("(module", clock, 1);
    let module = support::Module::wat(&text);
    let running = Running::start(command(module.path(), &["--workers", "2"]));
    let storm = Storm::over(running.child.id());
    storm.wait_for(1000);
    let output = running.finish();
    drop(storm);
    output.expect_quiet_success().prints(&[0]);
    // The same without.
    run_wat_with(&[], &text).expect_quiet_success().prints(&[0]);
}
