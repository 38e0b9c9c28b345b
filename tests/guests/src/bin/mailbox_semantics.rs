//! What processes and mailboxes promise, one line for each promise.

use lunatic::{Error, Mailbox, Process};
use std::collections::HashSet;
use std::time::{Duration, Instant};
use test_guests::{check, check_eq, wait_until};

fn main() {
    order();
    context();
    not_waiting();
    ending();
    wrong_type();
    println!("all mailbox promises hold");
}

fn order() {
    let mailbox: Mailbox<u32> = Mailbox::own();
    for number in 0..1_000 {
        mailbox.process().send(number);
    }
    let received: Vec<u32> = (0..1_000).map(|_| mailbox.receive()).collect();
    check_eq("messages to oneself stay in order", received, (0..1_000).collect());

    let mailbox: Mailbox<(u32, u32)> = Mailbox::own();
    for sender in 0..8u32 {
        Process::spawn((sender, mailbox.process()), |(sender, target)| {
            for number in 0..100u32 {
                target.send((sender, number));
            }
        })
        .unwrap();
    }
    let mut next = [0; 8];
    for _ in 0..800 {
        let (sender, number) = mailbox.receive();
        assert_eq!(number, next[sender as usize], "FAILED: sender {sender} is out of order");
        next[sender as usize] += 1;
    }
    check_eq("each sender's messages arrive in order", next, [100; 8]);
}

fn context() {
    let mailbox: Mailbox<(String, Vec<u32>)> = Mailbox::own();
    let child = Process::spawn_with_mailbox(
        ("context".to_string(), mailbox.process()),
        |(text, parent), mailbox: Mailbox<u32>| {
            let numbers = (0..100).map(|_| mailbox.receive()).collect();
            parent.send((text, numbers));
        },
    )
    .unwrap();
    // Some of these are there before the child has read its context.
    for number in 0..100 {
        child.send(number);
    }
    let expected = ("context".to_string(), (0..100).collect());
    check_eq("the context comes before all messages", mailbox.receive(), expected);

    let mailbox: Mailbox<u64> = Mailbox::own();
    tree((6, mailbox.process()));
    let ids: HashSet<u64> = (0..127).map(|_| mailbox.receive()).collect();
    check_eq("children have children, each with an id of its own", ids.len(), 127);
    check("a process knows its id", ids.contains(&Process::<()>::current().id()));
}

/// A binary tree of processes below the caller, each of which tells its id.
fn tree((depth, root): (u32, Process<u64>)) {
    root.send(Process::<()>::current().id());
    if depth > 0 {
        for _ in 0..2 {
            Process::spawn((depth - 1, root), tree).unwrap();
        }
    }
}

fn not_waiting() {
    let mailbox: Mailbox<u32> = Mailbox::own();
    check_eq("try_receive does not wait", mailbox.try_receive(), Err(Error::WouldWait));
    let nap = Duration::from_millis(30);
    let start = Instant::now();
    check_eq("receive_timeout ends", mailbox.receive_timeout(nap), Err(Error::Timeout(nap)));
    check("receive_timeout waits as long as it was told", start.elapsed() >= nap);

    Process::spawn(mailbox.process(), |parent| {
        lunatic::sleep(Duration::from_millis(20));
        parent.send(5);
    })
    .unwrap();
    let patience = Duration::from_secs(30);
    check_eq("receive_timeout gives what comes", mailbox.receive_timeout(patience), Ok(5));
    check_eq("nothing comes twice", mailbox.try_receive(), Err(Error::WouldWait));
}

fn ending() {
    check("the calling process is alive", Process::<()>::current().is_alive());

    let child = Process::spawn((), |()| {}).unwrap();
    wait_until("the child ends", || !child.is_alive());
    check("a process that returned is not alive", true);

    let looping: Process<u32> = Process::spawn_with_mailbox((), |(), mailbox: Mailbox<u32>| loop {
        std::hint::black_box(&mailbox);
    })
    .unwrap();
    looping.send(1);
    check("a looping process is alive", looping.is_alive());
    looping.kill();
    wait_until("the looping process ends", || !looping.is_alive());
    check("kill ends a loop", true);

    let waiting = Process::spawn_with_mailbox((), |(), mailbox: Mailbox<u32>| {
        mailbox.receive();
    })
    .unwrap();
    waiting.kill();
    wait_until("the waiting process ends", || !waiting.is_alive());
    check("kill ends a wait", true);

    waiting.send(1);
    waiting.kill();
    check("sending to one who ended, and killing it again, do nothing", true);

    let mailbox: Mailbox<u64> = Mailbox::own();
    let younger = Process::spawn(mailbox.process(), |parent| parent.send(1)).unwrap();
    mailbox.receive();
    check("an id is not given twice", younger.id() != waiting.id() && !waiting.is_alive());
}

fn wrong_type() {
    let own = Mailbox::<(u64, String)>::own();
    Process::<u8>::current().send(1);
    Process::<(u64, String)>::current().send((2, "two".to_string()));
    check("what is no M is an error", matches!(own.checked_receive(), Err(Error::Decode { .. })));
    check_eq("and the next message is there", own.receive(), (2, "two".to_string()));

    let own = Mailbox::<u8>::own();
    Process::<(u8, u8)>::current().send((1, 2));
    check(
        "bytes left over are an error",
        matches!(own.checked_receive(), Err(Error::Decode { .. })),
    );
}
