//! What may stand behind the module: the words of Rust's own test harness.

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgAction, Parser, ValueEnum};

use crate::cli::{RunArguments, seconds};
use crate::exit_code::{Code, Failure, OrFail};
use crate::output;

/// Tests that run at once, unless told otherwise. Most of them wait for something, and each has
/// threads of its own.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// Filters and options for tests
#[derive(Debug, Parser)]
#[command(name = "lunatic test MODULE", no_binary_name = true, args_override_self = true)]
#[command(max_term_width = 100)]
pub(super) struct Options {
    /// Only tests whose names contain one of these
    #[arg(value_name = "FILTER")]
    pub(super) filters: Vec<String>,

    /// Filters are whole names
    #[arg(long)]
    pub(super) exact: bool,

    /// Not the tests whose names contain this; may be given several times
    #[arg(long, value_name = "FILTER", action = ArgAction::Append)]
    pub(super) skip: Vec<String>,

    /// Only the tests that are marked to be ignored
    #[arg(long, conflicts_with = "include_ignored")]
    pub(super) ignored: bool,

    /// These tests, too
    #[arg(long)]
    pub(super) include_ignored: bool,

    /// Let tests print as they run
    #[arg(long, alias = "no-capture")]
    pub(super) nocapture: bool,

    /// Show what tests printed that passed, too
    #[arg(long)]
    pub(super) show_output: bool,

    /// Print the names of the tests, and run none
    #[arg(long)]
    pub(super) list: bool,

    /// How results are printed
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    pub(super) format: Format,

    /// One character a test, as --format terse
    #[arg(short, long)]
    pub(super) quiet: bool,

    /// Whether results have colours
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub(super) color: Color,

    /// Tests that run at once [default: 64, or RUST_TEST_THREADS]
    #[arg(long, value_name = "N")]
    test_threads: Option<NonZeroUsize>,

    /// Stop a test that runs longer, and count it as failed [default: none does]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) timeout: Option<Duration>,

    /// Tests only; what is there anyway
    #[arg(long, hide = true)]
    test: bool,

    /// Benchmarks only, of which there are none: `cargo bench` says so
    #[arg(long, hide = true)]
    bench: bool,

    /// Unstable options of Rust's harness, of which none is needed here
    #[arg(short = 'Z', hide = true, action = ArgAction::Append)]
    unstable: Vec<String>,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Pretty,
    Terse,
}

/// Whether results have colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// If stdout is a terminal, and NO_COLOR is not set
    Auto,
    Always,
    Never,
}

impl Options {
    /// Reads the words behind the module, and what the environment adds; ends the program with a
    /// word of its own if they are wrong.
    pub(super) fn of(run: &RunArguments, timeout: Option<Duration>) -> Result<Self, Failure> {
        let mut options = output::parsed(Self::try_parse_from(&run.args))?;
        options.timeout = options.timeout.or(timeout);
        options.nocapture |= std::env::var("RUST_TEST_NOCAPTURE").is_ok_and(|value| value != "0");
        if let (None, Ok(value)) = (options.test_threads, std::env::var("RUST_TEST_THREADS")) {
            let threads = value
                .parse()
                .with_context(|| format!("RUST_TEST_THREADS is \"{value}\", give a number above 0"))
                .or_fail(Code::Usage)?;
            options.test_threads = Some(threads);
        }
        Ok(options)
    }

    /// Tests that run at once.
    pub(super) fn threads(&self) -> usize {
        self.test_threads.unwrap_or(AT_ONCE).get()
    }

    pub(super) fn is_terse(&self) -> bool {
        self.quiet || self.format == Format::Terse
    }

    /// `cargo bench` runs every harness, and wants no tests.
    pub(super) fn benches_only(&self) -> bool {
        self.bench && !self.test
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_are_consistent() {
        Options::command().debug_assert();
    }
}
