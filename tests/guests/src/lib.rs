//! What the guest programs for tests and benches share.

use std::time::{Duration, Instant};

/// Prints `ok <behaviour>` or ends the program with what was found: the test compares the lines.
#[track_caller]
pub fn check(behaviour: &str, holds: bool) {
    assert!(holds, "FAILED: {behaviour}");
    println!("ok {behaviour}");
}

/// As `check`, showing both values on failure.
#[track_caller]
pub fn check_eq<T: PartialEq + std::fmt::Debug>(behaviour: &str, found: T, expected: T) {
    assert!(found == expected, "FAILED: {behaviour}: found {found:?}, expected {expected:?}");
    println!("ok {behaviour}");
}

/// Waits for something that must come to be; the limit only makes a failing test end.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "FAILED: {what} within 30 s");
        lunatic::sleep(Duration::from_millis(1));
    }
}

/// The first argument as a number, or `default`.
pub fn count_argument(default: u64) -> u64 {
    match std::env::args().nth(1) {
        None => default,
        Some(text) => text.parse().unwrap_or_else(|error| {
            eprintln!("reading the first argument {text:?} as a count: {error}; give a number");
            std::process::exit(2)
        }),
    }
}

/// Prints how long so many took together, as the driver in benches/processes reads it.
pub fn report(row: &str, metric: &str, count: u64, elapsed: Duration) {
    println!("NS {row} {metric} {count} {}", elapsed.as_nanos());
}
