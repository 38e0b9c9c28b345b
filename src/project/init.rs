//! `lunatic init`: sets a project up that is there.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use super::compiler::{Compiler, settings_file};
use super::{TARGET, settings};
use crate::exit_code::{Code, Failure, OrFail};
use crate::output;

/// What `init` is told.
#[derive(Debug, Args)]
pub(crate) struct InitArguments {
    /// The project: the directory of its Cargo.toml
    #[arg(default_value = ".")]
    directory: PathBuf,

    /// Replace settings that say otherwise
    #[arg(long)]
    force: bool,
}

/// Sets the project up.
pub(crate) fn init(arguments: &InitArguments) -> Result<ExitCode, Failure> {
    let directory = &arguments.directory;
    check_project(directory).or_fail(Code::Project)?;
    let file = settings_file(&directory.join(".cargo"));
    let (change, notes) = set_up(&file, arguments.force).or_fail(Code::Project)?;
    let file = file.display();
    output::print(&match change {
        Change::None => format!("\"{file}\" is set up already\n"),
        Change::Made => format!(
            "\"{file}\" is set up: `cargo run` and `cargo test` compile for {TARGET}, and lunatic \
             runs the programs\n"
        ),
    })?;
    for note in notes.into_iter().chain(Compiler::find().advice()) {
        output::say(format_args!("note: {note}"));
    }
    Ok(Code::Success.into())
}

fn check_project(directory: &Path) -> anyhow::Result<()> {
    if directory.join("Cargo.toml").is_file() {
        return Ok(());
    }
    let place = if directory == Path::new(".") {
        "in the current directory".to_string()
    } else {
        format!("in \"{}\"", directory.display())
    };
    let above = fs::canonicalize(directory).ok().and_then(|directory| {
        let mut above = directory.ancestors().skip(1);
        above.find(|above| above.join("Cargo.toml").is_file()).map(Path::to_path_buf)
    });
    match above {
        Some(above) => bail!(
            "there is no Cargo.toml {place}; to set up the project above it: lunatic init \"{}\"",
            above.display()
        ),
        None => bail!("there is no Cargo.toml {place}; `lunatic new NAME` makes a project"),
    }
}

enum Change {
    None,
    Made,
}

/// Adds the settings to a file, and to nothing if that fails.
fn set_up(file: &Path, force: bool) -> anyhow::Result<(Change, Vec<String>)> {
    let context = || format!("cannot set up \"{}\"", file.display());
    let old = match fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        other => Some(other.with_context(context)?),
    };
    let edited = settings::add(old.as_deref(), force).with_context(context)?;
    let changed = old.as_deref() != Some(edited.text.as_str());
    if changed {
        replace(file, &edited.text).with_context(context)?;
    }
    Ok((if changed { Change::Made } else { Change::None }, edited.notes))
}

/// Writes a file as a whole, or not at all. A link stays one.
pub(super) fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let file = fs::canonicalize(file).unwrap_or(file.to_path_buf());
    let directory = file.parent().context("it has no directory")?;
    fs::create_dir_all(directory)?;
    let new = file.with_extension(format!("new-{}", std::process::id()));
    let written = fs::File::create_new(&new).and_then(|mut output| {
        if let Ok(old) = fs::metadata(&file) {
            // What may not be written is not replaced either.
            drop(fs::OpenOptions::new().write(true).open(&file)?);
            output.set_permissions(old.permissions())?;
        }
        output.write_all(text.as_bytes())?;
        fs::rename(&new, &file)
    });
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    Ok(written?)
}
