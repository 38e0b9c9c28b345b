//! `lunatic new`: cargo makes a project, and the rest is added.
//!
//! The crate `lunatic` of this runtime is in no registry. A project depends on it by the path of the
//! sources that this runtime was built from, if they are still there, or as its author says.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use toml_edit::{DocumentMut, InlineTable, Item, Table, value};

use super::compiler::{Compiler, cargo, settings_file};
use super::init::replace;
use super::settings;
use crate::exit_code::{Code, Failure, OrFail};
use crate::output;

/// Where the crate stood when this runtime was built.
const CRATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guest/rust");

/// The program of a project that depends on the crate.
const PROCESSES: &str = r#"use lunatic::{Channel, Process};

fn main() {
    let channel = Channel::new(0);
    for number in 1..=3 {
        // Each process has a memory of its own: what it needs is sent to it.
        Process::spawn((number, channel.clone()), child).expect("there is room for a process");
    }
    for _ in 1..=3 {
        println!("{}", channel.receive());
    }
}

fn child((number, channel): (u32, Channel<String>)) {
    channel.send(greeting(number));
}

fn greeting(number: u32) -> String {
    format!("Hello from process {number}!")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_greet() {
        assert_eq!(greeting(7), "Hello from process 7!");
    }
}
"#;

/// The program of one that does not.
const PLAIN: &str = r#"fn main() {
    println!("{}", greeting());
}

fn greeting() -> &'static str {
    "Hello from a process!"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_greets() {
        assert_eq!(greeting(), "Hello from a process!");
    }
}
"#;

/// What `new` is told.
#[derive(Debug, Args)]
pub(crate) struct NewArguments {
    /// The directory to make; its name is the project's
    path: PathBuf,

    /// Another name for the project
    #[arg(long)]
    name: Option<String>,

    /// The directory of the crate `lunatic` for programs (guest/rust in the runtime's repository)
    ///
    /// Without this, it is that of the sources from which this runtime was built, if they are still
    /// there.
    #[arg(long, value_name = "DIR")]
    lunatic_path: Option<PathBuf>,

    /// A git repository that holds the crate
    #[arg(long, value_name = "URL", conflicts_with = "lunatic_path")]
    lunatic_git: Option<String>,

    /// A repository for the project, as `cargo new` makes it: git, hg, pijul, fossil or none
    #[arg(long)]
    vcs: Option<String>,
}

/// Before anything is made: cargo would find out only when it compiles.
fn check_name(arguments: &NewArguments, source: &Crate) -> anyhow::Result<()> {
    let of_path = || arguments.path.file_name().and_then(|name| name.to_str());
    let name = arguments.name.as_deref().or_else(of_path);
    if name == Some("lunatic") && !matches!(source, Crate::Nowhere) {
        bail!(
            "it would have the name of the crate \"lunatic\" that it depends on, which cargo does \
             not allow; --name gives it another"
        );
    }
    Ok(())
}

/// Where the crate is.
enum Crate {
    Path(PathBuf),
    Git(String),
    Nowhere,
}

/// Makes a project.
pub(crate) fn new(arguments: &NewArguments) -> Result<ExitCode, Failure> {
    let path = &arguments.path;
    let source = source(arguments).or_fail(Code::Project)?;
    let context = || format!("cannot make the project \"{}\"", path.display());
    check_name(arguments, &source).with_context(context).or_fail(Code::Project)?;
    create(arguments).with_context(context).or_fail(Code::Project)?;
    fill(path, &source).with_context(context).or_fail(Code::Project)?;
    let place = path.display();
    let mut text = format!("made the project \"{place}\"; to run it:\n\n");
    let _ = writeln!(text, "    cd \"{place}\"\n    cargo lunatic run\n");
    text.push_str(match source {
        Crate::Path(_) | Crate::Git(_) => "With `lunatic` in the PATH `cargo run` will do.\n",
        Crate::Nowhere => {
            "It does not use the crate `lunatic`: the one of this runtime is in no registry, and its \
             sources are not where they were. --lunatic-path or --lunatic-git say where.\n"
        }
    });
    output::print(&text)?;
    if let Some(advice) = Compiler::find().advice() {
        output::say(format_args!("note: {advice}"));
    }
    Ok(Code::Success.into())
}

fn source(arguments: &NewArguments) -> anyhow::Result<Crate> {
    if let Some(url) = &arguments.lunatic_git {
        return Ok(Crate::Git(url.clone()));
    }
    match &arguments.lunatic_path {
        Some(path) if is_crate(path) => {
            let path = fs::canonicalize(path);
            Ok(Crate::Path(path.context("cannot find the crate `lunatic` (--lunatic-path)")?))
        }
        Some(path) => bail!(
            "\"{}\" does not hold the crate `lunatic` (--lunatic-path): that is guest/rust in the \
             runtime's repository",
            path.display()
        ),
        None if is_crate(Path::new(CRATE)) => Ok(Crate::Path(PathBuf::from(CRATE))),
        None => Ok(Crate::Nowhere),
    }
}

fn is_crate(directory: &Path) -> bool {
    let manifest = fs::read_to_string(directory.join("Cargo.toml"));
    let manifest = manifest.ok().and_then(|text| text.parse::<DocumentMut>().ok());
    let name =
        manifest.as_ref().and_then(|manifest| manifest.get("package")?.get("name")?.as_str());
    name == Some("lunatic")
}

/// Has cargo make the project: it knows what names are good, and about workspaces around it.
fn create(arguments: &NewArguments) -> anyhow::Result<()> {
    let mut cargo = cargo();
    cargo.args(["new", "--bin", "--quiet", "--color", "never"]);
    let options = [("--name", &arguments.name), ("--vcs", &arguments.vcs)];
    for (option, value) in options.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)))
    {
        cargo.args([option, value.as_str()]);
    }
    let output = cargo.arg("--").arg(&arguments.path).output();
    let output = output.context("cannot start cargo, which comes with Rust")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("cargo says: {}", said.trim().trim_start_matches("error: "))
}

/// Adds what makes it a project for lunatic.
fn fill(project: &Path, source: &Crate) -> anyhow::Result<()> {
    let program = match source {
        Crate::Path(path) => {
            depend(project, "path", path.to_str().context("the crate's path is not UTF-8")?)?;
            PROCESSES
        }
        Crate::Git(url) => {
            depend(project, "git", url)?;
            PROCESSES
        }
        Crate::Nowhere => PLAIN,
    };
    replace(&project.join("src/main.rs"), program)?;
    replace(&settings_file(&project.join(".cargo")), &settings::of_new_project())
}

/// Adds the dependency on the crate.
fn depend(project: &Path, key: &str, place: &str) -> anyhow::Result<()> {
    let file = project.join("Cargo.toml");
    let mut manifest: DocumentMut = fs::read_to_string(&file)?.parse()?;
    let dependencies = manifest.entry("dependencies").or_insert(Item::Table(Table::new()));
    let mut dependency = InlineTable::new();
    dependency.insert(key, place.into());
    dependencies["lunatic"] = value(dependency);
    replace(&file, &manifest.to_string())
}
