//! `--profile`: where the time of a run goes, for `perf` or as a file of our own.

mod folded;
mod speedscope;

use std::fs::{DirBuilder, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, process};

use anyhow::{Context, anyhow};
use lunatic_engine::profile::{Profile, tell_perf};
use lunatic_host_api::Profiler;

use crate::output;

/// The file of `--profile guest` without another name.
const DEFAULT_FILE: &str = "lunatic-profile.json";

/// What `--profile` was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProfileArgument {
    /// Files for Linux's `perf`.
    Perf,
    /// A profile of our own.
    Guest(PathBuf),
}

/// Parses the value of `--profile`.
pub(crate) fn profile_argument(text: &str) -> Result<ProfileArgument, String> {
    match text.split_once('=') {
        None if text == "perf" => Ok(ProfileArgument::Perf),
        None if text == "guest" => Ok(ProfileArgument::Guest(DEFAULT_FILE.into())),
        Some(("guest", file)) => match Format::of(Path::new(file)) {
            Some(_) => Ok(ProfileArgument::Guest(file.into())),
            None => {
                Err("the file's ending says the format: write guest=FILE.json for speedscope, \
                 or guest=FILE.folded for flame graphs"
                    .to_string())
            }
        },
        _ => Err("there is perf, and guest or guest=FILE".to_string()),
    }
}

/// How a profile is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Format {
    Speedscope,
    Folded,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "json" => Some(Self::Speedscope),
            "folded" => Some(Self::Folded),
            _ => None,
        }
    }
}

/// A profile in the making.
pub(crate) enum Profiling {
    Perf,
    Guest { profiler: Profiler, file: File, path: PathBuf, format: Format },
}

impl Profiling {
    /// Begins, before any module is loaded.
    pub(crate) fn start(argument: &ProfileArgument) -> anyhow::Result<Self> {
        match argument {
            ProfileArgument::Perf => {
                let paths = tell_perf(&dump_directory()?).map_err(|(path, error)| {
                    anyhow!(error).context(format!(
                        "cannot write \"{}\" for perf; the variable JITDUMPDIR names another \
                         directory for the dump",
                        path.display()
                    ))
                })?;
                tracing::info!("for perf: {} and {}", paths.map.display(), paths.dump.display());
                Ok(Self::Perf)
            }
            ProfileArgument::Guest(path) => {
                let format = Format::of(path).expect("checked when it was parsed");
                let file = File::create(path)
                    .with_context(|| format!("cannot write a profile to \"{}\"", path.display()))?;
                let profiler = Profiler::start().context("cannot make a profile")?;
                Ok(Self::Guest { profiler, file, path: path.clone(), format })
            }
        }
    }

    /// Writes what was seen of the run of `program`.
    pub(crate) fn finish(self, program: &str) -> anyhow::Result<()> {
        let Self::Guest { profiler, file, path, format } = self else { return Ok(()) };
        let profile = profiler.finish();
        let mut writer = BufWriter::new(file);
        let written = match format {
            Format::Speedscope => speedscope::write(&profile, program, &mut writer),
            Format::Folded => folded::write(&profile, &mut writer),
        };
        written
            .and_then(|()| writer.flush())
            .with_context(|| format!("cannot write the profile to \"{}\"", path.display()))?;
        let seen: u64 = profile.stacks.iter().map(|stack| stack.nanos).sum();
        output::say(format_args!(
            "lunatic: a profile of {:.1?} of processor time is in \"{}\"",
            Duration::from_nanos(seen),
            path.display()
        ));
        if profile.lost_nanos > 0 {
            let lost = Duration::from_nanos(profile.lost_nanos);
            output::say(format_args!("lunatic: it lacks {lost:.1?}"));
        }
        Ok(())
    }
}

/// `$JITDUMPDIR`, or a new directory: `perf inject` will put a file for each function there.
fn dump_directory() -> anyhow::Result<PathBuf> {
    /// Directories that other users, or earlier programs with our id, have left there.
    const ATTEMPTS: u32 = 1_000;
    if let Some(directory) = env::var_os("JITDUMPDIR").filter(|value| !value.is_empty()) {
        return Ok(PathBuf::from(directory));
    }
    let parent = env::temp_dir();
    for attempt in 0..ATTEMPTS {
        let directory = parent.join(format!("lunatic-perf-{}-{attempt}", process::id()));
        match DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot make \"{}\" for perf", directory.display()));
            }
        }
    }
    Err(anyhow!(
        "cannot make a directory for perf in \"{}\": all names are taken",
        parent.display()
    ))
}

/// The processes of a profile with their time, most first.
fn processes(profile: &Profile) -> Vec<(usize, u64)> {
    let mut processes: Vec<(usize, u64)> = Vec::new();
    for stack in &profile.stacks {
        match processes.last_mut() {
            Some((process, nanos)) if *process == stack.process => *nanos += stack.nanos,
            _ => processes.push((stack.process, stack.nanos)), // stacks are sorted by process
        }
    }
    processes.sort_by_key(|&(_, nanos)| std::cmp::Reverse(nanos));
    processes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_says_the_format() {
        let guest = |file: &str| Ok(ProfileArgument::Guest(file.into()));
        assert_eq!(profile_argument("perf"), Ok(ProfileArgument::Perf));
        assert_eq!(profile_argument("guest"), guest(DEFAULT_FILE));
        assert_eq!(profile_argument("guest=a=b.folded"), guest("a=b.folded"));
        assert_eq!(profile_argument("guest=/x/y.json"), guest("/x/y.json"));
        for wrong in ["", "guest=", "guest=x", "guest=x.svg", "perf=x.json", "Guest"] {
            assert!(profile_argument(wrong).is_err(), "{wrong}");
        }
    }
}
