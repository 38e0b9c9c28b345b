//! What can be said on the command line, as it was said.

use std::ffi::OsString;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use lunatic_engine::OptLevel;
use lunatic_host_api::Memories;

use crate::exit_code::{Code, Failure, OrFail};
use crate::profile::{ProfileArgument, profile_argument};
use crate::project::{InitArguments, NewArguments};
use crate::rights::Rights;

const AFTER_HELP: &str = "\
Examples:
  lunatic app.wasm                              run a program, as `lunatic run` does
  lunatic run app.wasm --workers 8 -- --verbose hand `--verbose` to the program
  lunatic run service.wat --env PORT=80         a module in text form
  lunatic run app.wasm --dir src::/src:ro       a directory for the program to read
  lunatic run app.wasm --allow-net connect:db.local:5432 --max-memory 64M
  lunatic test app.wasm parser                  the tests whose names contain \"parser\"
  lunatic new hello                             a project of cargo for programs in Rust

Exit codes:
  0    the program ended well, or its reader closed the pipe
  1    (new, init) it could not be done
  2    wrong usage
  3    the module, or what it was promised (--dir, --stdin, …), is not there
  70   the runtime failed
  74   what was printed could not be written: a full disk
  130  stopped by Ctrl-C
  134  the main process trapped, hit a limit, or failed with a linked one
  137  the main process was killed
  any other: the program's own";

const AFTER_TEST_HELP: &str = "\
A module compiled with #[lunatic::test] exports its tests. Each is a run of its own, with its own
processes, names and output, and all of them run at once. They may read the environment, use the
current directory and, unless --allow-net says where, the network. A module without such tests is run as `lunatic run` does, with all arguments: its
own test harness (#[test]) understands them.

Behind the module, as for every test of cargo:
  FILTER…                    only tests whose names contain one of these
  --exact, --skip FILTER     filters are whole names; not these
  --ignored, --include-ignored
  --nocapture, --show-output
  --list, --format pretty|terse, -q, --color auto|always|never
  --test-threads N           tests at once [default: 64]
  --timeout SECONDS          stop a test that runs longer

Examples:
  CARGO_TARGET_WASM32_WASIP1_RUNNER=\"lunatic test\" cargo test --target wasm32-wasip1 -- --nocapture
  lunatic test --dir fixtures --timeout 60 app.wasm parser::

Exit codes: 0 all passed, 101 one failed, 2 wrong usage, 3 the module is not there, 74 the disk is full";

const AFTER_NEW_HELP: &str = "\
Examples:
  lunatic new hello && cd hello && cargo run
  lunatic new hello --lunatic-git https://example.org/lunatic.git

Exit codes: 0 made, 1 it could not be made, 2 wrong usage";

const AFTER_INIT_HELP: &str = "\
It adds two keys to .cargo/config.toml and leaves all else there as it is:
  build.target = \"wasm32-wasip1\"
  target.wasm32-wasip1.runner = \"lunatic run --\"
Options for the runtime stand before the dashes: \"lunatic run --allow-net --dir data --\".

Examples:
  lunatic init            the project in the current directory
  lunatic init --force    whatever these keys say now

Exit codes: 0 it is set up, 1 it cannot be, 2 wrong usage";

/// Runs programs compiled to WebAssembly as systems of lightweight processes
#[derive(Debug, Parser)]
#[command(name = "lunatic", version, after_help = AFTER_HELP, max_term_width = 100)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Option<RunArguments>,
    #[command(flatten)]
    rights: Rights,
}

/// Everything that `run` is told.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) arguments: RunArguments,
    #[command(flatten)]
    pub(crate) rights: Rights,
}

impl Run {
    /// With what the file of `--config` says. It is read here and nowhere else: a pipe says it once.
    pub(crate) fn with_file(self) -> Result<Self, Failure> {
        let rights = self.rights.with_file().or_fail(Code::Load)?;
        Ok(Self { rights, ..self })
    }
}

