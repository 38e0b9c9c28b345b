//! Where things are in this repository.

use std::env;
use std::path::{Path, PathBuf};

/// The root of the repository. `cargo run` says where the package is; a binary started by hand falls back to where it was
/// built.
pub(crate) fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().expect("the package xtask lies in the root of the repository").to_path_buf()
}

/// Where all builds go, `CARGO_TARGET_DIR` respected.
pub(crate) fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}

/// Where the compiled guest programs are put, whatever the target directory is: tests look for them here.
pub(crate) fn guests() -> PathBuf {
    root().join("target").join("guests")
}

/// `path` as a reader of messages knows it.
pub(crate) fn relative(path: &Path) -> PathBuf {
    path.strip_prefix(root()).unwrap_or(path).to_path_buf()
}
