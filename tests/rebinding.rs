//! Names that mean something else the next time, and lead nowhere that no rule does: with a name server
//! of our own, in a network of its own.

mod support;

use std::process::Command;

use support::{guest, run_command};

#[test]
fn a_name_that_changes_its_meaning_opens_nothing() {
    let Some(guest) = guest("net_rebind") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let conf = directory.path().join("resolv.conf");
    std::fs::write(&conf, "nameserver 127.0.0.1\n").expect("a file");
    let apart = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rmn", "sh", "-c", script, "sh"]).arg(&conf);
        command
    };
    let prepare = "ip link set lo up && mount --bind \"$1\" /etc/resolv.conf && shift";
    let tried = apart(prepare).output();
    if !tried.as_ref().is_ok_and(|tried| tried.status.success()) {
        eprintln!("SKIPPED: no network namespace can be made here: {tried:?}");
        return;
    }
    for workers in ["1", "2"] {
        let mut command = apart(&format!("{prepare} && exec \"$@\""));
        command.arg(env!("CARGO_BIN_EXE_lunatic"));
        command.args(["run", "--allow-net", "--workers", workers]).arg(&guest);
        let output = run_command(command, b"").expect_quiet_success();
        assert!(output.stdout.lines().all(|line| line.starts_with("ok ")), "{output:#?}");
        assert!(output.stdout.ends_with("ok nothing else was reached\n"), "{output:#?}");
    }
}
