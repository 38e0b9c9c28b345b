//! Tests of programs: the attribute, and what an exported test runs.

use crate::abi;
use std::process::{ExitCode, Termination};

/// Makes a function a test, as `#[test]` does where there are no processes.
///
/// `lunatic test` runs each test as a run of its own, with workers, processes, names and output that no other test sees,
/// and all at once. A test passes when its function returns, or returns `Ok`; its other processes end with it.
/// `#[should_panic]`, `#[should_panic(expected = "…")]` and `#[ignore]` mean what they mean to `#[test]`.
///
/// Cargo runs the tests if the target's runner in `.cargo/config.toml` is `"lunatic test"`: see the README.
///
/// ```
/// # fn main() {}
/// fn double((number, answers): (u32, lunatic::Channel<u32>)) {
///     answers.send(2 * number);
/// }
///
/// #[lunatic::test]
/// fn a_child_answers() {
///     let answers = lunatic::Channel::new(0);
///     lunatic::Process::spawn((21, answers.clone()), double).unwrap();
///     assert_eq!(answers.receive(), 42);
/// }
///
/// #[lunatic::test]
/// #[should_panic(expected = "divide by zero")]
/// fn nothing_is_divided_by_nothing() {
///     let nothing = std::hint::black_box(0);
///     println!("{}", 1 / nothing);
/// }
/// ```
///
/// What is no test does not compile:
///
/// ```compile_fail
/// #[lunatic::test]
/// fn takes(number: u32) {}
/// ```
pub use lunatic_macros::test;

/// What the export of a test does.
pub fn run<T: Termination>(test: fn() -> T) {
    abi::run_constructors();
    let passed = test().report() == ExitCode::SUCCESS;
    // Ends as a main function ends: what is buffered is written.
    std::process::exit(if passed { 0 } else { 1 });
}
