//! What a reader sees: for each figure ours, what was aimed at, and the peers.

use crate::figures::{Figures, grouped, ratio, written};
use crate::measure::{Contender, Outcome};
use crate::rows::{Aim, Metric, Unit};

/// The heading, printed before the row runs.
pub(crate) fn print_heading(name: &str, title: &str) {
    println!("\n{name}: {title}");
}

pub(crate) fn print(outcome: &Outcome) {
    for metric in outcome.row.metrics {
        print_metric(outcome, metric);
    }
    if let Some(touches) = &outcome.touches {
        println!("  all {} were blocked at once", grouped(outcome.count));
        let time = |value| written(value, Unit::Nanoseconds);
        println!(
            "  first touch of {} fresh pages: {} each with as many threads as workers, {} with one\n  \
             bound: 2 x {:.2} pages x {} = {}; with the price of one thread {}",
            grouped(touches.touched),
            time(touches.price),
            time(touches.price_alone),
            touches.pages_each,
            time(touches.price),
            time(touches.bound()),
            time(2.0 * touches.pages_each * touches.price_alone),
        );
    }
    for contender in [&outcome.ours].into_iter().chain(&outcome.peers) {
        if let Some(problem) = &contender.problem {
            println!("  FAILED, {}: {problem}", contender.name);
        }
    }
}

fn print_metric(outcome: &Outcome, metric: &Metric) {
    let ours = outcome.ours.figures(metric.name);
    let compared = |theirs: f64| match &ours {
        Some(ours) if theirs > 0.0 => format!("ours {}", ratio(ours.median(), theirs)),
        _ => String::new(),
    };
    let mut lines = Vec::new();
    if let Some(figures) = &ours {
        lines.push(line("ours", figures, metric, &verdict(outcome, metric).unwrap_or_default()));
    }
    for peer in &outcome.peers {
        if let Some(figures) = peer.figures(metric.name) {
            lines.push(line(&peer.name, &figures, metric, &compared(figures.median())));
        }
    }
    for (name, value) in published(outcome, metric) {
        let written = written(value, metric.unit);
        lines.push(format!("{name:<19} {written:>12}  {:<28} {}", "published", compared(value)));
    }
    for (number, line) in lines.iter().enumerate() {
        let label = if number == 0 { metric.name } else { "" };
        println!("  {label:<17} {}", line.trim_end());
    }
}

fn line(who: &str, figures: &Figures, metric: &Metric, remark: &str) -> String {
    let unit = metric.unit;
    let spread = if figures.values().len() > 1 {
        format!("{} .. {}", written(figures.least(), unit), written(figures.most(), unit))
    } else {
        String::new()
    };
    let median = written(figures.median(), unit);
    format!("{who:<19} {median:>12}  {spread:<28} {remark}")
}

/// How many aims were met, and which were not.
pub(crate) fn print_summary(outcomes: &[Outcome]) {
    let (mut met, mut missed) = (0, Vec::new());
    for outcome in outcomes {
        for metric in outcome.row.metrics.iter().filter(|metric| metric.aim != Aim::None) {
            match (outcome.ours.figures(metric.name), aim(outcome, metric)) {
                (Some(ours), Some(aim)) if ours.median() <= aim => met += 1,
                (Some(ours), Some(aim)) => missed.push(format!(
                    "{} {} ({})",
                    outcome.row.name,
                    metric.name,
                    ratio(ours.median(), aim)
                )),
                _ => missed.push(format!("{} {} (unknown)", outcome.row.name, metric.name)),
            }
        }
    }
    println!("\naims met: {met} of {}", met + missed.len());
    if !missed.is_empty() {
        println!("missed: {}", missed.join(", "));
    }
}

/// What a figure should not exceed, if that is known.
pub(crate) fn aim(outcome: &Outcome, metric: &Metric) -> Option<f64> {
    match metric.aim {
        Aim::None => None,
        Aim::AtMost(value) => Some(value),
        Aim::TwiceTheTouches => Some(outcome.touches.as_ref()?.bound()),
    }
}

fn verdict(outcome: &Outcome, metric: &Metric) -> Option<String> {
    let (ours, aim) = (outcome.ours.figures(metric.name)?.median(), aim(outcome, metric)?);
    let met = if ours <= aim { "met" } else { "MISSED" };
    Some(format!("aim {}: {met}, {}", written(aim, metric.unit), ratio(ours, aim)))
}

/// The figures of those that were not measured now.
pub(crate) fn published<'a>(
    outcome: &'a Outcome,
    metric: &'a Metric,
) -> impl Iterator<Item = (&'static str, f64)> + 'a {
    let measured = |name: &str| {
        outcome
            .peers
            .iter()
            .any(|peer: &Contender| peer.name == name && peer.figures(metric.name).is_some())
    };
    metric.published.iter().copied().filter(move |(name, _)| !measured(name))
}