impl Cli {
    /// The command; running is what happens when none is named.
    pub(crate) fn into_command(self) -> Command {
        match (self.command, self.run) {
            (Some(command), _) => command,
            (None, Some(arguments)) => {
                Command::Run(Box::new(Run { arguments, rights: self.rights }))
            }
            (None, None) => unreachable!("clap demands a module or a command"),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a program
    #[command(after_help = AFTER_HELP)]
    Run(Box<Run>),
    /// Run the tests of a module
    #[command(after_help = AFTER_TEST_HELP)]
    Test(Box<TestArguments>),
    /// Make a project of cargo whose programs run on lunatic
    #[command(after_help = AFTER_NEW_HELP)]
    New(NewArguments),
    /// Set a project of cargo up that is there: `cargo run` and `cargo test` use lunatic
    #[command(after_help = AFTER_INIT_HELP)]
    Init(InitArguments),
    /// Print a completion script for a shell
    Completions {
        /// The shell to complete for
        shell: Shell,
    },
    /// List everything that a program may import
    Imports(ImportsArguments),
}

/// What `imports` is told.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ImportsArguments {
    /// As the reference page in Markdown
    #[arg(long)]
    pub(crate) markdown: bool,

    /// As a header for programs in C and C++, without WASI's
    #[arg(long, conflicts_with = "markdown")]
    pub(crate) c_header: bool,
}

/// What `run` is told.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArguments {
    /// The program: a .wasm or .wat file
    pub(crate) module: PathBuf,

    /// Arguments for the program; those that look like options go behind `--`
    pub(crate) args: Vec<OsString>,

    /// Worker threads that run processes [default: the cores this process may use]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) workers: Option<NonZeroUsize>,

    /// Processes that may live at once; a spawn beyond it answers an error [default: 1100000]
    ///
    /// A run may have a few hundred more, as each worker keeps some free places to itself.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) processes_max: Option<NonZeroUsize>,

    /// Most memory that the runtime holds for all processes beside their own: messages, resources
    ///
    /// Bytes, or with K, M or G. Beyond it the process that holds most ends, or the one that has filled
    /// its mailbox. [default: a quarter of the machine's memory, or of the control group's, and at most
    /// half of --max-total-memory]
    #[arg(long, value_name = "SIZE", value_parser = crate::rights::size)]
    pub(crate) max_host_memory: Option<u64>,

    /// Most memory that all processes together may take, with their stacks and page tables
    ///
    /// Bytes, or with K, M or G. Beyond it a spawn answers an error and memory.grow answers -1; if
    /// processes touch more of what they have nevertheless, those that take most end.
    /// [default: seven eighths of the machine's memory, or of the control group's, less 128M]
    #[arg(long, value_name = "SIZE", value_parser = crate::rights::size)]
    pub(crate) max_total_memory: Option<u64>,

    /// How processes are kept inside of their memories
    ///
    /// Code for guarded memories is faster, but each takes 8 GiB of address space, so there are at
    /// most some thousands.
    #[arg(long, value_name = "KIND", value_enum, default_value = "auto")]
    pub(crate) memory: MemoryKind,

    /// A file for the program's standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) stdin: Option<PathBuf>,

    /// A file for the program's standard output; what was in it is replaced
    #[arg(long, value_name = "FILE")]
    pub(crate) stdout: Option<PathBuf>,

    /// The same for standard error, and it may be the same file
    ///
    /// What the runtime has to say goes to its own standard error nevertheless.
    #[arg(long, value_name = "FILE")]
    pub(crate) stderr: Option<PathBuf>,

    /// How processes that run for long are made to let others run [default: signal]
    ///
    /// `signal` interrupts them wherever they are, and costs their code nothing (Linux on x86-64
    /// and aarch64; elsewhere the default is `fuel`). `fuel` compiles checks into their code that count what it
    /// does: that costs time, but with `--workers 1` each run takes its turns at the same places.
    /// A process whose fuel is limited has counting code in both.
    #[arg(long, value_name = "HOW", value_enum)]
    pub(crate) preempt: Option<PreemptArgument>,

    /// How long a process runs while others wait, in microseconds, with `--preempt signal`; for tests
    #[arg(long, hide = true, value_name = "N")]
    pub(crate) tick_us: Option<NonZeroU32>,

    /// Compile anew, and keep nothing of it on disk
    #[arg(long)]
    pub(crate) no_cache: bool,

