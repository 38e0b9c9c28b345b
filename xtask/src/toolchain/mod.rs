//! Finding a Rust compiler for wasm32-wasip1, or making one.
//!
//! In this order, first hit wins:
//! 1. rustup's compiler, if the target's standard library is installed;
//! 2. a compiler an earlier run made, under the user's cache directory, keyed by its version;
//! 3. one made now from Debian's packages at the pinned version, which does not move;
//! 4. the same at the version apt offers, which does;
//! 5. one sentence that says what to install.

use crate::step;
use anyhow::{Context, Result, bail};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

mod debian;

/// What guests are compiled for: WASI preview 1.
pub(crate) const TARGET: &str = "wasm32-wasip1";

/// The version guests are known to build with: Debian 12's own, which stays.
const PINNED: &str = "1.85.0+dfsg3-1~deb12u3";

/// A compiler that has a standard library for `TARGET`.
pub(crate) struct Toolchain {
    pub(crate) rustc: PathBuf,
    /// For headings.
    pub(crate) description: String,
    /// It is the one cargo takes by itself.
    is_default: bool,
    /// Changes whenever the standard library does. cargo knows only the compiler's version, and what was compiled with
    /// another build of the library does not link with this one.
    pub(crate) identity: String,
}

impl Toolchain {
    /// Makes a cargo command use this compiler.
    pub(crate) fn use_in(&self, cargo: &mut Command) {
        if !self.is_default {
            cargo.env("RUSTC", &self.rustc);
        }
    }
}

pub(crate) fn find() -> Result<Toolchain> {
    let default = PathBuf::from("rustc");
    if let Some(library) = std_library(&default) {
        let description = "rustup's compiler".to_string();
        let identity = identity(&library)?;
        return Ok(Toolchain { rustc: default, description, is_default: true, identity });
    }
    let cache = cache_directory()?;
    if let Some(prefix) = debian::cached(&cache, PINNED) {
        return made(&prefix);
    }
    let mut refusals = Vec::new();
    for version in [Some(PINNED), None] {
        match debian::make(&cache, version) {
            Ok(prefix) => return made(&prefix),
            Err(error) => refusals.push(format!("{error:#}")),
        }
    }
    refusals.dedup();
    bail!(
        "there is no Rust compiler for {TARGET}: install its standard library with `rustup target add {TARGET}`, \
         or on Debian 12 let `apt-get update` work, from which one is made\n  {}",
        refusals.join("\n  ")
    )
}

fn made(prefix: &debian::Prefix) -> Result<Toolchain> {
    prefix.link_linker()?;
    let rustc = prefix.rustc();
    let library = std_library(&rustc).context("looking for the standard library made just now")?;
    let description = format!("the cached {}", prefix.name());
    Ok(Toolchain { rustc, description, is_default: false, identity: identity(&library)? })
}

/// The standard library this compiler has for the target, if the compiler exists and has one.
fn std_library(rustc: &Path) -> Option<PathBuf> {
    let mut command = Command::new(rustc);
    let directory =
        step::output(command.args(["--print", "target-libdir", "--target", TARGET])).ok()?;
    let files = std::fs::read_dir(directory.trim()).ok()?;
    files.flatten().map(|file| file.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

fn identity(library: &Path) -> Result<String> {
    let looking = || format!("looking at {}", library.display());
    let metadata = library.metadata().with_context(looking)?;
    let modified = metadata.modified().with_context(looking)?;
    Ok(format!("{}, {} bytes, {modified:?}", library.display(), metadata.len()))
}

/// Outside the repository, so that clones share it and `cargo clean` leaves it alone.
fn cache_directory() -> Result<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .context("looking for a cache directory: set HOME or XDG_CACHE_HOME to an absolute path")?;
    Ok(base.join("lunatic").join("toolchains"))
}
