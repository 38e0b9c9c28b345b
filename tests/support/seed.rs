//! What the tests of the programs of 2020 and of 2021 share.

use std::net::TcpListener;

use super::{Output, run_guest};

/// With one worker and with several.
#[track_caller]
pub(crate) fn on_workers(name: &str, check: impl Fn(&Output)) {
    for workers in ["1", "4"] {
        let Some(output) = run_guest(&["--workers", workers], name, &[], b"") else { return };
        check(&output.expect(0));
    }
}

/// What the example of the README has always printed: each of its thousand sums once, in any order.
#[track_caller]
pub(crate) fn is_sums_of_the_readme(output: &Output) {
    let mut lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(output.stderr, "", "{output:#?}");
    let expected: Vec<String> =
        (0..1_000).map(|i| format!("Sum until {i}: {}", i * (i + 1) / 2)).collect();
    let mut expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    lines.sort_unstable();
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

/// An address that nobody uses, on a loopback address of its own: these guests cannot say what port the
/// system gave them.
pub(crate) fn address(host: &str) -> String {
    TcpListener::bind((host, 0)).and_then(|it| it.local_addr()).expect("a port").to_string()
}
