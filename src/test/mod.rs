//! `lunatic test`: runs the tests that a module exports, as users of cargo know it.
//!
//! Each test is a run of its own: its own workers, processes, names and captured output. So a test
//! can neither see nor harm another, and its processes are gone when it ends.

mod case;
mod execute;
mod options;
mod panics;
mod report;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use lunatic_engine::Module;

use crate::cli::{MemoryKind, Run};
use crate::exit_code::{Code, Failure, OrFail};
use crate::{output, run};
use case::Selection;
use execute::Tests;
use options::Options;

/// Runs the tests of a module.
pub(crate) fn test(run: &Run, timeout: Option<Duration>) -> Result<ExitCode, Failure> {
    if run.rights.print_rights {
        return run::print_rights(&run.rights.clone().for_tests());
    }
    let module = run::load(&run.arguments)?;
    test_module(run, &module, timeout)
}

/// Whether a file is called as cargo calls what `cargo test` runs: NAME-HASH.wasm, with 16 digits.
///
/// A runner is told no more. `lunatic run` runs the tests of such modules, so that one runner does for
/// `cargo run` and `cargo test`.
pub(crate) fn is_harness(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let hash = name.and_then(|name| name.strip_suffix(".wasm")?.rsplit_once('-'));
    hash.is_some_and(|(_, hash)| {
        hash.len() == 16 && hash.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Runs the tests of a module. One without tests is a program with a harness of its own.
pub(crate) fn test_module(
    all: &Run,
    module: &Module,
    timeout: Option<Duration>,
) -> Result<ExitCode, Failure> {
    let form = run::builder(&all.arguments)?.form();
    let image = module.make(form).or_fail(Code::Load)?;
    let cases = case::all(image.function_names());
    if cases.is_empty() {
        return run::run_module(all, module);
    }
    let options = Options::of(&all.arguments, timeout)?;
    let selection = Selection::new(cases, &options);
    if options.list {
        output::printed(report::list(&selection, &options))?;
        return Ok(Code::Success.into());
    }
    let config = execute::config(all)?;
    let mut run = all.arguments.clone();
    if run.memory == MemoryKind::Auto {
        // Many nodes at once would soon have used up the address space.
        run.memory = MemoryKind::Dense;
    }
    let tests = Tests { arguments: &run, module, config, options: &options };
    let passed = tests.run(&selection)?;
    Ok(if passed { Code::Success } else { Code::TestsFailed }.into())
}
