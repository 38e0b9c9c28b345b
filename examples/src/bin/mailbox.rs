//! A counter as a server: a process with a state of its own, which others reach only through its mailbox.

use lunatic::{Mailbox, Process};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum Request {
    Add(u64),
    /// Answer with the count.
    Get(Process<u64>),
    Stop,
}

fn main() {
    let counter = Process::spawn_with_mailbox(100, count).unwrap();
    for number in 1..=10 {
        counter.send(Request::Add(number));
    }
    let mailbox = Mailbox::own();
    counter.send(Request::Get(mailbox.process()));
    println!("the count is {}", mailbox.receive());

    counter.send(Request::Stop);
    while counter.is_alive() {
        lunatic::yield_now();
    }
    println!("the counter has stopped");
}

fn count(mut count: u64, mailbox: Mailbox<Request>) {
    loop {
        match mailbox.receive() {
            Request::Add(number) => count += number,
            Request::Get(caller) => caller.send(count),
            Request::Stop => return,
        }
    }
}
