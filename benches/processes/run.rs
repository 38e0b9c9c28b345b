//! One run of one program: its lines, and its memory at the marks.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::memory::{self, Footprint};
use crate::output::{self, Line};
use crate::{figures, rows};

/// A program that says nothing for so long hangs. A million processes may take minutes to make.
const SILENCE_MAX: Duration = Duration::from_secs(300);

/// How often the memory of the machine is looked at while a program fills it.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// What one run showed.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// By the names of metrics.
    pub(crate) figures: BTreeMap<String, f64>,
    /// Pages of resident memory of each process, where a row has marks.
    pub(crate) pages_each: Option<f64>,
}

/// Runs a program that has `processes` processes when it says that all are blocked.
pub(crate) fn run(command: &mut Command, processes: u64) -> Result<Run, String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("starting {:?}: {error}", command.get_program()))?;
    let lines = lines_of(&mut child);
    let listened = Listener::new(child.id(), processes).listen(&lines);
    if listened.is_err() {
        // It may have ended by itself; then there is nothing to kill.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| format!("waiting for its end: {error}"))?;
    match listened {
        Ok(_) if !status.success() => Err(format!("it ended with {status}")),
        other => other,
    }
}

/// The lines of its output as they come, so that a hanging program can be noticed.
fn lines_of(child: &mut Child) -> Receiver<String> {
    let stdout = child.stdout.take().expect("it is a pipe");
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return; // nobody listens any more
            }
        }
    });
    lines
}

/// What is known of a program while it runs.
struct Listener {
    process: u32,
    processes: u64,
    run: Run,
    late: Vec<f64>,
    start: Option<Footprint>,
}

impl Listener {
    fn new(process: u32, processes: u64) -> Self {
        Self { process, processes, run: Run::default(), late: Vec::new(), start: None }
    }

    fn listen(mut self, lines: &Receiver<String>) -> Result<Run, String> {
        let mut heard = Instant::now();
        loop {
            match lines.recv_timeout(self.patience()) {
                Ok(line) => {
                    self.hear(output::parse(&line)?)?;
                    heard = Instant::now();
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(self.finish()),
                Err(RecvTimeoutError::Timeout) if heard.elapsed() >= SILENCE_MAX => {
                    return Err(format!("it said nothing for {} s", SILENCE_MAX.as_secs()));
                }
                Err(RecvTimeoutError::Timeout) => self.watch()?,
            }
        }
    }

    /// Whoever does not fill the memory is left alone: some rows measure an idle machine.
    fn patience(&self) -> Duration {
        if self.start.is_some() { WATCH_INTERVAL } else { SILENCE_MAX }
    }

    fn watch(&self) -> Result<(), String> {
        match (memory::available(), memory::footprint(self.process)) {
            (Some(left), Some(used)) if left < memory::KEEP_FREE_BYTES => Err(format!(
                "the machine has {} MiB left, so it was stopped at {} MiB, before all {} were \
                 blocked or had answered",
                left >> 20,
                used.resident >> 20,
                figures::grouped(self.processes)
            )),
            _ => Ok(()),
        }
    }

    fn hear(&mut self, line: Line) -> Result<(), String> {
        match line {
            Line::Nanoseconds { metric, each } => {
                self.run.figures.insert(metric, each);
            }
            Line::Late(nanoseconds) => self.late.push(nanoseconds),
            Line::Start => self.start = Some(self.footprint()?),
            Line::Blocked => {
                let start = self.start.ok_or("it was blocked before it started")?;
                let blocked = self.footprint()?;
                let resident = blocked.resident.saturating_sub(start.resident) as f64;
                let tables = blocked.page_tables.saturating_sub(start.page_tables) as f64;
                let count = self.processes as f64;
                let figures = &mut self.run.figures;
                figures.insert(rows::BYTES_EACH.to_string(), (resident + tables) / count);
                figures.insert(rows::PAGE_TABLES_EACH.to_string(), tables / count);
                self.run.pages_each = Some(resident / 4096.0 / count);
            }
        }
        Ok(())
    }

    fn footprint(&self) -> Result<Footprint, String> {
        memory::footprint(self.process).ok_or_else(|| "its memory cannot be seen".to_string())
    }

    fn finish(mut self) -> Run {
        if !self.late.is_empty() {
            self.late.sort_by(f64::total_cmp);
            for (name, share) in
                [(rows::LATE_P50, 0.5), (rows::LATE_P99, 0.99), (rows::LATE_MAX, 1.0)]
            {
                let value = figures::at_share(&self.late, share);
                self.run.figures.insert(name.to_string(), value);
            }
        }
        self.run
    }
}
