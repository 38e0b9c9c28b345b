//! What is printed about tests, in the words of Rust's own harness.

use std::io::{self, IsTerminal, Stdout, Write};
use std::time::{Duration, Instant};

use super::case::{Case, Selection};
use super::execute::Finished;
use super::options::{Color, Options};

/// Characters of a line of terse results.
const LINE: usize = 88;

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[m";

/// Prints results as they come, and keeps what is printed in the end.
pub(super) struct Report {
    out: Stdout,
    begun: Instant,
    colored: bool,
    terse: bool,
    shows_output: bool,
    /// One test at a time: its name can be printed before it runs.
    names_first: bool,
    total: usize,
    filtered_out: usize,
    /// Terse results so far, and those of them in the current line.
    printed: usize,
    column: usize,
    passed: Vec<(String, String)>,
    failed: Vec<(String, String)>,
    ignored: usize,
}

/// How one test went, for the line about it.
enum Verdict {
    Ok,
    Failed,
    Ignored,
}

impl Report {
    pub(super) fn new(selection: &Selection, options: &Options) -> Self {
        Self {
            out: io::stdout(),
            begun: Instant::now(),
            colored: match options.color {
                Color::Always => true,
                Color::Never => false,
                Color::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            },
            terse: options.is_terse(),
            shows_output: options.show_output,
            names_first: options.threads() == 1 && !options.is_terse(),
            total: selection.count(),
            filtered_out: selection.filtered_out,
            printed: 0,
            column: 0,
            passed: Vec::new(),
            failed: Vec::new(),
            ignored: 0,
        }
    }

    pub(super) fn begin(&mut self) -> io::Result<()> {
        let count = self.total;
        writeln!(self.out, "\nrunning {count} {}", if count == 1 { "test" } else { "tests" })
    }

    /// Whether none has failed so far.
    pub(super) fn all_passed(&self) -> bool {
        self.failed.is_empty()
    }

    pub(super) fn ignored(&mut self, case: &Case) -> io::Result<()> {
        self.ignored += 1;
        // Nothing is expected of a test that does not run.
        let title = &case.name;
        if self.names_first {
            write!(self.out, "test {title} ... ")?;
        }
        self.line(title, &Verdict::Ignored)
    }

    pub(super) fn started(&mut self, case: &Case) -> io::Result<()> {
        if self.names_first {
            write!(self.out, "test {} ... ", case.title())?;
            self.out.flush()?;
        }
        Ok(())
    }

    pub(super) fn finished(&mut self, case: &Case, finished: Finished) -> io::Result<()> {
        let verdict = if finished.passed { Verdict::Ok } else { Verdict::Failed };
        // A terse report names those that failed, and only by name.
        let title = if self.terse { case.name.clone() } else { case.title() };
        // First, as it counts whether or not anybody reads it.
        let kept = if finished.passed { &mut self.passed } else { &mut self.failed };
        kept.push((case.name.clone(), finished.into_text()));
        self.line(&title, &verdict)
    }

    pub(super) fn slow(&mut self, case: &Case, limit: Duration) -> io::Result<()> {
        writeln!(
            self.out,
            "test {} has been running for over {} seconds",
            case.name,
            limit.as_secs()
        )?;
        self.out.flush()
    }

    fn line(&mut self, title: &str, verdict: &Verdict) -> io::Result<()> {
        if self.terse {
            self.terse_result(title, verdict)?;
        } else {
            let text = match verdict {
                Verdict::Ok => self.color(GREEN, "ok"),
                Verdict::Failed => self.color(RED, "FAILED"),
                Verdict::Ignored => self.color(YELLOW, "ignored"),
            };
            if self.names_first {
                writeln!(self.out, "{text}")?;
            } else {
                writeln!(self.out, "test {title} ... {text}")?;
            }
        }
        self.out.flush()
    }

    /// A character, or a line for a test that failed: who waits for the others sees which it is.
    fn terse_result(&mut self, title: &str, verdict: &Verdict) -> io::Result<()> {
        let character = match verdict {
            Verdict::Ok => ".".to_string(),
            Verdict::Ignored => self.color(YELLOW, "i"),
            Verdict::Failed => {
                if self.column > 0 {
                    self.end_line()?;
                }
                self.printed += 1;
                let failed = self.color(RED, "FAILED");
                return writeln!(self.out, "{title} --- {failed}");
            }
        };
        write!(self.out, "{character}")?;
        self.printed += 1;
        self.column += 1;
        if self.column == LINE { self.end_line() } else { Ok(()) }
    }

    fn end_line(&mut self) -> io::Result<()> {
        self.column = 0;
        writeln!(self.out, " {}/{}", self.printed, self.total)
    }

    fn color(&self, color: &str, text: &str) -> String {
        if self.colored { format!("{color}{text}{PLAIN}") } else { text.to_string() }
    }

    /// The last words.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if self.shows_output {
            section(&mut self.out, "successes", &self.passed)?;
        }
        if !self.all_passed() {
            section(&mut self.out, "failures", &self.failed)?;
        }
        let result =
            if self.all_passed() { self.color(GREEN, "ok") } else { self.color(RED, "FAILED") };
        writeln!(
            self.out,
            "\ntest result: {result}. {} passed; {} failed; {} ignored; 0 measured; {} filtered \
             out; finished in {:.2}s\n",
            self.passed.len(),
            self.failed.len(),
            self.ignored,
            self.filtered_out,
            self.begun.elapsed().as_secs_f64()
        )?;
        self.out.flush()
    }
}

/// What tests printed, and their names.
fn section(out: &mut Stdout, title: &str, tests: &[(String, String)]) -> io::Result<()> {
    let mut tests: Vec<_> = tests.iter().collect();
    tests.sort();
    writeln!(out, "\n{title}:")?;
    let mut printed = tests.iter().filter(|(_, output)| !output.is_empty()).peekable();
    if printed.peek().is_some() {
        writeln!(out)?;
    }
    for (name, output) in printed {
        writeln!(out, "---- {name} stdout ----")?;
        out.write_all(output.as_bytes())?;
        writeln!(out)?;
    }
    writeln!(out, "\n{title}:")?;
    for (name, _) in &tests {
        writeln!(out, "    {name}")?;
    }
    Ok(())
}

/// The names of the tests, for people and for programs that run them one by one.
pub(super) fn list(selection: &Selection, options: &Options) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut names: Vec<&str> =
        selection.run.iter().chain(&selection.ignore).map(|case| case.name.as_str()).collect();
    names.sort_unstable();
    for name in &names {
        writeln!(out, "{name}: test")?;
    }
    if !options.is_terse() {
        let count = names.len();
        let tests = if count == 1 { "test" } else { "tests" };
        writeln!(out, "\n{count} {tests}, 0 benchmarks")?;
    }
    out.flush()
}
