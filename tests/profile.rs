//! `--profile`: perf knows guests' functions by name, and our own profile tells processes apart.

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use support::{Module, Output, guest, lunatic, program, run_command, run_wat_with, spawn};
use tempfile::TempDir;

/// Functions that are hot, and only differ in name.
const HOT: &str = r#"
  (func $hot_alpha (param $n i64) (result i64) (local $x i64)
    (loop $again
      (local.set $x (i64.add (i64.mul (local.get $x) (i64.const 31)) (local.get $n)))
      (br_if $again (i32.eqz (i64.eqz
        (local.tee $n (i64.sub (local.get $n) (i64.const 1)))))))
    (local.get $x))
  (func $hot_beta (param $n i64) (result i64) (local $x i64)
    (loop $again
      (local.set $x (i64.add (i64.mul (local.get $x) (i64.const 37)) (local.get $n)))
      (br_if $again (i32.eqz (i64.eqz
        (local.tee $n (i64.sub (local.get $n) (i64.const 1)))))))
    (local.get $x))"#;

/// A main process whose `$hot_alpha` runs for a good while.
fn hot_main() -> String {
    let body = "(call $say (i64.and (i64.const 0) (call $middle (i64.const 300000000))))";
    let middle = "(func $middle (param i64) (result i64)
                    (i64.add (call $hot_alpha (local.get 0)) (i64.const 1)))";
    program(&format!("{HOT} {middle}"), body)
}

/// `perf` with these arguments; what it printed on both streams.
fn perf(args: &[&str], directory: &Path) -> Output {
    let mut command = Command::new("perf");
    command.current_dir(directory).args(args).env("HOME", directory);
    command.env("JITDUMPDIR", directory).env("NO_COLOR", "1").env_remove("LUNATIC_LOG");
    run_command(command, b"")
}

/// Whether perf can record here; if it cannot, says loudly why.
fn perf_records(directory: &Path) -> bool {
    let reason = match Command::new("perf").arg("--version").output() {
        Err(error) => format!("perf is not installed ({error})"),
        Ok(_) => {
            let probe = perf(&["record", "-g", "-o", "probe.data", "true"], directory);
            if probe.code == 0 {
                return true;
            }
            format!("the kernel forbids perf (see perf_event_paranoid): {}", probe.stderr.trim())
        }
    };
    eprintln!("SKIPPED: {reason}");
    false
}

/// A directory for what perf writes. perf wants its maps elsewhere: they are removed with it.
struct Directory(TempDir);

