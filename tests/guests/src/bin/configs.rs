//! Children with less than their parent: memory, fuel, a directory to read only, no rights; and what
//! is refused. The directory /data has a file "file".

use lunatic::{Channel, DirAccess, Error, Process, ProcessConfig, Right, Spawn};
use std::time::Duration;

fn main() {
    let answers: Channel<String> = Channel::new(0);

    let config =
        ProcessConfig::new().memory(8 << 20).dir("/data", DirAccess::ReadOnly).env("A", "B");
    Process::spawn_with(&config, answers.clone(), look).unwrap();
    println!("{}", answers.receive());
    println!("spawned {}", config.usage().spawned);

    let config = ProcessConfig::new().fuel(20);
    let spinner = Process::spawn_with(&config, 1_u64, |mut number| loop {
        number = std::hint::black_box(number.wrapping_mul(3));
    });
    let spinner = spinner.unwrap();
    while spinner.is_alive() {
        lunatic::sleep(Duration::from_millis(1));
    }
    println!("used {} of 20", config.usage().fuel.min(20));

    // Rights shrink: the child may spawn, but cannot hand that on.
    let config = ProcessConfig::new().allow(Right::Spawn).allow(Right::Configs);
    let child = Spawn::new().config(&config).start_with_mailbox(
        answers.clone(),
        |answers: Channel<String>, mailbox: lunatic::Mailbox<u32>| {
            let number = mailbox.receive();
            let more = ProcessConfig::new().connect("10.0.0.1:80");
            let error = Process::spawn_with(&more, (), |()| {}).unwrap_err();
            answers.send(format!("{number}: {error}"));
        },
    );
    child.unwrap().send(5);
    println!("{}", answers.receive());

    for (what, config) in [
        ("directory", ProcessConfig::new().dir("/etc", DirAccess::ReadOnly)),
        ("network", ProcessConfig::new().connect("db.local:5432")),
        ("rule", ProcessConfig::new().network("nonsense")),
        ("all", ProcessConfig::like_mine().deny(Right::Spawn).no_network()),
    ] {
        match Process::spawn_with(&config, (), |()| {}) {
            Ok(_) => println!("{what}: granted"),
            Err(Error::Config { reason }) => println!("{what}: {reason}"),
            Err(error) => panic!("{error}"),
        }
    }
}

fn look(answers: Channel<String>) {
    let read = std::fs::read_to_string("/data/file").map_err(|error| error.kind());
    let write = std::fs::write("/data/new", "").is_ok();
    let spawn = Process::spawn((), |()| {}).is_ok();
    let variable = std::env::var("A").unwrap_or_default();
    let mut large = Vec::<u8>::new();
    let memory = large.try_reserve(16 << 20).is_ok();
    answers.send(format!("{read:?} {write} {spawn} {variable} {memory}"));
}
