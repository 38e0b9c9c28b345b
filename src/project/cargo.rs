//! `cargo lunatic …`: cargo with the target and the runner, whatever the project's settings say or not.
//!
//! Words are not parsed but handed on: what stands behind `run`, `test`, … is cargo's.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::anyhow;
use clap::{Parser, Subcommand};

use super::compiler::{self, Compiler, settings_file};
use super::{RUNNER, TARGET, init, new, settings};
use crate::exit_code::{Code, Failure, OrFail};
use crate::output;

/// What cargo takes from the environment in place of a runner in its settings.
const RUNNER_VARIABLE: &str = "CARGO_TARGET_WASM32_WASIP1_RUNNER";

const AFTER_HELP: &str = "\
Examples:
  cargo lunatic new hello && cd hello && cargo lunatic run
  cargo lunatic run --release -- --an-option of-the-program
  cargo lunatic test parser:: -- --nocapture

`run`, `test`, `bench`, `build` and `check` take all that cargo's do, and end as they do. They compile for
wasm32-wasip1 and have `lunatic run` run the programs, unless the project's settings
(.cargo/config.toml) name another runner: options for the runtime stand there.";

/// Cargo for programs that run on lunatic
#[derive(Debug, Parser)]
#[command(name = "cargo lunatic", bin_name = "cargo lunatic", version, after_help = AFTER_HELP)]
#[command(max_term_width = 100)]
struct Cargo {
    #[command(subcommand)]
    command: CargoCommand,
}

#[derive(Debug, Subcommand)]
enum CargoCommand {
    /// Make a project
    New(new::NewArguments),
    /// Set a project up that is there
    Init(init::InitArguments),
    /// Compile and run a program
    #[command(visible_alias = "r")]
    Run,
    /// Compile and run tests
    #[command(visible_alias = "t")]
    Test,
    /// Compile and run benchmarks
    Bench,
    /// Compile
    #[command(visible_alias = "b")]
    Build,
    /// Find mistakes, and compile nothing
    #[command(visible_alias = "c")]
    Check,
}

impl CargoCommand {
    /// What cargo calls it, if it is cargo's.
    fn cargos(&self) -> Option<&'static str> {
        match self {
            Self::New(_) | Self::Init(_) => None,
            Self::Run => Some("run"),
            Self::Test => Some("test"),
            Self::Bench => Some("bench"),
            Self::Build => Some("build"),
            Self::Check => Some("check"),
        }
    }
}

/// Cargo starts its subcommands as programs of such names.
pub(crate) fn is_called_by_cargo(words: &[OsString]) -> bool {
    let name = words.first().map(Path::new).and_then(Path::file_name);
    name == Some(OsStr::new("cargo-lunatic"))
}

/// Does what was said behind `cargo lunatic`.
pub(crate) fn cargo(mut words: Vec<OsString>) -> Result<ExitCode, Failure> {
    // Cargo repeats the name of the subcommand.
    if words.get(1).is_some_and(|word| word == "lunatic") {
        words.remove(1);
    }
    let head = words.len().min(2);
    let cargos = Cargo::try_parse_from(&words[..head]).ok();
    if let Some(name) = cargos.as_ref().and_then(|cargo| cargo.command.cargos()) {
        return hand_on(name, &words[head..]);
    }
    match output::parsed(Cargo::try_parse_from(&words))?.command {
        CargoCommand::New(arguments) => new::new(&arguments),
        CargoCommand::Init(arguments) => init::init(&arguments),
        _ => unreachable!("cargo's own are handed on"),
    }
}

/// Becomes cargo.
fn hand_on(name: &str, words: &[OsString]) -> Result<ExitCode, Failure> {
    let mut cargo = compiler::cargo();
    cargo.arg(name);
    if !names_target(words) {
        cargo.args(["--target", TARGET]);
    }
    cargo.args(words);
    set_runner(&mut cargo);
    match Compiler::find() {
        Compiler::Default => {}
        Compiler::Cached(rustc) => drop(cargo.env("RUSTC", rustc)),
        missing @ Compiler::Missing => {
            if let Some(advice) = missing.advice() {
                output::say(format_args!("note: {advice}"));
            }
        }
    }
    let error = cargo.exec();
    Err(anyhow!("cannot start cargo, which comes with Rust: {error}")).or_fail(Code::Project)
}

fn names_target(words: &[OsString]) -> bool {
    let cargos = words.iter().take_while(|word| *word != "--");
    cargos.into_iter().any(|word| {
        let word = word.as_encoded_bytes();
        word == b"--target" || word.starts_with(b"--target=")
    })
}

/// Has this very program run what is compiled, unless a runner is named. One that is named as
/// `lunatic` is found here if nowhere else.
fn set_runner(cargo: &mut Command) {
    let Ok(own) = env::current_exe() else { return };
    if let Some(directory) = own.parent() {
        let path = env::var_os("PATH").unwrap_or_default();
        let all = env::split_paths(&path).chain([directory.to_path_buf()]);
        if let Ok(path) = env::join_paths(all) {
            cargo.env("PATH", path);
        }
    }
    if env::var_os(RUNNER_VARIABLE).is_none() && !has_runner() {
        // Cargo splits the text at spaces.
        let own = own.to_str().filter(|own| !own.contains(char::is_whitespace));
        let runner = own.map(|own| RUNNER.replacen("lunatic", own, 1));
        cargo.env(RUNNER_VARIABLE, runner.as_deref().unwrap_or(RUNNER));
    }
}

/// Whether cargo's settings for the current directory name a runner.
fn has_runner() -> bool {
    let here = env::current_dir().unwrap_or_default();
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let mut places = here.ancestors().map(|place| place.join(".cargo")).chain(home);
    places.any(|place| {
        fs::read_to_string(settings_file(&place))
            .is_ok_and(|text| settings::runner(&text).is_some())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_words_are_consistent() {
        Cargo::command().debug_assert();
    }

    #[test]
    fn a_target_is_looked_for_among_cargos_words() {
        let names = |line: &str| {
            names_target(&line.split(' ').map(OsString::from).collect::<Vec<OsString>>())
        };
        assert!(names("--release --target x"));
        assert!(names("--target=x"));
        assert!(!names("--release -- --target x"));
        assert!(!names("--target-dir x"));
    }

    #[test]
    fn cargo_is_known_by_the_name() {
        let is = |word: &str| is_called_by_cargo(&[OsString::from(word)]);
        assert!(is("/usr/bin/cargo-lunatic") && is("cargo-lunatic"));
        assert!(!is("lunatic") && !is("/cargo-lunatic/lunatic"));
    }
}
