//! Do not wait for ever: ask, wait for a while, give up, and end the one who did not answer.

use lunatic::{Channel, Error, Process};
use std::time::Duration;

fn main() {
    for (name, milliseconds) in [("quick", 1), ("slow", 60_000)] {
        let answers = Channel::new(1);
        let server = Process::spawn((milliseconds, answers.clone()), answer_after).unwrap();
        match answers.receive_timeout(Duration::from_millis(200)) {
            Ok(answer) => println!("the {name} one says {answer}"),
            Err(Error::Timeout(after)) => {
                println!("the {name} one has not answered within {after:?}");
                server.kill();
            }
            Err(error) => println!("the {name} one: {error}"),
        }
    }
}

fn answer_after((milliseconds, answers): (u64, Channel<u32>)) {
    lunatic::sleep(Duration::from_millis(milliseconds));
    answers.send(42);
}
