//! Prints its arguments without the program's name, one a line, then its environment, sorted.

fn main() {
    for argument in std::env::args().skip(1) {
        println!("argument {argument:?}");
    }
    let mut variables: Vec<_> = std::env::vars().collect();
    variables.sort();
    for (key, value) in variables {
        println!("environment {key:?} = {value:?}");
    }
}
