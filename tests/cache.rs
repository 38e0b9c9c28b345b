//! The cache of compiled modules: used, private, and never a reason for a program not to run.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use support::{Module, Output, Running, lunatic, run_command};
use tempfile::TempDir;

/// A user's cache directory, and a module to run.
struct Place {
    home: TempDir,
    module: Module,
}

impl Place {
    fn new() -> Self {
        let text = support::program("", "(call $say (i64.const 7))");
        Self {
            home: TempDir::new().expect("a temporary directory can be made"),
            module: Module::wat(&text),
        }
    }

    fn command(&self, options: &[&str]) -> std::process::Command {
        let mut command = lunatic();
        command.env("XDG_CACHE_HOME", self.home.path());
        command.arg("run").args(options).arg(self.module.path());
        command
    }

    /// Runs the module, which must do what it should whatever the cache holds.
    #[track_caller]
    fn run(&self, options: &[&str]) -> Output {
        let output = run_command(self.command(options), b"").expect(0);
        assert_eq!(output.stdout, "7\n");
        output
    }

    #[track_caller]
    fn run_quietly(&self) {
        assert_eq!(self.run(&[]).stderr, "");
    }

    fn directory(&self) -> PathBuf {
        self.home.path().join("lunatic/modules")
    }

    /// All files in it.
    fn entries(&self) -> Vec<PathBuf> {
        let Ok(files) = fs::read_dir(self.directory()) else { return Vec::new() };
        files.map(|file| file.expect("it can be listed").path()).collect()
    }

    /// The only one.
    #[track_caller]
    fn entry(&self) -> PathBuf {
        let entries = self.entries();
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries[0].clone()
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

/// Changes with every file that is renamed over the old one.
fn identity(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).expect("it is there").ino()
}

#[test]
fn the_second_run_uses_what_the_first_has_compiled() {
    let place = Place::new();
    place.run_quietly();
    let (entry, first) = (place.entry(), identity(&place.entry()));
    place.run_quietly();
    assert_eq!((place.entry(), identity(&place.entry())), (entry, first));
}

#[test]
fn another_module_gets_an_entry_of_its_own() {
    let mut place = Place::new();
    place.run_quietly();
    place.module =
        Module::wat(&support::program("", "(call $say (i64.const 3)) (call $say (i64.const 4))"));
    let output = run_command(place.command(&[]), b"").expect_quiet_success();
    assert_eq!(output.stdout, "3\n4\n");
    assert_eq!(place.entries().len(), 2);
}

#[test]
fn nobody_else_may_look_into_the_cache() {
    let place = Place::new();
    place.run_quietly();
    assert_eq!(mode(&place.directory()), 0o700);
    assert_eq!(mode(&place.entry()), 0o600);
}

#[test]
fn broken_entries_are_replaced_in_silence() {
    let place = Place::new();
    place.run_quietly();
    let entry = place.entry();
    let good = fs::read(&entry).expect("it is there");
    let half = good.len() / 2;
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        bytes
    };
    let mut longer = good.clone();
    longer.push(0);
    let broken = [
        ("empty", Vec::new()),
        ("one byte", good[..1].to_vec()),
        ("the header only", good[..80].to_vec()),
        ("half", good[..half].to_vec()),
        ("all but the last byte", good[..good.len() - 1].to_vec()),
        ("a byte too many", longer),
        ("another first byte", flipped(0)),
        ("another key", flipped(10)),
        ("another length", flipped(41)),
        ("another byte in the middle", flipped(half)),
        ("another last byte", flipped(good.len() - 1)),
        ("text", b"not machine code".repeat(1000)),
    ];
    for (what, bytes) in broken {
        fs::write(&entry, &bytes).expect("it can be written");
        eprintln!("broken entry: {what}");
        place.run_quietly();
        assert_ne!(fs::read(place.entry()).expect("it is there"), bytes, "{what} was kept");
        place.run_quietly();
    }
}

#[test]
fn an_entry_that_others_may_write_is_not_trusted() {
    let place = Place::new();
    place.run_quietly();
    let entry = place.entry();
    fs::set_permissions(&entry, fs::Permissions::from_mode(0o666)).expect("it is ours");
    place.run_quietly();
    assert_eq!(mode(&place.entry()), 0o600);
}

#[test]
fn a_directory_that_others_may_write_is_not_used() {
    let place = Place::new();
    fs::create_dir_all(place.directory()).expect("it can be made");
    fs::set_permissions(place.directory(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    place.run(&[]);
    assert!(place.entries().is_empty() || mode(&place.directory()) == 0o700);
}

#[test]
fn without_a_cache_nothing_is_left_behind() {
    let place = Place::new();
    assert_eq!(place.run(&["--no-cache"]).stderr, "");
    let left: Vec<_> = fs::read_dir(place.home.path()).expect("it is there").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_entry_is_not_read_without_a_cache() {
    let place = Place::new();
    place.run_quietly();
    let entry = place.entry();
    fs::write(&entry, b"broken").expect("it can be written");
    place.run(&["--no-cache"]);
    assert_eq!(fs::read(&entry).expect("it is there"), b"broken");
}

#[test]
fn a_cache_that_cannot_be_made_does_not_matter() {
    let place = Place::new();
    fs::write(place.home.path().join("lunatic"), b"a file in the way").expect("it can be written");
    place.run(&[]);
}

#[test]
fn first_runs_at_the_same_time_leave_one_good_entry() {
    for _ in 0..5 {
        let place = Place::new();
        let runs: Vec<Running> = (0..4).map(|_| Running::start(place.command(&[]))).collect();
        for run in runs {
            assert_eq!(run.finish().expect_quiet_success().stdout, "7\n");
        }
        let first = identity(&place.entry());
        place.run_quietly();
        assert_eq!(identity(&place.entry()), first, "it was good");
    }
}

#[test]
fn the_cache_holds_no_guest_that_was_refused() {
    let mut place = Place::new();
    place.module = Module::wat("(module (func (export \"_start\") drop))");
    run_command(place.command(&[]), b"").expect(3);
    assert!(place.entries().is_empty());
}
