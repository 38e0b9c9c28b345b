//! Whole programs that know nothing of lunatic: what they print is what they print elsewhere.
//!
//! They need tools that are not on every machine. A test whose tool is missing says so and passes:
//!
//! - C: `clang` for wasm32-wasi (Debian's `clang-22 lld-22 wasi-libc libclang-rt-22-dev-wasm32`) or
//!   zig, as on PyPI (`ziglang`; `LUNATIC_TEST_PYTHON` names a Python that has it), and `cc`;
//! - the examples in C, C++, Go, Zig and AssemblyScript: those that `cargo xtask examples` could build;
//! - Python: `LUNATIC_PYTHON_WASM` names a CPython for WASI preview 1, and `python3`.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use support::{Output, lunatic, run_command};
use tempfile::TempDir;

fn place() -> TempDir {
    TempDir::new().expect("a temporary directory can be made")
}

/// What a program prints, if it can be started and ends well.
fn output_of(mut command: Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Compiles C to WebAssembly; `None` if nothing here can.
fn compile_c(source: &Path, to: &Path) -> Option<()> {
    let python = std::env::var("LUNATIC_TEST_PYTHON").unwrap_or_else(|_| "python3".to_string());
    let zig = [python.as_str(), "-m", "ziglang", "cc", "-target", "wasm32-wasi"];
    let clang = ["clang-22", "--target=wasm32-wasi"];
    [&clang[..], &zig[..]].into_iter().find_map(|words| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("-O2").arg(source).arg("-o").arg(to);
        output_of(command).map(drop)
    })
}

#[test]
fn a_program_in_c_prints_what_it_prints_natively() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/c/files.c");
    let place = place();
    let (wasm, native) = (place.path().join("files.wasm"), place.path().join("files"));
    if compile_c(&source, &wasm).is_none() {
        eprintln!("SKIPPED: neither clang-22 with wasi-libc nor zig is here");
        return;
    }
    let mut cc = Command::new("cc");
    output_of({
        cc.arg("-O2").arg(&source).arg("-o").arg(&native);
        cc
    })
    .expect("cc is here: the tests are linked with it");
    let data = place.path().join("data");
    std::fs::create_dir(&data).expect("it can be made");
    let mut command = Command::new(&native);
    command.arg(&data);
    let expected = output_of(command).expect("it ends well");
    let mut command = lunatic();
    command.args(["run", "--dir", &format!("{}::/data", data.display())]).arg(&wasm).arg("/data");
    let found = run_command(command, b"").expect_quiet_success().stdout;
    assert_eq!(found, expected);
}

/// Runs an example as it is built, if it is, with its directory as `/data`.
fn run_example(name: &str, data: &Path, options: &[&str], files: &[String]) -> Option<Output> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/guests");
    let wasm = directory.join(name).with_extension("wasm");
    if !wasm.is_file() {
        eprintln!("SKIPPED: there is no \"{}\": see `cargo xtask examples`", wasm.display());
        return None;
    }
    let mut command = lunatic();
    command.args(["run", "--dir", &format!("{}::/data:ro", data.display())]).args(options);
    command.arg(wasm).arg("--").args(files);
    Some(run_command(command, b""))
}

/// `tally`, in one of its languages: it counts each file in a process of its own.
#[track_caller]
fn tally_counts_and_all_its_processes_wait_at_once(name: &str) {
    const FILES: usize = 20;
    const DELAY: Duration = Duration::from_secs(1);
    let place = place();
    let text = |number: usize| "a line\tof  words\n".repeat(number * 1000);
    for number in 0..FILES {
        std::fs::write(place.path().join(number.to_string()), text(number)).expect("written");
    }
    let names: Vec<String> = (0..FILES).map(|number| format!("/data/{number}")).collect();
    for (unit, of_a_line) in [("words", 4), ("lines", 1), ("bytes", 17)] {
        let unit = format!("TALLY_UNIT={unit}");
        for workers in ["1", "4"] {
            let options = ["--env", &unit, "--workers", workers];
            let Some(output) = run_example(name, place.path(), &options, &names) else { return };
            let lines = (0..FILES).map(|n| format!("{} /data/{n}\n", n * 1000 * of_a_line));
            let all = (0..FILES).sum::<usize>() * 1000 * of_a_line;
            let expected = lines.collect::<String>() + &format!("{all} in all\n");
            assert_eq!(output.expect_quiet_success().stdout, expected);
        }
    }
    let files = ["/data/1", "/data/none", "/nowhere/1", "/data/2"].map(String::from);
    let output = run_example(name, place.path(), &[], &files).expect("it is there");
    let output = output.expect(1);
    assert_eq!(output.stdout, "4000 /data/1\n8000 /data/2\n12000 in all\n");
    let complaints = "tally: cannot read /data/none\ntally: cannot read /nowhere/1\n";
    assert_eq!(output.stderr, complaints);
    run_example(name, place.path(), &[], &[]).expect("it is there").expect(2).says(&["name the"]);

    let delay = format!("TALLY_DELAY_MS={}", DELAY.as_millis());
    let begun = Instant::now();
    let options = ["--env", &delay, "--workers", "1"];
    run_example(name, place.path(), &options, &names).expect("it is there").expect_quiet_success();
    let took = begun.elapsed();
    assert!(took >= DELAY, "{took:?}: nobody has waited");
    assert!(took < DELAY * FILES as u32 / 2, "{took:?}: they have waited one after the other");
}

