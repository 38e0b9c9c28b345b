//! Running the tests: so many at once, each on workers of its own, and a watch over their time.

use std::collections::HashMap;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use lunatic_engine::Module;
use lunatic_host_api::{Captured, ExitReason, ProcessConfig, Stdin, Stdio, StdioSink, Stopper};

use super::case::{Case, Selection};
use super::options::Options;
use super::panics;
use super::report::Report;
use crate::cli::{Run, RunArguments};
use crate::exit_code::Failure;
use crate::{output, run};

/// Workers of each test: two, so that what can go wrong between two does.
const WORKERS: usize = 2;

/// A test that runs longer is mentioned, as Rust's own harness does.
const SLOW: Duration = Duration::from_secs(60);

/// What all tests share.
pub(super) struct Tests<'a> {
    pub(super) arguments: &'a RunArguments,
    pub(super) module: &'a Module,
    pub(super) config: ProcessConfig,
    pub(super) options: &'a Options,
}

/// How a test went.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) passed: bool,
    /// Its run was ended from outside: it took too long, or nobody reads what it prints (`--nocapture`).
    stopped: bool,
    /// What it printed.
    output: String,
    /// What there is to say about its end.
    notes: String,
}

/// What the threads that run tests tell the one that prints.
enum Event {
    Started(usize, Option<Stopper>),
    Finished(usize, Finished),
}

/// A test that runs.
struct Running {
    begun: Instant,
    /// `None` if it could not begin.
    stopper: Option<Stopper>,
    mentioned: bool,
    stopped: bool,
}

/// What tests are given: as the program would be, and beyond that what older versions gave to all.
pub(super) fn config(run: &Run) -> Result<ProcessConfig, Failure> {
    let mut arguments = run.arguments.clone();
    arguments.args.clear();
    run::config(&arguments, &run.rights.clone().for_tests())
}

impl Tests<'_> {
    /// Runs what was selected; whether all passed. If whoever reads the results has enough of them,
    /// what had failed before counts.
    pub(super) fn run(mut self, selection: &Selection) -> Result<bool, Failure> {
        // Where the program's streams would lead is where the uncaptured output of tests leads.
        self.config.stdio.stdin = Stdin::empty();
        let mut report = Report::new(selection, self.options);
        output::printed(self.run_all(selection, &mut report))?;
        Ok(report.all_passed())
    }

    fn run_all(&self, selection: &Selection, report: &mut Report) -> io::Result<()> {
        report.begin()?;
        let cases = &selection.run;
        let threads = self.options.threads().min(cases.len());
        let next = Mutex::new(0..cases.len());
        let (events, incoming) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..threads {
                let (events, next) = (events.clone(), &next);
                scope.spawn(move || {
                    // Apart, so that the lock is not held while a test runs.
                    let take = || next.lock().map_or(None, |mut next| next.next());
                    while let Some(index) = take() {
                        self.run_one(index, &cases[index], &events);
                    }
                });
            }
            drop(events);
            self.watch(selection, incoming, report)
        })?;
        report.end()
    }

    /// Prints what happens until all is done. Without anybody who reads it, all is stopped.
    fn watch(
        &self,
        selection: &Selection,
        events: Receiver<Event>,
        report: &mut Report,
    ) -> io::Result<()> {
        let mut running = HashMap::new();
        let result = self.print(selection, &events, report, &mut running);
        // From here on no test begins.
        drop(events);
        running.values().filter_map(|test| test.stopper.as_ref()).for_each(Stopper::stop);
        result
    }

    /// Prints what happens until all is done, and stops what takes too long.
    fn print(
        &self,
        selection: &Selection,
        events: &Receiver<Event>,
        report: &mut Report,
        running: &mut HashMap<usize, Running>,
    ) -> io::Result<()> {
        let cases = &selection.run;
        // Those that do not run are told of in their places between those that do.
        let mut ignored = selection.ignore.iter().peekable();
        loop {
            let now = Instant::now();
            let next = running.values().filter_map(|test| self.next_look(test)).min();
            let wait = next.map_or(SLOW, |next| next.saturating_duration_since(now));
            match events.recv_timeout(wait) {
                Ok(Event::Started(index, stopper)) => {
                    while let Some(case) = ignored.next_if(|case| case.name < cases[index].name) {
                        report.ignored(case)?;
                    }
                    report.started(&cases[index])?;
                    let begun = Instant::now();
                    let test = Running { begun, stopper, mentioned: false, stopped: false };
                    running.insert(index, test);
                }
                Ok(Event::Finished(index, mut finished)) => {
                    if running.remove(&index).is_some_and(|test| test.stopped) {
                        finished.passed = false;
                        finished.note(&self.stopped_note());
                    } else if finished.stopped {
                        // Nobody reads what it prints: it is no test that fails.
                        return Err(io::ErrorKind::BrokenPipe.into());
                    }
                    report.finished(&cases[index], finished)?;
                }
                Err(RecvTimeoutError::Timeout) => {
                    for (&index, test) in &mut *running {
                        self.look(test, &cases[index], report)?;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return ignored.try_for_each(|case| report.ignored(case));
                }
            }
        }
    }

    /// When a running test is to be looked at.
    fn next_look(&self, test: &Running) -> Option<Instant> {
        let stop = self.options.timeout.filter(|_| !test.stopped).map(|limit| test.begun + limit);
        let mention = (!test.mentioned).then(|| test.begun + SLOW);
        [stop, mention].into_iter().flatten().min()
    }

    fn look(&self, test: &mut Running, case: &Case, report: &mut Report) -> io::Result<()> {
        let ran = test.begun.elapsed();
        if ran >= SLOW && !test.mentioned {
            test.mentioned = true;
            report.slow(case, SLOW)?;
        }
        if self.options.timeout.is_some_and(|limit| ran >= limit) && !test.stopped {
            test.stopped = true;
            test.stopper.iter().for_each(Stopper::stop);
        }
        Ok(())
    }

    fn stopped_note(&self) -> String {
        let limit = self.options.timeout.unwrap_or_default();
        format!("note: the test was stopped after {limit:?} (--timeout)")
    }

    fn run_one(&self, index: usize, case: &Case, events: &Sender<Event>) {
        let (config, captured) = self.streams(case);
        let mut arguments = self.arguments.clone();
        arguments.workers = arguments.workers.or(NonZeroUsize::new(WORKERS));
        let node = run::start(&arguments);
        let stopper = node.as_ref().ok().map(|node| node.stopper());
        if events.send(Event::Started(index, stopper)).is_err() {
            return;
        }
        let reason = match node {
            Ok(node) => {
                node.run(self.module, config, &case.export).map_err(|error| error.to_string())
            }
            Err(failure) => Err(failure.source.to_string()),
        };
        let mut finished = judge(case, reason, &captured.unwrap_or_default());
        if self.options.nocapture {
            // Whoever does not read it is not told.
            let _ = io::stderr().write_all(std::mem::take(&mut finished.output).as_bytes());
        }
        let _ = events.send(Event::Finished(index, finished));
    }

    /// A configuration with the streams of one test. Not captured are those who may print as they
    /// run and whose output needs no judging.
    fn streams(&self, case: &Case) -> (ProcessConfig, Option<Captured>) {
        let mut config = self.config.clone();
        if self.options.nocapture && case.should_panic.is_none() {
            return (config, None);
        }
        let (sink, captured) = StdioSink::capture();
        config.stdio = Stdio { stdin: config.stdio.stdin, stdout: sink.clone(), stderr: sink };
        (config, Some(captured))
    }
}

