//! `cargo xtask sanitize`: ThreadSanitizer over what it can follow.
//!
//! It sees races of threads, and knows neither fibers, which change stacks under it, nor fences. So it gets
//! the scheduler's unit tests, and the loom models on real threads, many times over: no fiber runs in
//! either, and what fences order there are atomics. All code is compiled for it, the standard library as
//! well, which takes a nightly toolchain and its source.

use crate::{repository, step};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Which toolchain; any nightly will do.
const TOOLCHAIN: &str = "nightly";

/// How to get what is needed.
const HOW: &str = "rustup toolchain install nightly --profile minimal --component rust-src";

pub(crate) fn run() -> Result<()> {
    let host = host()?;
    step::step("scheduler under ThreadSanitizer", || {
        let mut cargo = Command::new("rustup");
        cargo.args(["run", TOOLCHAIN, "cargo", "test", "-Zbuild-std", "--target", &host]);
        cargo.args(["-p", "lunatic-scheduler", "--lib", "--test", "loom"]);
        cargo.arg("--target-dir").arg(repository::target().join("sanitize"));
        cargo.env("RUSTFLAGS", "-Zsanitizer=thread --cfg real_threads");
        // A report is a failure.
        cargo.env("TSAN_OPTIONS", "halt_on_error=1");
        step::run(cargo.current_dir(repository::root()))
    })?;
    Ok(())
}

/// The target that the toolchain compiles for by default.
fn host() -> Result<String> {
    let mut rustc = Command::new("rustup");
    rustc.args(["run", TOOLCHAIN, "rustc", "-vV"]);
    let said = step::output(&mut rustc).with_context(|| format!("no nightly toolchain: {HOW}"))?;
    match said.lines().find_map(|line| line.strip_prefix("host: ")) {
        Some(host) => Ok(host.to_string()),
        None => bail!("rustc does not say what it compiles for: {said}"),
    }
}
