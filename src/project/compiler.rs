//! Whether there is a compiler with a standard library for the target.
//!
//! rustup's, as a rule. Where rustup cannot fetch the target, `cargo xtask guests` of the runtime's
//! repository makes a compiler in the user's cache directory, and that one will do.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::TARGET;

/// What was found.
pub(super) enum Compiler {
    /// The one that cargo takes anyway.
    Default,
    /// One in the cache directory, by its path.
    Cached(PathBuf),
    /// None has the standard library.
    Missing,
}

impl Compiler {
    /// Looks for it; starts `rustc` for that.
    pub(super) fn find() -> Self {
        let named = env::var_os("RUSTC").filter(|name| !name.is_empty());
        if has_std(named.as_deref().unwrap_or(OsStr::new("rustc"))) {
            return Self::Default;
        }
        // Whoever names one wants that one.
        let cached = if named.is_some() { None } else { cached() };
        cached.map_or(Self::Missing, Self::Cached)
    }

    /// What its user should know.
    pub(super) fn advice(&self) -> Option<String> {
        match self {
            Self::Default => None,
            Self::Cached(rustc) => Some(format!(
                "rustc has no standard library for {TARGET}; `cargo lunatic` takes the compiler \
                 \"{0}\", as plain cargo does with RUSTC=\"{0}\"",
                rustc.display()
            )),
            Self::Missing => Some(format!(
                "rustc has no standard library for {TARGET}; `rustup target add {TARGET}` installs \
                 it"
            )),
        }
    }
}

fn has_std(rustc: &OsStr) -> bool {
    let output =
        Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    let Ok(output) = output else { return false };
    let directory = String::from_utf8_lossy(&output.stdout);
    let Ok(files) = fs::read_dir(directory.trim()) else { return false };
    files.flatten().any(|file| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

fn cached() -> Option<PathBuf> {
    let toolchains = fs::read_dir(crate::run::cache_directory("toolchains")?).ok()?;
    let mut compilers: Vec<PathBuf> =
        toolchains.flatten().map(|toolchain| toolchain.path().join("bin/rustc")).collect();
    compilers.sort();
    compilers.into_iter().find(|rustc| rustc.is_file() && has_std(rustc.as_os_str()))
}

/// Cargo, as cargo names itself to those it calls.
pub(super) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
}

/// The file of cargo's settings in this directory; cargo takes the older name if both are there.
pub(super) fn settings_file(directory: &Path) -> PathBuf {
    let older = directory.join("config");
    if older.is_file() { older } else { directory.join("config.toml") }
}
