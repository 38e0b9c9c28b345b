//! Writes each line of stdin to stdout, and at the end their number. Other processes run while it waits for input.

use std::io::BufRead;

fn main() {
    let mut count = 0;
    for line in std::io::stdin().lock().lines() {
        println!("{}", line.expect("stdin is readable and UTF-8"));
        count += 1;
    }
    println!("{count} lines");
}
