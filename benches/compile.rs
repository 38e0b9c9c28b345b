//! What each `--opt-level` costs and brings: how long a large module takes to compile, how much machine
//! code it becomes, and how long that runs, through the real binary.
//!
//! A run without the cache compiles and runs; one with the module in the cache reads and runs. The
//! difference of the two medians is the time to compile, on all cores. Figures in brackets are over
//! those of the default level. Not for comparing machines.
//!
//! `cargo bench --bench compile -- PROGRAM.wasm ...`

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const RUNS: usize = 3;

/// The default first: others are compared with it.
const LEVELS: [&str; 3] = ["speed", "speed-and-size", "none"];

/// Forms that processes get, by the option that asks for them.
const MEMORIES: [&str; 2] = ["guarded", "dense"];

fn main() {
    let is_option = |word: &OsString| word.to_string_lossy().starts_with("--");
    for program in std::env::args_os().skip(1).filter(|word| !is_option(word)) {
        measure(Path::new(&program));
    }
}

/// Of one level: a session's cache, and what was measured.
struct Level {
    name: &'static str,
    cache: TempDir,
    cold: Vec<Duration>,
    warm: Vec<Duration>,
}

fn measure(program: &Path) {
    let bytes = fs::metadata(program).map(|metadata| metadata.len());
    let bytes = bytes.unwrap_or_else(|error| panic!("reading {}: {error}", program.display()));
    println!("{}, {:.1} MB", program.display(), bytes as f64 / 1e6);
    println!(
        "{:<9} {:<16} {:>18} {:>18} {:>18}",
        "memory", "--opt-level", "compile, ms", "run, ms", "in the cache, KB"
    );
    for memory in MEMORIES {
        let mut levels = LEVELS.map(|name| Level {
            name,
            cache: TempDir::new().expect("a directory for the cache"),
            cold: Vec::new(),
            warm: Vec::new(),
        });
        for level in &levels {
            run(program, memory, level, false); // Fills the cache.
        }
        for _ in 0..RUNS {
            for level in &mut levels {
                level.cold.push(run(program, memory, level, true));
                level.warm.push(run(program, memory, level, false));
            }
        }
        let figures = levels.map(|level| (level.name, level.figures()));
        for (name, figure) in &figures {
            print!("{memory:<9} {name:<16}");
            for (value, first) in figure.iter().zip(&figures[0].1) {
                print!(" {value:>10.1} ({:>5.2})", value / first);
            }
            println!();
        }
    }
}

impl Level {
    fn figures(mut self) -> [f64; 3] {
        let (cold, warm) = (median(&mut self.cold), median(&mut self.warm));
        [(cold - warm) * 1e3, warm * 1e3, bytes_in(self.cache.path()) as f64 / 1e3]
    }
}

/// From the start of the binary to its end.
fn run(program: &Path, memory: &str, level: &Level, compiles: bool) -> Duration {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lunatic"));
    command.args(["run", "--memory", memory, "--opt-level", level.name]);
    command.env("XDG_CACHE_HOME", level.cache.path()).stdout(Stdio::null());
    if compiles {
        command.arg("--no-cache");
    }
    let begun = Instant::now();
    let status = command.arg(program).status().expect("the binary starts");
    assert!(status.success(), "{}: {status}", program.display());
    begun.elapsed()
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

/// Bytes of all files of a directory.
fn bytes_in(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).expect("the cache can be read");
    entries
        .map(|entry| entry.expect("the cache can be read"))
        .map(|entry| {
            let metadata = entry.metadata().expect("the cache can be read");
            if metadata.is_dir() { bytes_in(&entry.path()) } else { metadata.len() }
        })
        .sum()
}
