//! `cargo xtask test`: every check there is, in the order in which a mistake is found soonest.

use crate::{examples, guests, repository, soak::Soak, step, tidy, toolchain};
use anyhow::Result;
use std::process::Command;
use std::time::Duration;

/// Tests that need a compiled Rust guest skip themselves when this is set.
const SKIP_RUST_GUESTS: &str = "LUNATIC_SKIP_RUST_GUESTS";

pub(crate) fn run(quick: bool) -> Result<()> {
    let mut report = Report::default();
    report.step("tidy", tidy::run)?;
    let guests_built = build_guests(&mut report)?;
    build_examples(&mut report)?;
    report.step("workspace tests", || {
        let mut cargo = cargo(&["test", "--release", "--workspace"]);
        if !guests_built {
            cargo.env(SKIP_RUST_GUESTS, "1");
        }
        step::run(&mut cargo)
    })?;
    if quick {
        report.skip("guest crate, loom models, docs, fuzzing, soaking", "--quick");
    } else {
        guest_crate(&mut report)?;
        loom_models(&mut report)?;
        docs(&mut report)?;
        fuzzing(&mut report)?;
        soaking(&mut report, guests_built)?;
    }
    report.print();
    Ok(())
}

/// False if there is no compiler for guests, which is a reason to skip tests; a guest that does not compile is a failure.
fn build_guests(report: &mut Report) -> Result<bool> {
    match toolchain::find() {
        Ok(toolchain) => {
            let elapsed = guests::build_with(&toolchain, &[])?;
            report.done("guests", elapsed);
            Ok(true)
        }
        Err(error) => {
            report.skip("guests", &format!("{error:#}"));
            Ok(false)
        }
    }
}

/// Those in other languages. One without a compiler is skipped; one that does not compile is a failure.
fn build_examples(report: &mut Report) -> Result<()> {
    let mut outcomes = Vec::new();
    report.step("examples in other languages", || {
        outcomes = examples::build(&[])?;
        Ok(())
    })?;
    for outcome in outcomes {
        if let Some(reason) = outcome.left_out {
            report.skip(&format!("example {}", outcome.name), &reason);
        }
    }
    Ok(())
}

/// Its doc examples are compiled for this machine; what they do is tested by the guest programs.
fn guest_crate(report: &mut Report) -> Result<()> {
    let target = repository::target().join("guest-host");
    for (name, features) in [("guest crate", ""), ("guest crate with bincode", "bincode")] {
        report.step(name, || {
            let mut cargo =
                cargo(&["test", "--release", "--manifest-path", "guest/rust/Cargo.toml"]);
            step::run(cargo.args(["--features", features, "--target-dir"]).arg(&target))
        })?;
    }
    Ok(())
}

fn loom_models(report: &mut Report) -> Result<()> {
    report.step("loom models", || {
        let mut cargo = cargo(&["test", "--release", "--test", "loom"]);
        cargo.args(["-p", "lunatic-scheduler", "-p", "lunatic-engine"]);
        // A directory of its own: the flag would otherwise rebuild the world twice in every run.
        cargo.arg("--target-dir").arg(repository::target().join("loom"));
        cargo.env("RUSTFLAGS", "--cfg loom");
        if std::env::var_os("LOOM_MAX_PREEMPTIONS").is_none() {
            cargo.env("LOOM_MAX_PREEMPTIONS", "2");
        }
        step::run(&mut cargo)
    })
}

fn docs(report: &mut Report) -> Result<()> {
    report.step("docs", || {
        let mut cargo =
            cargo(&["doc", "--release", "--no-deps", "--workspace", "--document-private-items"]);
        step::run(cargo.env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    report.step("docs of the guest crate", || {
        let mut cargo = cargo(&["doc", "--no-deps", "--manifest-path", "guest/rust/Cargo.toml"]);
        cargo.arg("--target-dir").arg(repository::target().join("guest-host"));
        step::run(cargo.env("RUSTDOCFLAGS", "-D warnings"))
    })
}

fn fuzzing(report: &mut Report) -> Result<()> {
    report.step("fuzzing for 60 s", || {
        // The same command as for the workspace's tests, so that nothing is built again.
        let mut cargo = cargo(&["test", "--release", "--workspace", "--test", "fuzz"]);
        step::run(cargo.env("LUNATIC_FUZZ_SECONDS", "60"))
    })
}

/// The workspace's tests have built what it needs.
fn soaking(report: &mut Report, guests_built: bool) -> Result<()> {
    if !guests_built {
        report.skip("soaking", "its guest program is not built");
        return Ok(());
    }
    let soak = Soak { time: Duration::from_secs(60), workers: 4, seed: None };
    report.step("soaking for 60 s", || soak.run())
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = step::cargo();
    cargo.current_dir(repository::root()).args(arguments);
    cargo
}

/// What has been run, for the last lines on the screen.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
}

impl Report {
    fn step(&mut self, name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let result = step::step(name, work);
        match &result {
            Ok(elapsed) => self.done(name, *elapsed),
            Err(_) => {
                self.lines.push(format!("FAILED   {name}"));
                self.print();
            }
        }
        result.map(drop)
    }

    fn done(&mut self, name: &str, elapsed: Duration) {
        self.lines.push(format!("ok       {name} ({:.1} s)", elapsed.as_secs_f64()));
    }

    fn skip(&mut self, name: &str, reason: &str) {
        eprintln!("\n==> SKIPPED {name}: {reason}");
        self.lines.push(format!("SKIPPED  {name}: {reason}"));
    }

    fn print(&self) {
        eprintln!("\n==> what was run");
        for line in &self.lines {
            eprintln!("    {line}");
        }
    }
}