    /// How hard the compiler tries; less is sooner there
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = OptLevelArgument::Speed)]
    pub(crate) opt_level: OptLevelArgument,

    /// Find out where the time goes: `perf`, or `guest` for a profile of all processes
    ///
    /// With `perf` Linux's perf knows the program's functions: `perf record -g -k mono lunatic run
    /// --profile perf app.wasm`. With `guest` or `guest=FILE` a profile is written at the end, for
    /// speedscope (FILE.json) or flame graphs (FILE.folded).
    #[arg(long, value_name = "HOW", value_parser = profile_argument)]
    pub(crate) profile: Option<ProfileArgument>,

    /// Print what happened to stderr at the end: processes, messages, workers, memory
    ///
    /// As a table, or as one line of JSON for programs (`--stats=json`).
    #[arg(
        long, value_name = "FORMAT", value_enum,
        num_args = 0..=1, require_equals = true, default_missing_value = "table"
    )]
    pub(crate) stats: Option<StatsFormat>,

    /// Go without guard marks in page tables, as on kernels before Linux 6.13; for tests
    #[arg(long, hide = true)]
    pub(crate) without_guard_marks: bool,

    /// Say more about what happens; twice: everything
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// How hard the compiler tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OptLevelArgument {
    /// Compiles fastest
    None,
    /// The fastest code
    Speed,
    /// The fastest code, then the smaller
    SpeedAndSize,
}

impl From<OptLevelArgument> for OptLevel {
    fn from(level: OptLevelArgument) -> Self {
        match level {
            OptLevelArgument::None => Self::None,
            OptLevelArgument::Speed => Self::Speed,
            OptLevelArgument::SpeedAndSize => Self::SpeedAndSize,
        }
    }
}

/// What `test` is told. Behind the module come the words of `test::options`.
#[derive(Debug, Args)]
#[command(mut_arg("args", |arg| {
    arg.allow_hyphen_values(true)
        .trailing_var_arg(true)
        .help("Filters and options for the tests, see below")
}))]
pub(crate) struct TestArguments {
    /// Stop a test that runs longer, and count it as failed [default: none does]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,

    #[command(flatten)]
    pub(crate) run: Run,
}

/// What `--preempt` may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PreemptArgument {
    /// Signals.
    Signal,
    /// Yield points.
    #[value(alias = "metering")]
    Fuel,
}

/// How `--stats` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatsFormat {
    /// For people
    Table,
    /// For programs
    Json,
}

/// What `--memory` allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MemoryKind {
    /// Guarded while few processes are alive, dense beyond
    Auto,
    /// Guarded only: accesses are not checked, those beyond a memory's end fault
    Guarded,
    /// Dense only: each access is checked, memories are as small as can be
    Dense,
}

impl From<MemoryKind> for Memories {
    fn from(kind: MemoryKind) -> Self {
        match kind {
            MemoryKind::Auto => Self::Auto,
            MemoryKind::Guarded => Self::Guarded,
            MemoryKind::Dense => Self::Dense,
        }
    }
}

/// Whole or broken seconds, more than none.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "give a number of seconds".to_string())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) | Err(_) => Err("give a number of seconds above 0".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_behind_the_dashes_is_the_guests() {
        let line = ["lunatic", "run", "a.wasm", "x", "--workers", "8", "--", "--workers", "y"];
        let Command::Run(run) = Cli::parse_from(line).into_command() else { panic!("run") };
        let run = run.arguments;
        assert_eq!(run.args, ["x", "--workers", "y"]);
        assert_eq!(run.workers.map(NonZeroUsize::get), Some(8));
    }

    #[test]
    fn a_module_alone_is_run() {
        let Command::Run(run) = Cli::parse_from(["lunatic", "a.wasm", "b"]).into_command() else {
            panic!("run")
        };
        let run = run.arguments;
        assert_eq!(
            (run.module.as_path(), run.args.as_slice()),
            ("a.wasm".as_ref(), &["b".into()][..])
        );
    }

    #[test]
    fn stats_do_not_swallow_the_module() {
        let formats = |option| {
            let Command::Run(run) = Cli::parse_from(["lunatic", option, "a.wasm"]).into_command()
            else {
                panic!("run")
            };
            let run = run.arguments;
            assert_eq!(run.module.as_path(), "a.wasm");
            run.stats
        };
        assert_eq!(formats("--stats"), Some(StatsFormat::Table));
        assert_eq!(formats("--stats=json"), Some(StatsFormat::Json));
        assert_eq!(formats("--no-cache"), None);
    }
}
