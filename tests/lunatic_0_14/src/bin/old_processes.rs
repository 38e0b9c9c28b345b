//! `lunatic` 0.14.1: processes, links, mailboxes with tags, protocols, process-local storage.

use std::cell::RefCell;
use std::time::Duration;

use lunatic::protocol::{End, Recv, Send};
use lunatic::{
    process_local, sleep, spawn_link, Mailbox, MessageSignal, Process, ProcessDiedSignal, Tag,
};

process_local!(static COUNT: RefCell<u32> = RefCell::new(1));

#[lunatic::main]
fn main(mailbox: Mailbox<String>) {
    // Spawned with captured values; the child answers.
    let child = Process::spawn((mailbox.this(), 20), |(parent, number), child: Mailbox<i32>| {
        let sum = number + child.receive();
        parent.send(format!("sum {sum}"));
    });
    child.send(22);
    println!("{}", mailbox.receive());

    // Selective receive: the second of two tagged messages first.
    let (first, second) = (Tag::new(), Tag::new());
    mailbox.this().tag_send(first, "first".to_string());
    mailbox.this().tag_send(second, "second".to_string());
    println!("{}", mailbox.tag_receive(&[second]));
    println!("{}", mailbox.tag_receive(&[first]));
    println!("{:?}", mailbox.receive_timeout(Duration::from_millis(20)).is_err());

    // A protocol: two numbers there, their product back.
    let protocol = spawn_link!(|protocol: Protocol<Recv<u32, Recv<u32, Send<u32, End>>>>| {
        let (protocol, a) = protocol.receive();
        let (protocol, b) = protocol.receive();
        let _ = protocol.send(a * b);
    });
    let (_, product) = protocol.send(6).send(7).receive();
    println!("product {product}");

    // Each process has its own value.
    COUNT.with_borrow_mut(|mut count| *count = 2);
    let task = spawn_link!(@task || COUNT.with_borrow(|count| *count));
    println!("theirs {} ours {}", task.result(), COUNT.with_borrow(|count| *count));

    // A thousand at once.
    let tasks: Vec<_> = (0..1000u64).map(|n| spawn_link!(@task |n| n * 2)).collect();
    println!("total {}", tasks.into_iter().map(|task| task.result()).sum::<u64>());

    // A link's end as a message, and a monitored process's.
    let mailbox = mailbox.catch_link_failure();
    let _failing = Process::spawn_link((), |_, _: Mailbox<()>| panic!("on purpose"));
    println!("link died: {}", mailbox.receive().is_signal());
    monitors();
}

fn monitors() {
    let watcher = spawn_link!(@task || {
        let mailbox = unsafe_mailbox().monitorable();
        let process = Process::spawn((), |_, _: Mailbox<()>| sleep(Duration::from_millis(5)));
        mailbox.monitor(process);
        match mailbox.receive() {
            MessageSignal::Signal(ProcessDiedSignal(id)) => id == process.id(),
            MessageSignal::Message(()) => false,
        }
    });
    println!("monitored process died: {}", watcher.result());
}

#[allow(unsafe_code)]
fn unsafe_mailbox() -> Mailbox<()> {
    // SAFETY: the task has no other mailbox in use.
    unsafe { Mailbox::new() }
}
