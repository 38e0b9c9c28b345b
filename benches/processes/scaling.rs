//! How time shrinks, or does not, with more workers. On a machine with fewer cores than workers the
//! last columns show what too many workers cost.

use crate::figures::{grouped, written};
use crate::measure::{self, Contender};
use crate::rows::{PAIRS_8, Row, Unit};
use crate::{Session, report};

const WORKERS: [usize; 4] = [1, 2, 4, 8];

/// One figure with each number of workers; `None` where it could not be had.
#[derive(Debug)]
pub(crate) struct Growth {
    pub(crate) row: &'static str,
    pub(crate) metric: &'static str,
    pub(crate) medians: Vec<(usize, Option<f64>)>,
}

impl Growth {
    pub(crate) fn is_whole(&self) -> bool {
        self.medians.iter().all(|(_, median)| median.is_some())
    }
}

pub(crate) fn run(session: &Session) -> Vec<Growth> {
    report::print_heading(
        "scaling",
        "ours with 1, 2, 4 and 8 workers, and the share of one's time",
    );
    let rows = [
        (Row::named("spawn"), "total"),
        (&PAIRS_8, "rtt"),
        (Row::named("ring"), "hop"),
        (Row::named("fan-in"), "per_message"),
        (Row::named("skynet"), "total"),
    ];
    rows.map(|(row, metric)| growth(session, row, metric)).into()
}

fn growth(session: &Session, row: &'static Row, metric: &'static str) -> Growth {
    let mut contenders: Vec<(usize, Contender)> =
        WORKERS.map(|workers| (workers, measure::nobody())).into();
    for _ in 0..session.options.runs {
        for (workers, contender) in &mut contenders {
            measure::with_workers(session, row, *workers, contender);
        }
    }
    let medians: Vec<(usize, Option<f64>)> = contenders
        .iter()
        .map(|(workers, contender)| (*workers, contender.medians().get(metric).copied()))
        .collect();
    let cells: Vec<String> =
        medians.iter().map(|(_, median)| cell(*median, medians[0].1)).collect();
    let count = grouped(row.count(session.options.smaller));
    println!("  {:<12} {metric:<12} {:<19} x {count}", row.name, cells.join(" "));
    for (workers, contender) in &contenders {
        if let Some(problem) = &contender.problem {
            println!("  FAILED, with {workers} workers: {problem}");
        }
    }
    Growth { row: row.name, metric, medians }
}

fn cell(median: Option<f64>, of_one: Option<f64>) -> String {
    let text = match (median, of_one) {
        (Some(median), Some(of_one)) => {
            format!("{} ({:.2})", written(median, Unit::Nanoseconds), median / of_one)
        }
        _ => "-".to_string(),
    };
    format!("{text:>17}")
}
