//! The same for machines: everything measured, each run included, as one JSON document.

use std::fmt::Write as _;

use crate::figures::Figures;
use crate::machine::Machine;
use crate::measure::{Contender, Outcome};
use crate::rows::{Metric, Unit};
use crate::scaling::Growth;
use crate::{Results, Session, WORKERS, peers, report};

pub(crate) fn document(machine: &Machine, session: &Session, results: &Results) -> String {
    let fields = [
        ("date", string(&machine.date)),
        ("commit", string(&machine.commit)),
        ("model", string(&machine.model)),
        ("cores", machine.cores.to_string()),
        ("memory_bytes", machine.memory_bytes.to_string()),
        ("kernel", string(&machine.kernel)),
        ("vm.max_map_count", string(&machine.mappings_max)),
        ("huge_pages", string(&machine.huge_pages)),
        ("load", string(&machine.load)),
        ("peers", string(&peers::versions(session))),
        ("workers", WORKERS.to_string()),
        ("counts_divided_by", session.options.smaller.to_string()),
        ("rows", list(results.outcomes.iter().map(outcome))),
        ("scaling", list(results.scaling.iter().map(growth))),
    ];
    object(fields) + "\n"
}

fn outcome(outcome: &Outcome) -> String {
    let contenders = [&outcome.ours].into_iter().chain(&outcome.peers);
    let problems = contenders.filter_map(|contender| {
        let problem = contender.problem.as_ref()?;
        Some(string(&format!("{}: {problem}", contender.name)))
    });
    let mut fields = vec![
        ("row", string(outcome.row.name)),
        ("count", outcome.count.to_string()),
        ("metrics", list(outcome.row.metrics.iter().map(|each| metric(outcome, each)))),
        ("problems", list(problems)),
    ];
    if let Some(touches) = &outcome.touches {
        let of_touches = object([
            ("pages_each", number(touches.pages_each)),
            ("pages_touched", touches.touched.to_string()),
            ("nanoseconds_with_workers", number(touches.price)),
            ("nanoseconds_with_one_thread", number(touches.price_alone)),
        ]);
        fields.push(("first_touch", of_touches));
    }
    object(fields)
}

fn metric(outcome: &Outcome, metric: &Metric) -> String {
    let unit = match metric.unit {
        Unit::Nanoseconds => "nanoseconds",
        Unit::Bytes => "bytes",
    };
    let measured = |contender: &Contender| {
        let figures = contender.figures(metric.name)?;
        Some(object([
            ("name", string(&contender.name)),
            ("median", number(figures.median())),
            ("runs", runs(&figures)),
        ]))
    };
    let published = report::published(outcome, metric).map(|(name, value)| {
        object([("name", string(name)), ("median", number(value)), ("published", "true".into())])
    });
    let peers = outcome.peers.iter().filter_map(measured).chain(published);
    object([
        ("metric", string(metric.name)),
        ("unit", string(unit)),
        ("aim", report::aim(outcome, metric).map_or("null".to_string(), number)),
        ("ours", measured(&outcome.ours).unwrap_or("null".to_string())),
        ("peers", list(peers)),
    ])
}

fn growth(growth: &Growth) -> String {
    let medians = growth.medians.iter().map(|(workers, median)| {
        let median = median.map_or("null".to_string(), number);
        object([("workers", workers.to_string()), ("nanoseconds", median)])
    });
    object([
        ("row", string(growth.row)),
        ("metric", string(growth.metric)),
        ("medians", list(medians)),
    ])
}

fn runs(figures: &Figures) -> String {
    list(figures.values().iter().map(|value| number(*value)))
}

/// JSON has no infinities, and we have no infinite figures.
fn number(value: f64) -> String {
    assert!(value.is_finite(), "a figure is a number");
    format!("{value:.3}")
}

fn object<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let fields = fields.into_iter().map(|(name, value)| format!("{}: {value}", string(name)));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn string(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
