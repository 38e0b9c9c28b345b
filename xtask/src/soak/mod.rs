//! `cargo xtask soak`: random work on the real binary for a while; then the books must balance.
//!
//! The guest program `soak` does the work; this driver watches the runtime's memory, waits for the end, and gives what it
//! saw to `check`. A seed makes the same program; the order of events is the machine's, so a failure may take several
//! runs to come again.

mod check;

use crate::{guests, repository, step, toolchain};
use anyhow::{Context, Result, bail};
use check::{Observed, Totals};
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

const GUEST: &str = "soak";
/// Between two looks at the memory.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// A run that has not ended so long after its time hangs.
const HANG_GUARD: Duration = Duration::from_secs(120);
/// How often a line is printed where no terminal shows one that changes.
const LINE_EVERY: Duration = Duration::from_secs(30);
/// Lines of the runtime's own words that a failure shows.
const WORDS_SHOWN: usize = 30;

/// What is to be run.
pub(crate) struct Soak {
    pub(crate) time: Duration,
    pub(crate) workers: usize,
    /// None: another one each time.
    pub(crate) seed: Option<u64>,
}

impl Soak {
    /// Builds what is needed, and soaks.
    pub(crate) fn build_and_run(&self) -> Result<()> {
        guests::build_with(&toolchain::find()?, &[GUEST.to_string()])?;
        step::step("runtime", || {
            let mut cargo = step::cargo();
            // As the tests build it, so that neither builds again what the other has built.
            cargo.args(["test", "--release", "--workspace", "--no-run", "--test", "cli"]);
            step::run(cargo.current_dir(repository::root()))
        })?;
        step::step("soak", || self.run()).map(drop)
    }

    /// With everything built.
    pub(crate) fn run(&self) -> Result<()> {
        let seed = self.seed.unwrap_or_else(seed_of_the_clock);
        let mut command = self.command(seed);
        eprintln!(
            "    $ cargo xtask soak --seconds {} --workers {} --seed {seed}",
            self.time.as_secs(),
            self.workers
        );
        let mut child = command.spawn().context("starting target/release/lunatic")?;
        let stdout = lines_of(child.stdout.take().expect("it is a pipe"));
        let stderr = lines_of(child.stderr.take().expect("it is a pipe"));
        let (status, resident) = self.watch(&mut child)?;
        let stdout = stdout.join().expect("the reader does not panic");
        let stderr = stderr.join().expect("the reader does not panic");
        let (numbers, words): (Vec<_>, Vec<_>) =
            stderr.into_iter().partition(|line| line.starts_with("{\"stats\":"));
        let totals = numbers.first().and_then(|line| Totals::parse(line));
        let observed = Observed { code: status.code(), stdout, totals, resident };
        let complaints = check::complaints(&observed);
        if complaints.is_empty() {
            eprintln!("    {}", observed.summary());
            return Ok(());
        }
        for line in words.iter().rev().take(WORDS_SHOWN).rev().chain(&numbers) {
            eprintln!("    | {line}");
        }
        bail!("the soak with the seed {seed} failed ({status}):\n  {}", complaints.join("\n  "))
    }

    fn command(&self, seed: u64) -> Command {
        let mut command = Command::new(repository::target().join("release").join("lunatic"));
        command.args(["run", "--stats=json", "--workers", &self.workers.to_string()]);
        command.arg(repository::guests().join(GUEST).with_extension("wasm"));
        command.args(["--", &self.time.as_secs().to_string(), &seed.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Waits for the end, and notes meanwhile how many KiB are resident.
    fn watch(&self, child: &mut Child) -> Result<(ExitStatus, Vec<u64>)> {
        let begun = Instant::now();
        let mut progress = Progress::new(begun);
        let mut resident = Vec::new();
        let mut asked_to_stop = false;
        loop {
            if let Some(status) = child.try_wait().context("waiting for the runtime")? {
                progress.wipe();
                return Ok((status, resident));
            }
            let elapsed = begun.elapsed();
            let kibibytes = resident_kib(child.id());
            // What comes after the time is the end, which is no steady state.
            if elapsed < self.time {
                resident.extend(kibibytes);
            }
            progress.show(elapsed, self.time, kibibytes.unwrap_or(0));
            if elapsed > self.time + HANG_GUARD && !asked_to_stop {
                asked_to_stop = true;
                eprintln!("\n    it hangs: stopped, so that it tells its counts");
                interrupt(child)?;
            }
            if elapsed > self.time + 2 * HANG_GUARD {
                child.kill().context("killing the runtime, which hangs")?;
            }
            thread::sleep(SAMPLE_EVERY);
        }
    }
}

fn seed_of_the_clock() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_secs()
}

/// As Ctrl-C does it.
fn interrupt(child: &Child) -> Result<()> {
    step::run(Command::new("kill").args(["-INT", &child.id().to_string()]))
}

/// All lines of a pipe, read while the other side writes.
fn lines_of(pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<String>> {
    thread::spawn(move || BufReader::new(pipe).lines().map_while(Result::ok).collect())
}

/// `None` if it has just ended.
fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// One line that changes on a terminal, one from time to time elsewhere.
struct Progress {
    shown: Instant,
    terminal: bool,
}

impl Progress {
    fn new(begun: Instant) -> Self {
        Self { shown: begun, terminal: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, elapsed: Duration, of: Duration, kibibytes: u64) {
        let every = if self.terminal { Duration::from_secs(1) } else { LINE_EVERY };
        if self.shown.elapsed() < every {
            return;
        }
        self.shown = Instant::now();
        let (elapsed, of) = (elapsed.as_secs(), of.as_secs());
        let text = format!("    {elapsed} s of {of} s, {} MiB resident", kibibytes >> 10);
        // Nobody reads it: no reason to stop.
        let _ = if self.terminal {
            write!(std::io::stderr(), "\r\x1b[K{text}")
        } else {
            writeln!(std::io::stderr(), "{text}")
        };
    }

    fn wipe(&self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
