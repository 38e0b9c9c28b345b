//! `lunatic new`, `lunatic init` and `cargo lunatic`, on projects in temporary directories. What they
//! make is compiled and run, by the compiler that guests are compiled by.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Output, lunatic, run_command};
use tempfile::TempDir;

const MANIFEST: &str = "[package]\nname = \"there\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";

fn temporary() -> TempDir {
    TempDir::new().expect("a temporary directory can be made")
}

/// A project that is there, with this file of settings.
fn project(settings: Option<&str>) -> TempDir {
    let project = temporary();
    write(&project.path().join("Cargo.toml"), MANIFEST);
    write(&project.path().join("src/main.rs"), "fn main() {}\n");
    if let Some(settings) = settings {
        write(&project.path().join(".cargo/config.toml"), settings);
    }
    project
}

fn write(file: &Path, text: &str) {
    fs::create_dir_all(file.parent().expect("it is in one")).expect("a directory can be made");
    fs::write(file, text).expect("a file can be written");
}

fn settings(project: &Path) -> String {
    fs::read_to_string(project.join(".cargo/config.toml")).expect("there are settings")
}

fn command(directory: &Path, words: &[&str]) -> Command {
    let mut command = lunatic();
    command.current_dir(directory).args(words);
    command
}

fn said(directory: &Path, words: &[&str]) -> Output {
    run_command(command(directory, words), b"")
}

/// `cargo lunatic`, as cargo calls it. The cache is the user's, where a compiler may be, and nothing is
/// fetched.
fn cargo_lunatic(directory: &Path, words: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_cargo-lunatic"));
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("cargo");
    command.current_dir(directory).arg("lunatic").args(words);
    command.env("PATH", format!("{}:{path}", program.parent().expect("it is in one").display()));
    command.env("CARGO_NET_OFFLINE", "true").env("CARGO_TERM_COLOR", "never");
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "RUSTC", "CARGO"] {
        command.env_remove(variable);
    }
    run_command(command, b"")
}

/// Whether guests can be compiled here; where they need not be, that is said.
fn compiles() -> bool {
    support::guest("exit_code").is_some()
}

#[test]
fn init_sets_a_project_up_once() {
    let project = project(None);
    let output = said(project.path(), &["init"]).expect(0);
    assert!(output.stdout.contains("is set up: `cargo run`"), "{output:#?}");
    let text = settings(project.path());
    assert!(text.contains("[build]\ntarget = \"wasm32-wasip1\"\n"), "{text}");
    assert!(text.contains("[target.wasm32-wasip1]\n"), "{text}");
    assert!(text.contains("runner = \"lunatic run --\"\n"), "{text}");
    let output = said(project.path(), &["init"]).expect(0);
    assert!(output.stdout.contains("already"), "{output:#?}");
    assert_eq!(settings(project.path()), text);
}

#[test]
fn init_keeps_what_stands_there_and_refuses_what_says_otherwise() {
    let old =
        "# mine\n[build]\njobs = 2 # few\n\n[target.wasm32-wasip1]\nrunner = \"wasmtime\" # why\n";
    let project = project(Some(old));
    let place = project.path().to_str().expect("it is text");
    let output = said(Path::new("/"), &["init", place]).expect(1);
    output.says(&["runner is \"wasmtime\", not \"lunatic run --\"", "--force", "config.toml"]);
    assert_eq!(settings(project.path()), old);
    said(Path::new("/"), &["init", "--force", place]).expect(0);
    let expected = "# mine\n[build]\njobs = 2 # few\ntarget = \"wasm32-wasip1\"\n\n\
                    [target.wasm32-wasip1]\nrunner = \"lunatic run --\" # why\n";
    assert_eq!(settings(project.path()), expected);
}

#[test]
fn init_keeps_a_runner_that_is_lunatic_with_options() {
    let old = "build.target = \"wasm32-wasip1\"\n\
               target.wasm32-wasip1.runner = [\"/opt/lunatic\", \"run\", \"--allow-net\"]\n";
    let project = project(Some(old));
    said(project.path(), &["init"]).expect(0).says(&["the runner stays", "\"--\""]);
    assert_eq!(settings(project.path()), old);
}