#[test]
fn the_example_in_c_runs_as_many_processes() {
    tally_counts_and_all_its_processes_wait_at_once("tally_c");
}

#[test]
fn a_c_library_that_overflows_its_buffer_ends_its_own_process_only() {
    for workers in ["1", "2", "8"] {
        let place = place();
        let options = ["--workers", workers];
        let Some(output) = run_example("overflow_c", place.path(), &options, &[]) else { return };
        let output = output.expect(0);
        let lines: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(lines.len(), 5, "{output:#?}");
        for (line, number) in [(0, 1), (2, 3), (4, 5)] {
            assert_eq!(lines[line], format!("request {number}: hhhi"));
        }
        assert!(lines[1].starts_with("request 2: its process trapped: "), "{output:#?}");
        assert_eq!(lines[3], "request 4: its process trapped: out of bounds memory access");
    }
}

#[test]
fn the_example_in_cpp_runs_as_many_processes() {
    tally_counts_and_all_its_processes_wait_at_once("tally_cpp");
}

#[test]
fn the_example_in_go_runs_as_many_processes() {
    tally_counts_and_all_its_processes_wait_at_once("tally_go");
}

#[test]
fn the_example_in_zig_runs_as_many_processes() {
    tally_counts_and_all_its_processes_wait_at_once("tally_zig");
}

#[test]
fn the_example_in_assemblyscript_runs_as_many_processes() {
    tally_counts_and_all_its_processes_wait_at_once("tally_assemblyscript");
}

const SCRIPT: &str = r#"
import os, sys, json, re, math, hashlib, shutil
base = sys.argv[1]
os.makedirs(base + '/d/e')
with open(base + '/d/f.txt', 'w') as f:
    for i in range(10000):
        f.write(f"line {i} {math.sqrt(i):.6f}\n")
with open(base + '/d/f.txt') as f:
    text = f.read()
print(len(text), hashlib.sha256(text.encode()).hexdigest())
os.rename(base + '/d/f.txt', base + '/d/e/g.txt')
os.symlink('e/g.txt', base + '/d/link')
print(os.readlink(base + '/d/link'), open(base + '/d/link').readline())
print([(os.path.relpath(r, base), sorted(d), sorted(f)) for r, d, f in os.walk(base)])
print(os.stat(base + '/d/e/g.txt').st_size)
for number in range(300):
    open(f'{base}/d/{number}', 'w').close()
print(len(os.listdir(base + '/d')))
print(json.dumps({"a": [1, 2, {"b": None}]}), re.findall(r'\d+', 'a1b22c333'))
for path in ('/nowhere', base + '/none', base + '/d'):
    try:
        open(path)
    except OSError as error:
        print(type(error).__name__)
shutil.rmtree(base + '/d')
print(os.listdir(base))
"#;

#[test]
fn cpython_runs_a_script_as_the_native_one_does() {
    let Some(python) = std::env::var_os("LUNATIC_PYTHON_WASM").map(PathBuf::from) else {
        eprintln!("SKIPPED: LUNATIC_PYTHON_WASM names no CPython for WASI");
        return;
    };
    let place = place();
    let (script, data) = (place.path().join("script.py"), place.path().join("data"));
    std::fs::write(&script, SCRIPT).expect("it can be written");
    std::fs::create_dir(&data).expect("it can be made");
    let mut command = Command::new("python3");
    command.arg(&script).arg(&data);
    let Some(expected) = output_of(command) else {
        eprintln!("SKIPPED: there is no python3 to compare with");
        return;
    };
    let mut command = lunatic();
    command.args(["run", "--dir", &format!("{}::/data", data.display())]);
    command.args(["--dir", &format!("{}::/script:ro", place.path().display())]);
    command.arg(python).args(["--", "/script/script.py", "/data"]);
    let found = run_command(command, b"").expect(0).stdout;
    assert_eq!(found, expected);
}