impl Directory {
    fn new() -> Self {
        Self(TempDir::new().expect("a temporary directory can be made"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        for file in std::fs::read_dir(self.path()).into_iter().flatten().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            let pid = name.strip_prefix("jit-").and_then(|rest| rest.strip_suffix(".dump"));
            if let Some(pid) = pid {
                let _ = std::fs::remove_file(format!("/tmp/perf-{pid}.map"));
            }
        }
    }
}

/// Records a run of the guest, with its code made known to perf.
fn record(directory: &Path, module: &Path) {
    let (lunatic, module) = (env!("CARGO_BIN_EXE_lunatic"), module.to_string_lossy());
    let options = ["record", "-g", "-k", "mono", "-F", "499", "-o", "run.data"];
    let run = [lunatic, "run", "--no-cache", "--profile", "perf", &module];
    perf(&[&options[..], &run[..]].concat(), directory).expect(0);
}

#[test]
fn perf_finds_the_hot_function_by_name_and_who_called_it() {
    let directory = Directory::new();
    if !perf_records(directory.path()) {
        return;
    }
    let module = Module::wat(&hot_main());
    record(directory.path(), &module.path());
    let report = ["report", "-i", "run.data", "--stdio", "--no-children", "-g", "none"];
    let report = perf(&report, directory.path()).expect(0);
    let hottest = report.stdout.lines().find(|line| line.contains('%'));
    assert!(hottest.is_some_and(|line| line.contains("hot_alpha")), "\n{report:#?}");

    let script = perf(&["script", "-i", "run.data", "-F", "ip,sym"], directory.path()).expect(0);
    let stacks = script.stdout.split("\n\n").map(|stack| {
        let name = |line: &str| line.trim().split_once(' ').map(|(_, name)| name.to_string());
        stack.lines().filter_map(name).collect::<Vec<String>>()
    });
    let hot: Vec<_> = stacks.filter(|s| s.first().is_some_and(|f| f == "hot_alpha")).collect();
    let walked = hot.iter().filter(|stack| {
        let guest = stack.iter().take(4).map(String::as_str);
        let thread = stack.iter().any(|f| f.contains("thread_start") || f.contains("start_thread"));
        guest.eq(["hot_alpha", "middle", "main", "<call of () -> ()>"]) && thread
    });
    let (walked, all) = (walked.count(), hot.len());
    assert!(walked * 10 > all * 9, "{walked} of {all} stacks are whole\n{:#?}", hot.first());
}

#[test]
fn perf_annotates_with_instructions() {
    let directory = Directory::new();
    if !perf_records(directory.path()) {
        return;
    }
    let module = Module::wat(&hot_main());
    record(directory.path(), &module.path());
    let inject = ["inject", "--jit", "-i", "run.data", "-o", "jit.data"];
    perf(&inject, directory.path()).expect(0);
    let annotate = ["annotate", "-i", "jit.data", "--stdio", "-s", "hot_alpha"];
    let annotated = perf(&annotate, directory.path());
    if annotated.stderr.contains("objdump") {
        return eprintln!("SKIPPED: perf annotate finds no objdump: {}", annotated.stderr.trim());
    }
    // The multiplication by 31 is there, in one form or another, and has cost something.
    let hot = annotated.stdout.lines().filter(|line| {
        let percent = line.trim().split(' ').next().and_then(|n| n.parse::<f64>().ok());
        percent.is_some_and(|percent| percent > 1.0)
    });
    assert!(hot.count() > 0, "no instruction costs anything\n{annotated:#?}");
}

#[test]
fn a_directory_for_perf_that_is_not_there_is_refused() {
    let module = Module::wat(&program("", ""));
    let mut command = lunatic();
    command.env("JITDUMPDIR", "/nowhere/at/all").args(["run", "--profile", "perf"]);
    command.arg(module.path());
    run_command(command, b"").expect_refused(&["/nowhere/at/all/jit-", "JITDUMPDIR"]);
}

/// Microseconds by collapsed stack.
fn folded(path: &Path) -> HashMap<String, u64> {
    let text = std::fs::read_to_string(path).expect("the profile was written");
    let line = |line: &str| {
        let (stack, number) = line.rsplit_once(' ').expect("a stack and a number");
        (stack.to_string(), number.parse().expect("a number"))
    };
    text.lines().map(line).collect()
}

/// The time of the stacks that contain this.
fn time_of(profile: &HashMap<String, u64>, part: &str) -> u64 {
    profile.iter().filter(|(stack, _)| stack.contains(part)).map(|(_, time)| time).sum()
}

/// Two processes: `alpha` does three times the work of `beta`.
fn two_kinds() -> String {
    let items = format!(
        "{HOT}
         (func $run_alpha (param i64) (result i64) (call $hot_alpha (local.get 0)))
         (func (export \"alpha\") (drop (call $run_alpha (i64.const 600000000))))
         (func (export \"beta\") (drop (call $hot_beta (i64.const 200000000))))"
    );
    let body = format!(
        "(local $alpha i64)
         (local.set $alpha {}) (call $join {}) (call $join (local.get $alpha))",
        spawn("alpha"),
        spawn("beta")
    );
    program(&items, &body)
}

#[test]
fn a_profile_tells_functions_and_processes_apart() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let file = directory.path().join("out.folded");
    let option = format!("guest={}", file.display());
    let output = run_wat_with(&["--profile", &option, "--workers", "2"], &two_kinds()).expect(0);
    output.says(&["lunatic: a profile of ", "out.folded"]);
    let profile = folded(&file);
    let alpha = time_of(&profile, "alpha;alpha;run_alpha;hot_alpha");
    let beta = time_of(&profile, "beta;beta;hot_beta");
    let ratio = alpha as f64 / beta.max(1) as f64;
    assert!((2.0..4.5).contains(&ratio), "alpha / beta is {ratio}, not about 3\n{profile:#?}");
    // Nothing is attributed to the wrong one.
    for (process, function) in [("alpha;", "hot_beta"), ("beta;", "hot_alpha")] {
        let wrong = profile.keys().find(|s| s.starts_with(process) && s.contains(function));
        assert_eq!(wrong, None, "\n{profile:#?}");
    }
    let own = time_of(&profile, "alpha;alpha;") + time_of(&profile, "beta;beta;");
    assert!((alpha + beta) * 10 > own * 8, "of {own} us\n{profile:#?}");
}

#[test]
fn a_profile_for_speedscope_is_well_formed_whatever_the_names() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let file = directory.path().join("out.json");
    let option = format!("guest={}", file.display());
    let text = hot_main().replace("$hot_alpha", "$\"hot \\\"\\0a;\\5c\"");
    run_wat_with(&["--profile", &option], &text).expect(0);
    let json = std::fs::read_to_string(&file).expect("the profile was written");
    assert!(json.contains(r#"{"name":"hot \"\\n;\\"}"#), "\n{json}");
    for part in [r#""type":"sampled""#, r#""name":"all processes""#, r#""name":"main""#] {
        assert!(json.contains(part), "no {part}\n{json}");
    }
    let balance = |open, close| json.matches(open).count() == json.matches(close).count();
    assert!(balance('{', '}') && balance('[', ']'), "\n{json}");
}

#[test]
fn time_in_host_calls_belongs_to_the_function_that_called() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let file = directory.path().join("out.folded");
    let option = format!("guest={}", file.display());
    let items = "(func $writer (local $n i32)
        (loop $again
          (call $create (i64.const 0) (i64.const 65536))
          (drop (call $write (i32.const 0) (i32.const 65536)))
          (br_if $again (i32.lt_u
            (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 40000)))))";
    run_wat_with(&["--profile", &option], &program(items, "(call $writer)")).expect(0);
    let profile = folded(&file);
    let in_calls = time_of(&profile, "main;main;writer;[host]");
    let all: u64 = profile.values().sum();
    assert!(in_calls * 2 > all, "{in_calls} us of {all} are in host calls\n{profile:#?}");
}

#[test]
fn a_rust_process_is_called_after_the_function_it_was_spawned_with() {
    let Some(module) = guest("profile_kinds") else { return };
    let directory = TempDir::new().expect("a temporary directory can be made");
    let file = directory.path().join("out.folded");
    let mut command = lunatic();
    command.args(["run", "--profile", &format!("guest={}", file.display())]).arg(module);
    run_command(command, b"").expect(0);
    let profile = folded(&file);
    for name in ["profile_kinds::hasher;", "profile_kinds::sorter;"] {
        let time: u64 =
            profile.iter().filter(|(stack, _)| stack.starts_with(name)).map(|(_, t)| t).sum();
        assert!(time > 0, "no process is called {name}\n{profile:#?}");
    }
}

#[test]
fn a_process_with_a_registered_name_is_called_so() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let file = directory.path().join("out.folded");
    let option = format!("guest={}", file.display());
    let items = format!(
        r#"{HOT} (data (i32.const 1024) "the;worker")
         (func (export "work")
           (call $put_name (i32.const 1024) (i32.const 10) (i64.const 0) (call $self))
           (drop (call $hot_alpha (i64.const 200000000))))"#
    );
    let body = format!("(call $join {})", spawn("work"));
    run_wat_with(&["--profile", &option], &program(&items, &body)).expect(0);
    assert!(time_of(&folded(&file), "the:worker;work;hot_alpha") > 0);
}

#[test]
fn a_profile_is_written_when_the_main_process_traps() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let file = directory.path().join("out.folded");
    let option = format!("guest={}", file.display());
    let text = program(HOT, "(drop (call $hot_alpha (i64.const 100000000))) unreachable");
    run_wat_with(&["--profile", &option], &text).expect(134).says(&["unreachable"]);
    assert!(time_of(&folded(&file), "main;main;hot_alpha") > 0);
}

#[test]
fn traps_stack_overflows_and_kills_are_survived_while_signals_come() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let file = directory.path().join("out.folded");
    let option = format!("guest={}", file.display());
    let items = "(func $deep (param i64) (result i64)
                   (i64.add (call $deep (i64.add (local.get 0) (i64.const 1))) (i64.const 1)))
                 (func (export \"deep\") (drop (call $deep (i64.const 0))))
                 (func (export \"trap\") unreachable)
                 (func (export \"loop\") (call $for_ever))";
    let body = format!(
        "(local $i i64) (local $loop i64) {}",
        support::times(
            300,
            &format!(
                "(local.set $loop {}) (call $join {}) (call $join {})
                 (call $kill (local.get $loop)) (call $join (local.get $loop))",
                spawn("loop"),
                spawn("deep"),
                spawn("trap")
            )
        )
    );
    run_wat_with(&["--profile", &option], &program(items, &body)).expect(0);
    assert!(time_of(&folded(&file), "loop;loop;for_ever") > 0);
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_the_run() {
    let text = program("", "(call $say (i64.const 1))");
    run_wat_with(&["--profile", "guest=/nowhere/at/all.json"], &text)
        .expect_refused(&["cannot write a profile to \"/nowhere/at/all.json\""]);
    run_wat_with(&["--profile", "guest=out.svg"], &text).expect(2).says(&["guest=FILE.json"]);
}

#[test]
fn every_level_of_optimisation_gives_the_same_results() {
    let text = program(HOT, "(call $say (call $hot_alpha (i64.const 1000)))");
    let expected = run_wat_with(&[], &text).expect_quiet_success().stdout;
    for level in ["none", "speed", "speed-and-size"] {
        let output = run_wat_with(&["--opt-level", level], &text).expect_quiet_success();
        assert_eq!(output.stdout, expected, "{level}");
    }
    run_wat_with(&["--opt-level", "3"], &text).expect(2).says(&["speed-and-size"]);
}
