//! `cargo xtask demo`: from a fresh clone to 1,000 processes that answer.

use crate::toolchain;
use crate::{guests, repository, step};
use anyhow::Result;
use std::process::Command;

const EXAMPLE: &str = "channel_sum";

pub(crate) fn run(workers: usize) -> Result<()> {
    guests::build_with(&toolchain::find()?, &[EXAMPLE.to_string()])?;
    step::step("runtime", || {
        step::run(step::cargo().current_dir(repository::root()).args([
            "build",
            "--release",
            "--package",
            "lunatic-runtime",
            "--bin",
            "lunatic",
        ]))
    })?;
    step::step("demo", || {
        let lunatic = repository::target().join("release").join("lunatic");
        let mut command = Command::new(lunatic);
        command.current_dir(repository::root()).args([
            "run",
            &format!("target/guests/{EXAMPLE}.wasm"),
            "--workers",
            &workers.to_string(),
        ]);
        step::run(&mut command)
    })?;
    Ok(())
}