/// Whether the end of a test is the one that its author wants.
fn judge(case: &Case, reason: Result<ExitReason, String>, captured: &Captured) -> Finished {
    let mut output = captured.text();
    if captured.dropped() > 0 {
        output.insert_str(0, &format!("… {} bytes before this are left out\n", captured.dropped()));
    }
    let messages = panics::messages(&output);
    let (passed, note) = match (&case.should_panic, &reason) {
        (_, Err(error)) => (false, Some(format!("note: the test could not begin: {error}"))),
        (_, Ok(reason @ (ExitReason::HostBug { .. } | ExitReason::Entry { .. }))) => {
            (false, Some(format!("note: the test {reason}")))
        }
        // Whoever stopped it says so.
        (_, Ok(ExitReason::Shutdown)) => (false, None),
        (None, Ok(reason)) if reason.is_normal() => (true, None),
        (None, Ok(reason)) => {
            // Whoever panics has said so already.
            let silent = messages.is_empty() || !matches!(reason, ExitReason::Trap { .. });
            (false, silent.then(|| format!("note: the test {reason}")))
        }
        (Some(_), Ok(reason)) if reason.is_normal() => {
            (false, Some("note: test did not panic as expected".to_string()))
        }
        (Some(expected), Ok(reason)) => judge_panic(expected, reason, &messages),
    };
    let stopped = matches!(reason, Ok(ExitReason::Shutdown));
    let mut finished = Finished { passed, stopped, output, notes: String::new() };
    if let Some(note) = note {
        finished.note(&note);
    }
    finished
}

/// A test that should panic may do so in any of its processes: all print to the same place.
fn judge_panic(expected: &str, reason: &ExitReason, messages: &[&str]) -> (bool, Option<String>) {
    if expected.is_empty() || messages.iter().any(|message| message.contains(expected)) {
        return (true, None);
    }
    let note = match messages.last() {
        Some(message) => format!(
            "note: panic did not contain expected string\n      panic message: {message:?}\n \
             expected substring: {expected:?}"
        ),
        None => format!(
            "note: the test {reason}, without a panic; expected was one that contains {expected:?}"
        ),
    };
    (false, Some(note))
}

impl Finished {
    fn note(&mut self, note: &str) {
        if !self.notes.is_empty() {
            self.notes.push('\n');
        }
        self.notes.push_str(note);
    }

    /// All of it, as Rust's own harness has it: no line ends behind a note.
    pub(super) fn into_text(self) -> String {
        let mut text = self.output;
        if !text.is_empty() && !text.ends_with('\n') && !self.notes.is_empty() {
            text.push('\n');
        }
        text + &self.notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_without_a_panic_is_a_panic_only_for_who_expects_no_message() {
        assert!(judge_panic("", &ExitReason::Killed { by: None }, &[]).0);
        assert!(!judge_panic("a", &ExitReason::Killed { by: None }, &[]).0);
        assert!(judge_panic("a", &ExitReason::Killed { by: None }, &["x", "cat"]).0);
        assert!(!judge_panic("a", &ExitReason::Killed { by: None }, &["x"]).0);
    }
}
