//! Names that mean something else the next time, and lead nowhere that no rule does, and names that nobody
//! answers for: with a name server of our own, in a network of its own.

mod support;

use std::path::Path;
use std::process::Command;

use support::{Output, guest, run_command};

/// What a guest says that serves names in a network of its own, with this for a `resolv.conf`; `None`:
/// there is no such network to be had.
fn run_apart(guest: &Path, resolver: &str, workers: &str) -> Option<Output> {
    let directory = tempfile::tempdir().expect("a directory");
    let conf = directory.path().join("resolv.conf");
    std::fs::write(&conf, resolver).expect("a file");
    let apart = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rmn", "sh", "-c", script, "sh"]).arg(&conf);
        command
    };
    let prepare = "ip link set lo up && mount --bind \"$1\" /etc/resolv.conf && shift";
    let tried = apart(prepare).output();
    if !tried.as_ref().is_ok_and(|tried| tried.status.success()) {
        eprintln!("SKIPPED: no network namespace can be made here: {tried:?}");
        return None;
    }
    let mut command = apart(&format!("{prepare} && exec \"$@\""));
    command.arg(env!("CARGO_BIN_EXE_lunatic"));
    command.args(["run", "--allow-net", "--workers", workers]).arg(guest);
    let output = run_command(command, b"").expect_quiet_success();
    assert!(output.stdout.lines().all(|line| line.starts_with("ok ")), "{output:#?}");
    Some(output)
}

#[test]
fn a_name_that_changes_its_meaning_opens_nothing() {
    let Some(guest) = guest("net_rebind") else { return };
    for workers in ["1", "2"] {
        let Some(output) = run_apart(&guest, "nameserver 127.0.0.1\n", workers) else { return };
        assert!(output.stdout.ends_with("ok nothing else was reached\n"), "{output:#?}");
    }
}

#[test]
fn names_that_nobody_answers_for_leave_places_to_others() {
    let Some(guest) = guest("net_lookups") else { return };
    let resolver = "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n";
    for workers in ["1", "2"] {
        let Some(output) = run_apart(&guest, resolver, workers) else { return };
        assert!(output.stdout.ends_with("ok they did not have all places\n"), "{output:#?}");
    }
}
