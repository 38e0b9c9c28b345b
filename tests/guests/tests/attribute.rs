//! What `#[lunatic::test]` makes of functions: `tests/test_command.rs` runs them and knows how each ends.

#![forbid(unsafe_code)]

use lunatic::{Channel, Process};

#[lunatic::test]
fn passes() {
    println!("this is not shown");
}

#[lunatic::test]
fn spawns_and_waits() -> Result<(), lunatic::Error> {
    let answers = Channel::new(0);
    Process::spawn((21u32, answers.clone()), |(number, answers): (u32, Channel<u32>)| {
        answers.send(2 * number);
    })?;
    assert_eq!(answers.receive(), 42);
    Ok(())
}

#[lunatic::test]
fn fails() {
    println!("this is shown");
    assert_eq!(1 + std::hint::black_box(1), 3, "sums are wrong");
}

#[lunatic::test]
fn gives_an_error() -> Result<(), String> {
    Err("an error of its own".into())
}

#[lunatic::test]
#[should_panic]
fn panics() {
    panic!("on purpose");
}

#[lunatic::test]
#[should_panic(expected = "bug #7: \"quoted\"")]
fn panics_with_a_text() {
    panic!("this is bug #7: \"quoted\"");
}

#[lunatic::test]
#[should_panic = "something else"]
fn panics_with_another_text() {
    panic!("on purpose");
}

#[lunatic::test]
#[ignore = "it takes too long"]
fn is_ignored() {
    loop {}
}

mod inner {
    #[lunatic::test]
    #[ignore]
    #[should_panic(expected = r"a\b")]
    #[allow(clippy::unreachable)]
    pub fn is_ignored_and_panics() {
        panic!(r"a\b");
    }

    #[lunatic::test]
    #[cfg(any())]
    fn is_not_there() {
        nothing_of_it_is_compiled();
    }
}
