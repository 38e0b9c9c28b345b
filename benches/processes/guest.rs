//! Guests: from the text or name in a row to a command that runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::rows::Row;
use crate::sender;

/// What all guests in text form share.
const PRELUDE: &str = include_str!("guests/prelude.wat");

/// What those that read from sockets need before it.
const SOCKET_IMPORTS: &str = include_str!("guests/socket_imports.wat");

#[derive(Debug)]
pub(crate) enum Guest {
    /// Items of a module in text form, put behind the prelude; the count is a function of theirs.
    Wat(&'static [&'static str]),
    /// The same, with options for `lunatic run`.
    Limited(&'static [&'static str], &'static [&'static str]),
    /// The same as the first, and a connection that it reads from ([`sender`]); the count is of
    /// milliseconds.
    Reader(&'static [&'static str]),
    /// A program of tests/guests by its name, which takes the count as its argument.
    Rust(&'static str),
}

impl Guest {
    /// The whole module of a guest in text form.
    fn text(imports: &str, pieces: &[&str], count: u64) -> String {
        let pieces = pieces.join("\n");
        format!(
            "(module\n{imports}{PRELUDE}\n(func $count (result i64) (i64.const {count}))\n{pieces})\n"
        )
    }
}

/// A directory for the guests of a session, gone with it.
pub(crate) struct Workshop(TempDir);

impl Workshop {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a directory for the guests can be made"))
    }

    /// How to run a row; the reason if its guest is not there.
    pub(crate) fn command(&self, row: &Row, count: u64, workers: usize) -> Result<Command, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lunatic"));
        // Compiled once, not in each run; and not among the modules of whoever runs this.
        command.env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
        command.arg("run");
        let count_argument = match row.guest {
            Guest::Wat(pieces) => {
                command.arg(self.write(row.name, &Guest::text("", pieces, count))?);
                None
            }
            Guest::Limited(pieces, options) => {
                command.arg(self.write(row.name, &Guest::text("", pieces, count))?).args(options);
                None
            }
            Guest::Reader(pieces) => {
                let port = sender::start(count)?;
                let telling = format!("(func $port (result i32) (i32.const {port}))");
                let pieces = [&[telling.as_str()], pieces].concat();
                command.arg(self.write(row.name, &Guest::text(SOCKET_IMPORTS, &pieces, count))?);
                command.arg(format!("--allow-net=connect:127.0.0.1:{port}"));
                None
            }
            Guest::Rust(name) => {
                command.arg(compiled(name)?);
                Some(count.to_string())
            }
        };
        command.arg("--workers").arg(workers.to_string()).arg("--").args(count_argument);
        Ok(command)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.0.path().join(name).with_extension("wat");
        fs::write(&path, text)
            .map_err(|error| format!("writing \"{}\": {error}", path.display()))?;
        Ok(path)
    }
}

fn compiled(name: &str) -> Result<PathBuf, String> {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/guests");
    let path = guests.join(name).with_extension("wasm");
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!("there is no target/guests/{name}.wasm: run `cargo xtask guests`"))
    }
}