#[test]
fn init_says_why_it_cannot() {
    let empty = temporary();
    said(empty.path(), &["init"]).expect(1).says(&["no Cargo.toml", "lunatic new"]);
    let inside = project(None);
    said(&inside.path().join("src"), &["init"]).expect(1).says(&["lunatic init \"", "above"]);
    let broken = project(Some("[build\n"));
    said(broken.path(), &["init"]).expect(1).says(&["config.toml", "line 1"]);
    let no_table = project(Some("build = 1\n"));
    said(no_table.path(), &["init"]).expect(1).says(&["\"build\" is not a table"]);
    let no_file = project(None);
    write(&no_file.path().join(".cargo"), "a file");
    said(no_file.path(), &["init"]).expect(1).says(&["cannot set up", ".cargo"]);
    said(empty.path(), &["init", "no-such-place"]).expect(1).says(&["no-such-place"]);
}

#[test]
fn init_writes_through_links_and_keeps_permissions() {
    let project = project(None);
    let shared = project.path().join("shared.toml");
    write(&shared, "[alias]\n");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o640)).expect("it is ours");
    fs::create_dir(project.path().join(".cargo")).expect("a directory can be made");
    symlink("../shared.toml", project.path().join(".cargo/config.toml")).expect("a link");
    said(project.path(), &["init"]).expect(0);
    let link =
        fs::symlink_metadata(project.path().join(".cargo/config.toml")).expect("it is there");
    assert!(link.is_symlink(), "the link was replaced");
    let mode = fs::metadata(&shared).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert!(settings(project.path()).starts_with("[alias]\n"));
    let left: Vec<_> = fs::read_dir(project.path()).expect("a directory").flatten().collect();
    assert_eq!(left.len(), 4, "something was left behind: {left:?}");
}

#[test]
fn new_refuses_what_cargo_refuses() {
    let place = temporary();
    write(&place.path().join("there/file"), "");
    said(place.path(), &["new", "there"]).expect(1).says(&["\"there\"", "cargo says: ", "exists"]);
    said(place.path(), &["new", "0x"]).expect(1).says(&["cargo says: "]);
    said(place.path(), &["new", "a", "--lunatic-path", "there"])
        .expect(1)
        .says(&["--lunatic-path"]);
    let both = ["new", "a", "--lunatic-path", "there", "--lunatic-git", "x"];
    said(place.path(), &both).expect(2);
    assert!(!place.path().join("a").exists());
}

#[test]
fn new_refuses_the_name_of_the_crate_that_a_project_depends_on() {
    let place = temporary();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/guest/rust");
    for words in [&["lunatic"][..], &["other", "--name", "lunatic"]] {
        let words = [&["new", "--lunatic-path", source], words].concat();
        said(place.path(), &words).expect(1).says(&["depends on", "--name"]);
    }
    assert_eq!(fs::read_dir(place.path()).expect("it is there").count(), 0);
    let words = ["new", "--lunatic-path", source, "lunatic", "--name", "other"];
    said(place.path(), &words).expect(0);
}

#[test]
fn new_takes_the_crate_from_where_it_is_said_to_be() {
    let place = temporary();
    said(place.path(), &["new", "a", "--lunatic-git", "file:///no/such"]).expect(0);
    let manifest = |name: &str| fs::read_to_string(place.path().join(name).join("Cargo.toml"));
    let text = manifest("a").expect("it was made");
    assert!(text.contains("lunatic = { git = \"file:///no/such\" }"), "{text}");
    write(&place.path().join("crate/Cargo.toml"), "[package]\nname = \"lunatic\"\n");
    said(place.path(), &["new", "b", "--lunatic-path", "crate", "--name", "other"]).expect(0);
    let text = manifest("b").expect("it was made");
    assert!(text.contains("name = \"other\"") && text.contains("/crate\" }"), "{text}");
}

