//! The benches work: each row's guest runs with a tiny count through the real binary, and its lines
//! are read by the driver's own code. What comes out means nothing and is not looked at.
//!
//! The driver's files are taken in as they are, and what they promise is tested here: a bench has no
//! harness that would run tests beside their code.

#[path = "../benches/processes/figures.rs"]
#[allow(dead_code, reason = "the driver uses the rest")]
mod figures;
#[path = "../benches/processes/guest.rs"]
mod guest;
#[path = "../benches/processes/memory.rs"]
#[allow(dead_code, reason = "the driver uses the rest")]
mod memory;
#[path = "../benches/processes/options.rs"]
#[allow(dead_code, reason = "the driver uses the rest")]
mod options;
#[path = "../benches/processes/output.rs"]
mod output;
#[path = "../benches/processes/rows.rs"]
#[allow(dead_code, reason = "the driver uses the rest")]
mod rows;
#[path = "../benches/processes/run.rs"]
#[allow(dead_code, reason = "the driver uses the rest")]
mod run;
#[path = "../benches/processes/sender.rs"]
#[allow(dead_code, reason = "the driver uses the rest")]
mod sender;
#[path = "../benches/processes/touch.rs"]
#[allow(dead_code, reason = "the driver uses the rest")]
mod touch;

mod support;

use std::collections::BTreeSet;

use clap::Parser;
use figures::{Figures, at_share, grouped, ratio, written};
use guest::{Guest, Workshop};
use options::Options;
use output::{Line, parse};
use rows::{PAIRS_8, ROWS, Row, Unit};

/// What counts are divided by; rows have a least count that makes sense.
const SMALLER: u64 = 10_000;

#[track_caller]
fn row_says_all_it_should(workshop: &Workshop, row: &Row, workers: usize) {
    let count = row.count(SMALLER);
    let said = workshop
        .command(row, count, workers)
        .and_then(|mut command| run::run(&mut command, count))
        .unwrap_or_else(|problem| panic!("{}, {workers} workers: {problem}", row.name));
    let expected: BTreeSet<&str> = row.metrics.iter().map(|metric| metric.name).collect();
    let found: BTreeSet<&str> = said.figures.keys().map(String::as_str).collect();
    assert_eq!(expected, found, "{}, {workers} workers", row.name);
    assert!(said.figures.values().all(|value| value.is_finite()), "{}: {said:?}", row.name);
}

#[test]
fn each_row_in_text_form_says_all_its_figures() {
    let workshop = Workshop::new();
    let in_text_form = |row: &&Row| matches!(row.guest, Guest::Wat(_) | Guest::Reader(_));
    for row in ROWS.iter().filter(in_text_form).chain([&PAIRS_8]) {
        for workers in [1, 2, 8] {
            row_says_all_it_should(&workshop, row, workers);
        }
    }
}

#[test]
fn each_row_of_a_compiled_guest_says_all_its_figures() {
    let workshop = Workshop::new();
    for row in ROWS {
        if let Guest::Rust(name) = row.guest
            && support::guest(name).is_some()
        {
            row_says_all_it_should(&workshop, row, 2);
        }
    }
}

#[test]
fn names_of_rows_and_figures_are_unique() {
    let names: BTreeSet<&str> = ROWS.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), ROWS.len());
    for row in ROWS {
        let metrics: BTreeSet<&str> = row.metrics.iter().map(|metric| metric.name).collect();
        assert_eq!(metrics.len(), row.metrics.len(), "{}", row.name);
    }
}

/// The rows and whether scaling is chosen; `None` if the words are refused.
fn chosen(words: &[&str]) -> Option<(Vec<&'static str>, bool)> {
    let options = Options::try_parse_from([&["bench"], words].concat()).ok()?;
    let chosen = options.chosen().ok()?;
    Some((chosen.rows.iter().map(|row| row.name).collect(), chosen.scaling))
}

#[test]
fn a_name_chooses_one_row_and_another_word_all_that_contain_it() {
    let rows = |words| chosen(words).expect("known rows").0;
    assert_eq!(rows(&["live"]), ["live"]);
    assert_eq!(rows(&["timer"]), ["timer-busy", "timer-idle"]);
    assert_eq!(rows(&["ring", "live-rust"]), ["live-rust", "ring"]);
    assert_eq!(rows(&["--bench"]).len(), ROWS.len());
    assert_eq!(chosen(&["scaling"]), Some((vec![], true)));
    assert_eq!(chosen(&["no-such-row"]), None);
}

#[test]
fn only_powers_of_ten_divide_counts() {
    for (good, number) in [("1", 1), ("10000", 10_000)] {
        let options =
            Options::try_parse_from(["bench", "--smaller", good]).expect("a power of ten");
        assert_eq!(options.smaller, number);
    }
    for bad in ["0", "20", "11", "x", "99999999999999999999"] {
        assert_eq!(chosen(&["--smaller", bad]), None, "{bad}");
    }
    assert_eq!(chosen(&["--runs", "0"]), None);
}

#[test]
fn the_four_kinds_of_lines_are_understood_and_no_others() {
    let expected = Line::Nanoseconds { metric: "rtt".to_string(), each: 2.5 };
    assert_eq!(parse("NS ping-pong rtt 1000 2500"), Ok(expected));
    assert_eq!(parse("LATE -40"), Ok(Line::Late(-40.0)));
    assert_eq!(parse("MARK start 0"), Ok(Line::Start));
    assert_eq!(parse("MARK blocked"), Ok(Line::Blocked));
    for bad in ["", "NS a b 0 5", "NS a b 1", "NS a b x 1", "NS a b 1 -5", "LATE", "MARK end"] {
        assert!(parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn the_median_and_shares_of_values_are_right() {
    let median = |values: &[f64]| Figures::new(values.to_vec()).map(|figures| figures.median());
    assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    assert_eq!(median(&[]), None);
    let values: Vec<f64> = (1..=100).map(f64::from).collect();
    for (share, value) in [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.001, 1.0)] {
        assert_eq!(at_share(&values, share), value);
    }
}

#[test]
fn figures_are_written_with_fitting_units() {
    let time = |value| written(value, Unit::Nanoseconds);
    assert_eq!(time(45.25), "45.2 ns");
    assert_eq!(time(999.7), "1.00 us");
    assert_eq!(time(1_550.0), "1.55 us");
    assert_eq!(time(-20_000.0), "-20.0 us");
    assert_eq!(time(0.96e9), "960 ms");
    assert_eq!(time(2.63e9), "2.63 s");
    assert_eq!(written(8_231.4, Unit::Bytes), "8,231 bytes");
    assert_eq!(grouped(1_000_000), "1,000,000");
    assert_eq!(grouped(12), "12");
    assert_eq!(ratio(1.0, 400.0), "x 0.0025");
    assert_eq!(ratio(5.039, 1.0), "x 5.04");
}

#[test]
fn memory_and_the_price_of_pages_are_seen() {
    let footprint = memory::footprint(std::process::id()).expect("it lives");
    assert!(footprint.resident > 0 && footprint.page_tables > 0);
    assert!(memory::available() <= memory::total() && memory::total() > Some(0));
    for threads in [1, 2, 3] {
        let (nanoseconds, count) = touch::price(1_000, threads).expect("4 MB can be had");
        assert!(nanoseconds > 0.0);
        assert_eq!(count, 1_000);
    }
}
