//! Exits with the code given as its argument, 7 without one. What `print!` holds back must still come out.

fn main() {
    let code = test_guests::count_argument(7);
    print!("exiting with {code}");
    std::process::exit(i32::try_from(code).expect("the test gives an exit code"));
}
