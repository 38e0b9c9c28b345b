//! `cargo xtask bench`: the benchmarks of benches/, with the guests they need.

use crate::{guests, repository, step, toolchain};
use anyhow::{Context, Result};
use clap::Args;
use std::ffi::OsString;
use std::path::{self, PathBuf};

/// The compiled guests among the rows.
const GUESTS: [&str; 3] = ["bench_live", "bench_pingpong", "bench_spawn"];

const KERNEL_WORKSPACE: &str = "benches/peers/kernels/guests";
/// Programs there.
const KERNEL_GUESTS: [&str; 4] = ["kernel_sha256", "kernel_lz4", "kernel_json", "kernel_regex"];

/// A large program there.
const LARGE_GUEST: &str = "kernel_toolbox";

/// The bench target that measures compiled code and has no rows.
const KERNELS: &str = "kernels";
/// The one that measures the compiler.
const COMPILE: &str = "compile";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Only these rows
    rows: Vec<String>,
    /// Build the peers found on this machine (Erlang, Go, tokio) and run them in turns with ours
    #[arg(long)]
    peers: bool,
    /// How often each figure is measured; the median is printed [default: 5]
    #[arg(long, value_name = "N")]
    runs: Option<u64>,
    /// Divide all counts by a power of ten, to see that everything works
    #[arg(long, value_name = "N")]
    smaller: Option<u64>,
    /// Also write everything, each run included, to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let is_target = |row: &&String| [KERNELS, COMPILE].contains(&row.as_str());
    let rows: Vec<&String> = arguments.rows.iter().filter(|row| !is_target(row)).collect();
    let all = arguments.rows.is_empty();
    if all || !rows.is_empty() {
        match toolchain::find() {
            Ok(toolchain) => {
                guests::build_with(&toolchain, &GUESTS.map(str::to_string))?;
            }
            Err(error) => eprintln!("the rows of compiled guests will fail: {error:#}"),
        }
        bench("processes", &arguments.for_processes(&rows)?)?;
    }
    if all || arguments.rows.iter().any(|row| row == COMPILE) {
        match toolchain::find() {
            Ok(toolchain) => {
                let program = guests::build_from(&toolchain, KERNEL_WORKSPACE, &[LARGE_GUEST])?;
                bench(COMPILE, &program.into_iter().map(OsString::from).collect::<Vec<_>>())?;
            }
            Err(error) => eprintln!("no program for {COMPILE}: {error:#}"),
        }
    }
    if all || arguments.rows.iter().any(|row| row == KERNELS) {
        bench(KERNELS, &[])?;
        if arguments.peers {
            kernels_beside_peers()?;
        }
    }
    Ok(())
}

/// The kernels and real crates beside wasmer's own instances and wasmtime.
fn kernels_beside_peers() -> Result<()> {
    let peers = repository::root().join("benches/peers/kernels");
    let mut modules = vec![repository::root().join("benches/kernels.wat")];
    match toolchain::find() {
        Ok(toolchain) => {
            modules.extend(guests::build_from(&toolchain, KERNEL_WORKSPACE, &KERNEL_GUESTS)?);
        }
        Err(error) => eprintln!("the kernels that are crates will be missing: {error:#}"),
    }
    let done = step::step("kernels beside peers", || {
        let mut cargo = step::cargo();
        cargo.args(["run", "--release", "--locked", "--manifest-path"]);
        cargo.arg(peers.join("Cargo.toml")).arg("--target-dir");
        cargo.arg(repository::target().join("bench-peers/kernels")).arg("--").args(&modules);
        step::run(&mut cargo)
    });
    done.map(drop)
}

impl Arguments {
    fn for_processes(&self, rows: &[&String]) -> Result<Vec<OsString>> {
        let mut words: Vec<OsString> = rows.iter().map(OsString::from).collect();
        if self.peers {
            words.push("--peers".into());
        }
        for (option, number) in [("--runs", self.runs), ("--smaller", self.smaller)] {
            if let Some(number) = number {
                words.extend([option.into(), number.to_string().into()]);
            }
        }
        if let Some(json) = &self.json {
            // Benches run in the root of the repository, wherever we are.
            let json = path::absolute(json).context("finding the place for --json")?;
            words.extend(["--json".into(), json.into()]);
        }
        Ok(words)
    }
}

fn bench(target: &str, arguments: &[OsString]) -> Result<()> {
    let done = step::step(target, || {
        let mut cargo = step::cargo();
        cargo.current_dir(repository::root());
        // All packages' features, as for the tests: nothing is compiled twice for both.
        cargo.args(["bench", "--workspace", "--bench", target, "--"]);
        step::run(cargo.args(arguments))
    });
    done.map(drop)
}
