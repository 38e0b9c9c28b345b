//! The guest `wasi_calls`, which makes the calls that a test writes down, one a line, and says what they
//! answer: an error's number, or 0 and what came with it.

use std::path::Path;

use tempfile::TempDir;

use super::{guest, lunatic, run_command};

pub(crate) const ACCES: &str = "2";
pub(crate) const BADF: &str = "8";
pub(crate) const EXIST: &str = "20";
pub(crate) const FBIG: &str = "22";
pub(crate) const ILSEQ: &str = "25";
pub(crate) const INVAL: &str = "28";
pub(crate) const ISDIR: &str = "31";
pub(crate) const LOOP: &str = "32";
pub(crate) const MFILE: &str = "33";
pub(crate) const NAMETOOLONG: &str = "37";
pub(crate) const NOENT: &str = "44";
pub(crate) const NOTDIR: &str = "54";
pub(crate) const NOTEMPTY: &str = "55";
pub(crate) const NOTSOCK: &str = "57";
pub(crate) const NOTSUP: &str = "58";
pub(crate) const PERM: &str = "63";
pub(crate) const SPIPE: &str = "70";

/// What a call is expected to answer; `*` is anything.
pub(crate) type Expected<'a> = (&'a str, &'a str);

pub(crate) fn place() -> TempDir {
    TempDir::new().expect("a temporary directory can be made")
}

/// The answers of a guest that has these directories.
#[track_caller]
pub(crate) fn answers(dirs: &[&str], script: &str) -> Option<Vec<String>> {
    let guest = guest("wasi_calls")?;
    let mut command = lunatic();
    command.arg("run");
    for dir in dirs {
        command.args(["--dir", dir]);
    }
    command.arg(guest);
    let output = run_command(command, script.as_bytes()).expect_quiet_success();
    Some(output.stdout.lines().map(str::to_string).collect())
}

/// Makes the calls in a guest that has the directory, which it knows as `/`.
#[track_caller]
pub(crate) fn check_with(rights: &str, place: &Path, calls: &[Expected<'_>]) {
    let script: String = calls.iter().map(|(call, _)| format!("{call}\n")).collect();
    let Some(answers) = answers(&[&format!("{}::/{rights}", place.display())], &script) else {
        return;
    };
    assert_eq!(answers.len(), calls.len(), "an answer for each call: {answers:#?}");
    for ((call, expected), answer) in calls.iter().zip(&answers) {
        let as_expected = match expected.strip_suffix('*') {
            Some(beginning) => answer.starts_with(beginning),
            None => answer == expected,
        };
        assert!(as_expected, "{call}\nanswers {answer:?}, expected {expected:?}\n{answers:#?}");
    }
}

#[track_caller]
pub(crate) fn check(place: &TempDir, calls: &[Expected<'_>]) {
    check_with("", place.path(), calls);
}
