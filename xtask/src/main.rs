//! `cargo xtask`: the commands of a developer's day. Each gate of CI is one of them and runs on a laptop.
//!
//! Progress and headings go to stderr; stdout belongs to what is run, so that `cargo xtask demo | sort` does the expected.
#![forbid(unsafe_code)]

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use std::time::Duration;

// Reading order: what is run, then what it needs.
mod bench;
mod demo;
mod examples;
mod guests;
mod sanitize;
mod soak;
mod test;
mod tidy;

mod repository;
mod step;
mod toolchain;

/// Developer commands of the lunatic repository.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the guest programs of examples/ and tests/guests/ into target/guests/
    ///
    /// They are Rust for wasm32-wasip1. The compiler is looked for in this order: rustup's own, if the target is
    /// installed; one made by an earlier run, under the user's cache directory; one made now from Debian's packages
    /// (about two minutes; nothing is installed system-wide). Failing all, one sentence says what to install.
    Guests {
        /// Only these programs, by file name without extension
        names: Vec<String>,
    },
    /// Build the examples in C, C++, Go, Zig and AssemblyScript into target/guests/
    ///
    /// Each only if its compiler is on the machine; nothing is downloaded. Those looked for: clang-22 with its libraries
    /// for wasm32-wasi; zig, or the Python package `ziglang`; go; asc. LUNATIC_ZIG, LUNATIC_TEST_PYTHON, LUNATIC_GO and
    /// LUNATIC_ASC name those that are elsewhere.
    Examples {
        /// Only these, by the name of the file that is made
        names: Vec<String>,
    },
    /// Build everything and run the example: 1,000 processes that answer over one channel
    Demo {
        /// Worker threads of the runtime
        #[arg(long, default_value_t = 8)]
        workers: usize,
    },
    /// Run all tests: rules, guests, workspace, guest crate, loom models, docs, fuzzing, soaking
    ///
    /// Tests of examples in other languages are skipped, loudly, if there is no compiler for them.
    ///
    /// Stops at the first step that fails and names it. Without a compiler for guests the tests that need Rust guests
    /// are skipped, loudly (they see LUNATIC_SKIP_RUST_GUESTS=1).
    Test {
        /// Only rules, guests and the workspace's tests: no loom models, docs, fuzzing or soaking
        #[arg(long)]
        quick: bool,
    },
    /// Work at random for a while, then check that the counts balance and memory stayed flat
    ///
    /// Spawns, kills, traps, messages, channels, timers, growing memories and endless loops, on the real binary. At the end
    /// all processes are dead, each has ended once, and each message was received or dropped with its mailbox.
    Soak {
        /// For how long
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// For how long, in seconds instead
        #[arg(long, conflicts_with = "minutes")]
        seconds: Option<u64>,
        /// Worker threads of the runtime
        #[arg(long, default_value_t = 4)]
        workers: usize,
        /// Where the random numbers begin [default: the clock]
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Run the scheduler's unit tests and loom models, on real threads, under ThreadSanitizer
    ///
    /// Needs a nightly toolchain with the source of the standard library, which is compiled along:
    /// `rustup toolchain install nightly --profile minimal --component rust-src`.
    Sanitize,
    /// Run the benchmarks beside the peers: their published figures, or the peers themselves
    ///
    /// Rows: those of benches/processes/rows.rs, `scaling` (1, 2, 4 and 8 workers), `kernels` (what yield points and
    /// checks cost) and `compile` (what `--opt-level` costs and gives). All of them by default, which takes about half
    /// an hour and most of 24 GiB. A word that is no row's name chooses all rows that contain it.
    Bench(bench::Arguments),
    /// Check the house rules that a machine can check
    ///
    /// File headers, no unwrap in product code, no unfinished code, file length, no machine's own paths, no registry host
    /// names, and the scheduler's atomics only from its sync shim.
    Tidy,
    /// Print the path of the compiler that `guests` uses, making it if need be
    ///
    /// For work inside a guest workspace: `RUSTC=$(cargo xtask toolchain) cargo build --release`.
    Toolchain,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Guests { names } => guests::build(&names),
        Command::Examples { names } => {
            examples::print(&examples::build(&names)?);
            Ok(())
        }
        Command::Demo { workers } => demo::run(workers),
        Command::Test { quick } => test::run(quick),
        Command::Soak { minutes, seconds, workers, seed } => {
            let time = Duration::from_secs(seconds.unwrap_or(minutes * 60));
            soak::Soak { time, workers, seed }.build_and_run()
        }
        Command::Sanitize => sanitize::run(),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Tidy => tidy::run(),
        Command::Toolchain => {
            println!("{}", toolchain::find()?.rustc.display());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