#[test]
fn a_new_project_runs_and_its_tests_do() {
    if !compiles() {
        return;
    }
    let place = temporary();
    let output = cargo_lunatic(place.path(), &["new", "hello"]).expect(0);
    assert!(output.stdout.contains("cargo lunatic run"), "{output:#?}");
    let project = place.path().join("hello");
    let output = cargo_lunatic(&project, &["run", "--release"]).expect(0);
    let mut lines: Vec<&str> = output.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, [1, 2, 3].map(|n| format!("Hello from process {n}!")), "{output:#?}");
    let output = cargo_lunatic(&project, &["test", "--release"]).expect(0);
    assert!(output.stdout.contains("test tests::processes_greet ... ok"), "{output:#?}");
    assert!(output.stdout.contains("1 passed; 0 failed"), "{output:#?}");
}

/// A project without dependencies, whose program prints its arguments and exits as it is told to.
fn arguments(settings: Option<&str>) -> (TempDir, PathBuf) {
    let project = project(settings);
    let program = r#"fn main() {
        let words: Vec<String> = std::env::args().skip(1).collect();
        println!("{words:?}");
        std::process::exit(words.last().and_then(|word| word.parse().ok()).unwrap_or(0));
    }
    #[test] fn passes() {}
    #[test] fn fails() { println!("why"); panic!("on purpose"); }
    #[test] #[ignore] fn waits() {}
    "#;
    write(&project.path().join("src/main.rs"), program);
    let place = project.path().to_path_buf();
    (project, place)
}

#[test]
fn words_and_exit_codes_pass_through_cargo_lunatic() {
    if !compiles() {
        return;
    }
    let (_project, place) = arguments(None);
    let output = cargo_lunatic(&place, &["run", "--", "--workers", "-v", "--", "7"]).expect(7);
    assert_eq!(output.stdout, "[\"--workers\", \"-v\", \"--\", \"7\"]\n");
    let output = cargo_lunatic(&place, &["test", "passes"]).expect(0);
    assert!(output.stdout.contains("test passes ... ok"), "{output:#?}");
    let output = cargo_lunatic(&place, &["test", "pass", "--", "--exact"]).expect(0);
    assert!(output.stdout.contains("0 passed; 0 failed"), "{output:#?}");
    let output = cargo_lunatic(&place, &["bench"]).expect(0);
    assert!(output.stdout.contains("ignored"), "{output:#?}");
    cargo_lunatic(&place, &["build"]).expect(0);
    assert!(place.join("target/wasm32-wasip1/debug/there.wasm").is_file());
}

#[test]
fn a_runner_of_the_project_is_the_one_that_runs() {
    if !compiles() {
        return;
    }
    let (_project, place) =
        arguments(Some("target.wasm32-wasip1.runner = [\"echo\", \"the project's\"]\n"));
    let output = cargo_lunatic(&place, &["run"]).expect(0);
    assert!(output.stdout.starts_with("the project's "), "{output:#?}");
    // A plain name is found beside `cargo-lunatic`.
    write(
        &place.join(".cargo/config.toml"),
        "target.wasm32-wasip1.runner = \"lunatic run --max-memory 1K --\"\n",
    );
    cargo_lunatic(&place, &["run"]).expect(3).says(&["the limit of this process is 1024"]);
}

#[test]
fn cargo_lunatic_explains_itself() {
    let place = temporary();
    let output = cargo_lunatic(place.path(), &["--help"]).expect(0);
    for words in ["Usage: cargo lunatic", "new", "init", "test", "bench", "Examples"] {
        assert!(output.stdout.contains(words), "{words} is missing\n{output:#?}");
    }
    cargo_lunatic(place.path(), &["tset"]).expect(2).says(&["tset", "test"]);
    cargo_lunatic(place.path(), &[]).expect(2).says(&["Usage"]);
    let output = cargo_lunatic(place.path(), &["--version"]).expect(0);
    assert!(output.stdout.contains(env!("CARGO_PKG_VERSION")), "{output:#?}");
}
