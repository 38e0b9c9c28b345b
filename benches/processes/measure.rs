//! A row: ours and the peers' programs run in turns, so that the weather of the machine is the same
//! for all, and what each of them showed.

use std::collections::BTreeMap;
use std::process::Command;

use crate::figures::Figures;
use crate::rows::{Aim, Row};
use crate::run::{self, Run};
use crate::{Session, WORKERS, touch};

/// All that a row gave.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) row: &'static Row,
    pub(crate) count: u64,
    pub(crate) ours: Contender,
    pub(crate) peers: Vec<Contender>,
    /// Where a figure is held against the price of pages.
    pub(crate) touches: Option<Touches>,
}

/// One program and its figures so far.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) name: String,
    runs: Vec<Run>,
    /// Why there are no more of them.
    pub(crate) problem: Option<String>,
}

/// What first touches cost beside a row, and how many a process makes.
#[derive(Debug)]
pub(crate) struct Touches {
    pub(crate) pages_each: f64,
    /// How many were touched to learn the price.
    pub(crate) touched: u64,
    /// Nanoseconds for a page, with a thread for each worker.
    pub(crate) price: f64,
    pub(crate) price_alone: f64,
}

impl Touches {
    pub(crate) fn bound(&self) -> f64 {
        2.0 * self.pages_each * self.price
    }
}

impl Contender {
    fn new(name: &str) -> Self {
        Self { name: name.to_string(), runs: Vec::new(), problem: None }
    }

    /// Runs it once more, unless it has failed before.
    fn run(&mut self, command: Result<Command, String>, processes: u64) {
        if self.problem.is_none() {
            match command.and_then(|mut command| run::run(&mut command, processes)) {
                Ok(run) => self.runs.push(run),
                Err(problem) => self.problem = Some(problem),
            }
        }
    }

    pub(crate) fn figures(&self, metric: &str) -> Option<Figures> {
        Figures::new(self.runs.iter().filter_map(|run| run.figures.get(metric).copied()).collect())
    }

    /// As medians, by name.
    pub(crate) fn medians(&self) -> BTreeMap<&str, f64> {
        let names = self.runs.iter().flat_map(|run| run.figures.keys());
        names.filter_map(|name| Some((name.as_str(), self.figures(name)?.median()))).collect()
    }

    fn pages_each(&self) -> Option<Figures> {
        Figures::new(self.runs.iter().filter_map(|run| run.pages_each).collect())
    }

    /// A program that forgets to say something is as bad as one that fails.
    fn must_know(&mut self, row: &Row) {
        let forgotten = row.metrics.iter().find(|metric| self.figures(metric.name).is_none());
        if let (None, Some(metric)) = (&self.problem, forgotten) {
            self.problem = Some(format!("it said nothing of {}", metric.name));
        }
    }
}

pub(crate) fn row(session: &Session, row: &'static Row) -> Outcome {
    let count = row.count(session.options.smaller);
    let mut ours = Contender::new("ours");
    let rivals: Vec<_> =
        session.peers.iter().filter(|peer| row.peers.contains(&peer.name)).collect();
    let mut peers: Vec<Contender> = rivals.iter().map(|peer| Contender::new(peer.name)).collect();
    let mut prices = Vec::new();
    for _ in 0..session.options.runs {
        ours.run(session.workshop.command(row, count, WORKERS), count);
        if let Some(pages) = pages_to_touch(row, &ours, count) {
            match touch::price(pages, WORKERS) {
                Ok((price, _)) => prices.push(price),
                Err(problem) => eprintln!("the price of pages is not known: {problem}"),
            }
        }
        for (peer, contender) in rivals.iter().zip(&mut peers) {
            contender.run(peer.command(row, count), count);
        }
    }
    ours.must_know(row);
    let touches = touches(row, &ours, count, prices);
    Outcome { row, count, ours, peers, touches }
}

/// One row of ours with another number of workers.
pub(crate) fn with_workers(session: &Session, row: &Row, workers: usize, ours: &mut Contender) {
    let count = row.count(session.options.smaller);
    ours.run(session.workshop.command(row, count, workers), count);
}

pub(crate) fn nobody() -> Contender {
    Contender::new("ours")
}

/// As many pages as all processes together have touched.
fn pages_to_touch(row: &Row, ours: &Contender, count: u64) -> Option<u64> {
    let needed = row.metrics.iter().any(|metric| metric.aim == Aim::TwiceTheTouches);
    let each = ours.pages_each().filter(|_| needed)?;
    Some((each.median() * count as f64).ceil() as u64)
}

fn touches(row: &Row, ours: &Contender, count: u64, prices: Vec<f64>) -> Option<Touches> {
    let pages = pages_to_touch(row, ours, count)?;
    let price = Figures::new(prices)?.median();
    let (price_alone, touched) = touch::price(pages, 1).ok()?;
    let pages_each = ours.pages_each()?.median();
    Some(Touches { pages_each, touched, price, price_alone })
}
