//! `lunatic test`: runs the tests that a module exports, as users of cargo know it.
//!
//! Each test is a run of its own: its own workers, processes, names and captured output. So a test
//! can neither see nor harm another, and its processes are gone when it ends.

mod case;
mod execute;
mod options;
mod panics;
mod report;

use std::process::ExitCode;

use crate::cli::{MemoryKind, TestArguments};
use crate::exit_code::{Code, Failure, OrFail};
use crate::run;
use case::Selection;
use execute::Tests;
use options::Options;

/// Runs the tests of a module. One without tests is a program with a harness of its own.
pub(crate) fn test(arguments: &TestArguments) -> Result<ExitCode, Failure> {
    let module = run::load(&arguments.run.arguments)?;
    let form = run::builder(&arguments.run.arguments)?.form();
    let image = module.make(form).or_fail(Code::Load)?;
    let cases = case::all(image.function_names());
    if cases.is_empty() {
        return run::run_module(&arguments.run, &module);
    }
    let options = Options::of(arguments)?;
    let selection = Selection::new(cases, &options);
    if options.list {
        report::list(&selection, &options).or_fail(Code::Internal)?;
        return Ok(Code::Success.into());
    }
    let config = execute::config(&arguments.run)?;
    let mut run = arguments.run.arguments.clone();
    if run.memory == MemoryKind::Auto {
        // Many nodes at once would soon have used up the address space.
        run.memory = MemoryKind::Dense;
    }
    let tests = Tests { arguments: &run, module: &module, config, options: &options };
    let passed = tests.run(&selection).or_fail(Code::Internal)?;
    Ok(if passed { Code::Success } else { Code::TestsFailed }.into())
}
