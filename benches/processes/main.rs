//! Processes through the real binary: spawning, messages, many alive, yielding, timers under load.
//!
//! Each row is a guest that times itself, run `RUNS` times in a process of its own; the median is
//! printed beside figures of peers that were measured on a machine of the developers' kind (two
//! virtual cores; see the README). Rows with "Rust" are compiled guests of tests/guests; they need
//! `cargo xtask guests` before. The numbers are not for comparing machines.
//!
//! `cargo bench --bench processes [-- ROW…]`

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs};

const RUNS: usize = 5;
const WORKERS: &str = "2";

/// What all WAT guests share.
const PRELUDE: &str = include_str!("guest.wat");

/// A bench with a guest in text form.
struct Row {
    name: &'static str,
    /// What the count in the guest's report is of.
    per: &'static str,
    count: u64,
    body: &'static str,
    peers: &'static str,
}

const ROWS: &[Row] = &[
    Row {
        name: "spawn",
        per: "process, spawned and finished",
        count: 1_000_000,
        body: r"
          (local.set $t (call $now))
          (loop $next
            (local.set $p (call $spawn (i32.const 512) (i32.const 3) (i32.const 0) (i64.const 0) (i64.const 0)))
            (br_if $next (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
          (block $gone (loop $wait
            (br_if $gone (i32.eqz (call $exists (local.get $p))))
            (call $sleep (i64.const 1))
            (br $wait)))
          (call $nanoseconds (i64.sub (call $now) (local.get $t)))",
        peers: "smol 409, Go 580, tokio 1,090, BEAM 1,550, RUSM 11,200, Lunatic 0.13 127,000",
    },
    Row {
        name: "ping-pong",
        per: "round trip",
        count: 1_000_000,
        body: r"
          (local.set $p (call $spawn (i32.const 544) (i32.const 4) (i32.const 2) (call $self) (local.get $n)))
          (local.set $t (call $now))
          (loop $next
            (call $send (local.get $p) (local.get $n))
            (if (i64.ne (call $receive) (local.get $n)) (then unreachable))
            (br_if $next (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
          (call $nanoseconds (i64.sub (call $now) (local.get $t)))",
        peers: "may 223, tokio 270, Go 343, BEAM 622, RUSM 1,720, Lunatic 0.13 2,200",
    },
    Row {
        name: "yield",
        per: "yield of one of four processes",
        count: 1_000_000,
        body: r"
          (local.set $t (call $now))
          (local.set $i (i32.const 4))
          (loop $next
            (drop (call $spawn (i32.const 576) (i32.const 7) (i32.const 2) (call $self)
              (i64.div_u (local.get $n) (i64.const 4))))
            (br_if $next (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
          (local.set $i (i32.const 4))
          (loop $wait
            (drop (call $receive))
            (br_if $wait (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
          (call $nanoseconds (i64.sub (call $now) (local.get $t)))",
        peers: "in sum over two cores: may 23, BEAM 89, smol 104, Go 119, tokio 146",
    },
];

/// 100,000 processes that wait in receive; measured from outside while they do.
const LIVE: u64 = 100_000;
const LIVE_BODY: &str = r"
  (call $mark)
  (call $sleep (i64.const 300))
  (local.set $t (call $now))
  (loop $next
    (drop (call $spawn (i32.const 528) (i32.const 4) (i32.const 1) (call $self) (i64.const 0)))
    (br_if $next (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
  (local.set $n (i64.const 100000))
  (loop $wait
    (drop (call $receive))
    (br_if $wait (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
  (call $nanoseconds (i64.sub (call $now) (local.get $t)))
  (call $mark)
  (call $sleep (i64.const 1000))";

/// A process that sleeps 1 ms, 2,000 times, among 8 that loop for ever.
const TIMER_BODY: &str = r"
  (local.set $i (i32.const 8))
  (loop $next
    (drop (call $spawn (i32.const 560) (i32.const 4) (i32.const 0) (i64.const 0) (i64.const 0)))
    (br_if $next (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
  (loop $tick
    (local.set $t (call $now))
    (call $sleep (i64.const 1))
    (call $late (i64.sub (i64.sub (call $now) (local.get $t)) (i64.const 1000000)))
    (br_if $tick (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))";

fn main() {
    let wanted: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted =
        |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    println!("{}", machine());
    let directory = env::temp_dir().join(format!("lunatic-bench-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory for the guests");
    for row in ROWS.iter().filter(|row| is_wanted(row.name)) {
        let guest = write_guest(&directory, row.name, row.count, row.body);
        let times = (0..RUNS).map(|_| run_timed(&guest)).collect();
        println!(
            "{:<12} {:>9.1} ns each {} (WAT)\n{:<12} peers: {}",
            row.name,
            median(times) as f64 / row.count as f64,
            row.per,
            "",
            row.peers
        );
    }
    if is_wanted("rust") {
        rust_guests();
    }
    if is_wanted("live") {
        live(&write_guest(&directory, "live", LIVE, LIVE_BODY));
    }
    if is_wanted("timer") {
        timer(&write_guest(&directory, "timer", 2_000, TIMER_BODY));
    }
    // Left-over guests in the temporary directory harm nobody.
    let _ = fs::remove_dir_all(&directory);
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "machine{model}, {} cores, {WORKERS} workers, median of {RUNS}; load {}",
        std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        load.trim()
    )
}

fn write_guest(directory: &Path, name: &str, count: u64, body: &str) -> PathBuf {
    let mut text = String::from("(module\n");
    let _ = write!(
        text,
        "{PRELUDE}\n(func (export \"_start\") (local $t i64) (local $n i64) (local $p i64) (local $i i32)
  (local.set $n (i64.const {count})){body}))"
    );
    let path = directory.join(format!("{name}.wat"));
    fs::write(&path, text).expect("the guest is written");
    path
}

fn lunatic(guest: &Path, args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_lunatic"))
        .arg("run")
        .arg(guest)
        .args(["--workers", WORKERS, "--"])
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .expect("lunatic starts")
}

/// The lines that a guest prints, and its good end.
fn lines(guest: &Path, args: &[&str]) -> Vec<String> {
    let output = lunatic(guest, args).wait_with_output().expect("lunatic ends");
    assert!(output.status.success(), "{}: {}", guest.display(), output.status);
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_string).collect()
}

fn run_timed(guest: &Path) -> u64 {
    lines(guest, &[])
        .iter()
        .find_map(|line| line.strip_prefix("INNS "))
        .and_then(|number| number.parse().ok())
        .expect("the guest reports a time")
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

fn rust_guests() {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/guests");
    for (name, count) in
        [("bench_spawn", "200000"), ("bench_pingpong", "500000"), ("bench_live", "100000")]
    {
        let path = guests.join(format!("{name}.wasm"));
        if !path.exists() {
            println!("{name:<12} left out: run `cargo xtask guests` first");
            continue;
        }
        // Each prints its own figures; of several runs the last is as good as any.
        for line in lines(&path, &[count]) {
            println!("{:<12} {line} (Rust)", "");
        }
    }
}

/// Resident and page-table bytes of another process.
fn memory_of(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let kilobytes = |key: &str| -> u64 {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    };
    (kilobytes("VmRSS:") + kilobytes("VmPTE:")) * 1024
}

fn live(guest: &Path) {
    let (mut times, mut sizes) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let mut child = lunatic(guest, &[]);
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut before = None;
        for line in output.lines().map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("INNS ") {
                times.push(number.parse().expect("a number"));
            } else if let Some(empty) = before {
                sizes.push(memory_of(&child).saturating_sub(empty));
            } else {
                before = Some(memory_of(&child));
            }
        }
        assert!(child.wait().is_ok_and(|status| status.success()));
    }
    println!(
        "live         {LIVE} blocked in receive: {:.0} ns from spawn to blocked, {:.0} bytes each \
         (resident + page tables; WAT, one touched page)\n{:<12} peers: BEAM 2,731 bytes and 3,300 \
         ns, Go 2,892, wasmtime with slabs of its own 14,600, Lunatic 0.13 38,000 and 131,000 ns",
        median(times) as f64 / LIVE as f64,
        median(sizes) as f64 / LIVE as f64,
        ""
    );
}

fn timer(guest: &Path) {
    let mut late: Vec<u64> = lines(guest, &[])
        .iter()
        .filter_map(|line| line.strip_prefix("LATE ")?.parse().ok())
        .collect();
    late.sort_unstable();
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize] as f64 / 1e6;
    println!(
        "timer        1 ms among 8 endless loops, late by: p50 {:.3}, p99 {:.3}, max {:.3} ms\n\
         {:<12} peers: BEAM 1.0 / 1.02 / 3.4, Lunatic 0.13 1.0 / 1.6 / 5.6, Go 19 / 39 / 39",
        at(0.5),
        at(0.99),
        at(1.0),
        ""
    );
}
