//! Diagnostics on stderr: warnings always, more with `-v`, anything with `LUNATIC_LOG`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// A filter in `tracing`'s syntax that overrides `-v`, for example `lunatic_engine=debug`.
const VARIABLE: &str = "LUNATIC_LOG";

/// Sends diagnostics to stderr, in colour on a terminal.
pub(crate) fn start(verbose: u8) {
    start_at("warn", verbose);
}

/// The same among the output of tests, where processes may well fail on purpose.
pub(crate) fn start_for_tests(verbose: u8) {
    start_at("error", verbose);
}

fn start_at(least: &str, verbose: u8) {
    let level = match verbose {
        0 => least,
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| {
        EnvFilter::new(format!(
            "off,lunatic={level},lunatic_engine={level},lunatic_scheduler={level},lunatic_host_api={level}"
        ))
    });
    let format = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Words that do not get out are lost. Complaints about it would not get out either, and the
        // panic from that would end a worker because a process has ended.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(verbose > 1);
    if verbose > 1 {
        format.init();
    } else {
        format.without_time().init();
    }
}
