//! Processes through the real binary, beside other runtimes: spawning, messages, a million alive,
//! yielding, timers under load, and how some of it grows with the workers.
//!
//! Each row of [`rows`] is a guest that times itself. It is run several times, each in a process of
//! its own, and the median is printed with the least and the most, beside what was aimed at and what
//! the peers did. With `--peers` the peers found on this machine run the same work (benches/peers)
//! between our runs; otherwise their published figures are printed. Rows of compiled guests need
//! `cargo xtask guests` before, which `cargo xtask bench` does by itself.
//!
//! What the numbers are not for: comparing machines, and small differences. Two virtual cores that
//! others share differ from run to run by a third; compare within one session, and by factors.
//!
//! `cargo bench --bench processes -- [ROW…] [--peers] [--runs N] [--smaller N] [--json FILE]`

// Reading order: what is measured, how it is run, with whom, and what is said about it.
mod guest;
mod options;
mod rows;

mod measure;
mod memory;
mod output;
mod run;
mod sender;
mod touch;

mod machine;
mod peers;

mod figures;
mod json;
mod report;
mod scaling;

use std::process::ExitCode;

use clap::Parser;

use crate::guest::Workshop;
use crate::machine::Machine;
use crate::measure::Outcome;
use crate::options::Options;
use crate::peers::Peer;
use crate::scaling::Growth;

/// Workers of ours and of the peers, but for the rows of `scaling`.
const WORKERS: usize = 2;

/// What all rows of a session share.
struct Session {
    options: Options,
    workshop: Workshop,
    /// Those that run beside us.
    peers: Vec<Peer>,
}

/// All that was measured.
#[derive(Default)]
struct Results {
    outcomes: Vec<Outcome>,
    scaling: Vec<Growth>,
}

impl Results {
    fn is_whole(&self) -> bool {
        let ran = |outcome: &Outcome| outcome.ours.problem.is_none();
        self.outcomes.iter().all(ran) && self.scaling.iter().all(Growth::is_whole)
    }
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), String> {
    let chosen = options.chosen()?;
    let machine = Machine::look();
    println!("{}", machine.header(&options));
    let peers = if options.peers { peers::find() } else { Vec::new() };
    let session = Session { options, workshop: Workshop::new(), peers };
    match peers::versions(&session) {
        versions if versions.is_empty() => println!("peers' figures as published"),
        versions => println!("beside us {versions}"),
    }

    let mut results = Results::default();
    for row in chosen.rows {
        report::print_heading(row.name, &row.title(row.count(session.options.smaller)));
        let outcome = measure::row(&session, row);
        report::print(&outcome);
        results.outcomes.push(outcome);
    }
    if chosen.scaling {
        results.scaling = scaling::run(&session);
    }
    report::print_summary(&results.outcomes);
    println!("load at the end: {}", machine::load());

    if let Some(path) = &session.options.json {
        let text = json::document(&machine, &session, &results);
        std::fs::write(path, text)
            .map_err(|error| format!("writing \"{}\": {error}", path.display()))?;
    }
    if results.is_whole() { Ok(()) } else { Err("not every row could be run".to_string()) }
}
