//! Steps: a heading, a command, its time, and a failure that names both.

use anyhow::{Context, Result, bail};
use std::env;
use std::ffi::OsString;
use std::process::Command;
use std::time::{Duration, Instant};

/// Runs `work` under a heading and says how long it took; an error names the step.
pub(crate) fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    eprintln!("\n==> {name}");
    let start = Instant::now();
    work().with_context(|| format!("step `{name}` failed"))?;
    let elapsed = start.elapsed();
    eprintln!("    {name}: done in {:.1} s", elapsed.as_secs_f64());
    Ok(elapsed)
}

/// Runs a command to its end; its output goes where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let text = text_of(command);
    eprintln!("    $ {text}");
    let status = command.status().with_context(|| format!("starting `{text}`"))?;
    if !status.success() {
        bail!("`{text}` ended with {status}");
    }
    Ok(())
}

/// Runs a command and gives its stdout; its stderr becomes part of the error if it fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let text = text_of(command);
    let output = command.output().with_context(|| format!("starting `{text}`"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{text}` ended with {}: {}", output.status, stderr.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("reading the output of `{text}`"))
}

/// The cargo that runs us, without what it told us of this package: build scripts that look at it (ring's does) would
/// run anew, and all that depends on them, each time one has called cargo oneself in between.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    for (key, _) in env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(key);
        }
    }
    cargo
}

/// As one would type it, with the environment variables it sets.
fn text_of(command: &Command) -> String {
    let mut words: Vec<String> = command
        .get_envs()
        .filter_map(|(key, value)| {
            Some(format!("{}={}", key.to_string_lossy(), quoted(&value?.to_string_lossy())))
        })
        .collect();
    let program = command.get_program().to_string_lossy();
    words.push(program.rsplit('/').next().unwrap_or(&program).to_string());
    words.extend(command.get_args().map(|word| quoted(&word.to_string_lossy())));
    words.join(" ")
}

fn quoted(word: &str) -> String {
    if word.is_empty() || word.contains(char::is_whitespace) {
        format!("'{word}'")
    } else {
        word.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_names_step_and_command() {
        let error = step("the step", || run(Command::new("false").arg("two words"))).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("`the step`"), "{text}");
        assert!(text.contains("`false 'two words'`"), "{text}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = output(&mut Command::new("no-such-program-here")).unwrap_err();
        assert!(format!("{error:#}").contains("no-such-program-here"));
    }
}
