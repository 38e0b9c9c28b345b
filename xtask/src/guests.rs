//! `cargo xtask guests`: Rust programs to WebAssembly.
//!
//! The guest workspaces stand outside the root workspace and are built with their own `.cargo/config.toml`, which cargo
//! reads only from the directory it is started in. Both share one target directory, so that serde is compiled once.
//! Freshness is cargo's business; a result is copied only if it differs, so that its time stamp means something.

use crate::toolchain::{self, Toolchain};
use crate::{repository, step};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const WORKSPACES: [&str; 7] = [
    "examples",
    "tests/guests",
    "tests/lunatic_0_14",
    "tests/lunatic_seed/referenced",
    "tests/lunatic_seed/numbered",
    "tests/lunatic_seed/sided",
    "tests/lunatic_seed/sided_early",
];

/// The programs that are tests on `#[lunatic::test]`, with the workspace whose `tests/` they are in.
const TESTS: [(&str, &str); 1] = [("attribute", "tests/guests")];

/// Builds the programs with these names, or all, into target/guests/.
pub(crate) fn build(names: &[String]) -> Result<()> {
    let toolchain = toolchain::find()?;
    build_with(&toolchain, names).map(drop)
}

/// As `build`, with a toolchain that is already found.
pub(crate) fn build_with(toolchain: &Toolchain, names: &[String]) -> Result<Duration> {
    let mut programs = programs()?;
    for name in names {
        if !programs.contains_key(name) {
            let known: Vec<&str> = programs.keys().map(String::as_str).collect();
            bail!("no guest program is called {name:?}; there are {}", known.join(", "));
        }
    }
    programs.retain(|name, _| names.is_empty() || names.contains(name));
    step::step(&format!("guests, compiled by {}", toolchain.description), || {
        forget_other_toolchains(toolchain)?;
        for workspace in WORKSPACES {
            let wanted = programs.iter().filter(|(_, home)| **home == workspace);
            let wanted: Vec<&str> = wanted.map(|(name, _)| name.as_str()).collect();
            if !wanted.is_empty() {
                compile(toolchain, workspace, &wanted)?;
            }
        }
        for name in programs.keys() {
            copy_if_changed(name)?;
        }
        for (name, workspace) in TESTS {
            if names.is_empty() {
                compile_tests(toolchain, workspace, name)?;
            }
        }
        eprintln!("    {} programs in target/guests", programs.len());
        Ok(())
    })
}

/// Builds programs of another workspace into target/guests; their files.
pub(crate) fn build_from(
    toolchain: &Toolchain,
    workspace: &str,
    names: &[&str],
) -> Result<Vec<PathBuf>> {
    forget_other_toolchains(toolchain)?;
    compile(toolchain, workspace, names)?;
    names.iter().try_for_each(|name| copy_if_changed(name))?;
    Ok(names.iter().map(|name| repository::guests().join(format!("{name}.wasm"))).collect())
}

/// Every guest program with the workspace it lives in: one file in src/bin/ is one program.
fn programs() -> Result<BTreeMap<String, &'static str>> {
    let mut programs = BTreeMap::new();
    for workspace in WORKSPACES {
        let directory = repository::root().join(workspace).join("src/bin");
        let listing = || format!("listing the guest programs of {workspace}/src/bin");
        for entry in fs::read_dir(&directory).with_context(listing)? {
            let path = entry.with_context(listing)?.path();
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let name = path.file_stem().expect("a file with an extension has a stem");
            let name = name.to_string_lossy().into_owned();
            if let Some(other) = programs.insert(name.clone(), workspace) {
                bail!(
                    "two guest programs are called {name:?}, in {other} and {workspace}; rename one"
                );
            }
        }
    }
    Ok(programs)
}

fn build_directory() -> PathBuf {
    repository::target().join("guest-build")
}

/// Empties the build directory if it was filled with another standard library: see `Toolchain::identity`.
fn forget_other_toolchains(toolchain: &Toolchain) -> Result<()> {
    let directory = build_directory();
    let note = directory.join("made-with");
    if fs::read_to_string(&note).is_ok_and(|identity| identity == toolchain.identity) {
        return Ok(());
    }
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("emptying {}", directory.display()))?;
    }
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    fs::write(&note, &toolchain.identity).with_context(|| format!("writing {}", note.display()))
}

fn compile(toolchain: &Toolchain, workspace: &str, names: &[&str]) -> Result<()> {
    let mut cargo = step::cargo();
    cargo
        .current_dir(repository::root().join(workspace))
        .args(["build", "--release", "--target", toolchain::TARGET, "--target-dir"])
        .arg(build_directory())
        // These would replace the flags in the workspace's own configuration, the small stack among them.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    for name in names {
        cargo.args(["--bin", name]);
    }
    toolchain.use_in(&mut cargo);
    step::run(&mut cargo)
}

/// Builds a file of tests, whose program cargo gives a name of its own.
fn compile_tests(toolchain: &Toolchain, workspace: &str, name: &str) -> Result<()> {
    let mut cargo = step::cargo();
    cargo
        .current_dir(repository::root().join(workspace))
        .args(["test", "--no-run", "--release", "--target", toolchain::TARGET, "--target-dir"])
        .arg(build_directory())
        .args(["--message-format", "json", "--test", name])
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    toolchain.use_in(&mut cargo);
    let messages = step::output(&mut cargo)?;
    let executables = messages.split("\"executable\":\"").skip(1);
    let paths = executables.filter_map(|rest| rest.split('"').next());
    let built = paths.map(Path::new).find(|path| {
        path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&format!("{name}-")))
    });
    let built = built.with_context(|| format!("cargo names no program for the tests {name:?}"))?;
    let bytes = fs::read(built).with_context(|| format!("reading {}", built.display()))?;
    write_if_changed(&repository::guests().join(format!("{name}.wasm")), &bytes)
}

fn copy_if_changed(name: &str) -> Result<()> {
    let file = format!("{name}.wasm");
    let built = build_directory().join(toolchain::TARGET).join("release").join(&file);
    let bytes = fs::read(&built).with_context(|| {
        format!("reading the compiled {}", repository::relative(&built).display())
    })?;
    let place = repository::guests();
    fs::create_dir_all(&place).with_context(|| format!("creating {}", place.display()))?;
    write_if_changed(&place.join(file), &bytes)
}

/// By a rename, because a test of another terminal may be reading the old one.
fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let new = path.with_extension(format!("wasm.{}", std::process::id()));
    let writing = || format!("writing {}", path.display());
    fs::write(&new, bytes).with_context(writing)?;
    fs::rename(&new, path).with_context(writing)
}
