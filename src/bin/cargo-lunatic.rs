//! `cargo lunatic …`: cargo calls the program of this name, and all of it is done by `lunatic`.
//!
//! `lunatic` sees by the name it is called by that cargo did. That one stands beside this program, or
//! where programs are.
#![forbid(unsafe_code)]

use std::env;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let beside = env::current_exe().ok().map(|own| own.with_file_name("lunatic"));
    let lunatic = beside.filter(|path| path.is_file()).unwrap_or(PathBuf::from("lunatic"));
    let error = Command::new(&lunatic).arg0("cargo-lunatic").args(env::args_os().skip(1)).exec();
    // As `eprintln!`, which panics if nobody can hear it.
    let _ =
        writeln!(io::stderr(), "cargo-lunatic: cannot start \"{}\": {error}", lunatic.display());
    ExitCode::from(70)
}
