//! Supervisors of very many children, and with extreme settings. Prints `ok <behaviour>` for each.

use lunatic::{
    Child, ChildInfo, Error, Mailbox, Process, ProcessConfig, Reply, Restart, Shutdown, Strategy,
    Supervisor, SupervisorRef,
};
use std::time::Duration;
use test_guests::{check, check_eq, wait_until};

const LONG: Duration = Duration::from_secs(600);

fn main() {
    lunatic::survive_links(true);
    many_children();
    many_ends();
    ends_of_others();
    many_configurations();
    longest_backoff();
    too_many_normal_ends();
}

fn waits(_: u64) {
    loop {
        lunatic::sleep(LONG);
    }
}

fn fails(_: u64) {
    std::process::abort();
}

fn start(strategy: Strategy) -> Supervisor {
    Supervisor::new(strategy).intensity(u32::MAX, LONG)
}

fn id(number: u64) -> String {
    format!("child {number}")
}

/// Starts so many children and ends them in turn, in order, but for the last, with whom it stops. What that costs, in
/// fuel; a failure among them is mended.
fn cost(children: u64) -> u64 {
    let config = ProcessConfig::like_mine().fuel(u64::MAX >> 1);
    let supervisor = start(Strategy::OneForOne).start_with(&config).unwrap();
    let mut last = None;
    for number in 0..children {
        last = Some(supervisor.start_child(Child::new(id(number), number, waits)).unwrap());
    }
    last.unwrap().kill();
    let last = children - 1;
    wait_until("it is started again", || {
        supervisor.children().unwrap()[last as usize].restarts == 1
    });
    for number in 0..last {
        assert_eq!(supervisor.end_child(&id(number)), Ok(true));
    }
    check_eq("the last one is left", ids(&supervisor), vec![id(last)]);
    supervisor.stop().unwrap();
    config.usage().fuel
}

fn ids(supervisor: &SupervisorRef) -> Vec<String> {
    supervisor.children().unwrap().into_iter().map(|child| child.id).collect()
}

fn many_children() {
    let (few, many) = (cost(500), cost(10_000));
    check("twenty times the children cost no fifty times as much", many < 50 * few);
}

/// All end at once, by themselves and because all are ended, while the supervisor is told to stop.
fn many_ends() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        let supervisor = start(strategy).start().unwrap();
        let mut processes = Vec::new();
        for number in 0..3_000 {
            let restart = [Restart::Permanent, Restart::Transient, Restart::Temporary];
            let child = Child::new(id(number), number, waits).restart(restart[number as usize % 3]);
            processes.push(supervisor.start_child(child).unwrap());
        }
        processes.iter().skip(1).step_by(2).for_each(Process::kill);
        check_eq("a supervisor of many that end stops", supervisor.stop(), Ok(()));
        check("and all have ended", processes.iter().all(|process| !process.is_alive()));
    }
}

/// Sleeps and says that it has.
fn sleeper(number: u64) {
    lunatic::sleep(Duration::from_millis(50 * number));
    log(number);
}

fn log(number: u64) {
    Process::<u64>::lookup("log").expect("the main process lives").send(number);
}

fn ends_of_others() {
    Process::<u64>::current().register("log");
    let deaf = Child::new("deaf", 0, |_: u64| {
        lunatic::survive_links(true);
        log(0);
        waits(0)
    });
    let supervisor = start(Strategy::OneForOne).start().unwrap();
    let all = 100;
    for number in 1..=all {
        let sleeper = Child::new(id(number), number, sleeper).restart(Restart::Temporary);
        supervisor.start_child(sleeper).unwrap();
    }
    let short = Shutdown::Within(Duration::from_millis(100));
    supervisor.start_child(deaf.shutdown(short)).unwrap();
    let mailbox = Mailbox::<u64>::own();
    let before =
        std::iter::from_fn(|| Some(mailbox.receive()).filter(|&number| number > 0)).count();
    check_eq("it stops while others end one by one", supervisor.stop(), Ok(()));
    let ended = before + std::iter::from_fn(|| mailbox.try_receive().ok()).count();
    check("and gives no child more time for that", ended < all as usize);
}

/// Says whether it cannot have as much memory as others.
fn confined(_: u64, mailbox: Mailbox<Reply<bool>>) {
    loop {
        let reply = mailbox.receive();
        let mut room = Vec::<u8>::new();
        let refused = room.try_reserve(64 << 20).is_err();
        std::hint::black_box(room);
        reply.send(refused);
    }
}

fn many_configurations() {
    let supervisor = start(Strategy::OneForOne).start().unwrap();
    let child = |number| {
        let config = ProcessConfig::new().memory(32 << 20);
        Child::with_mailbox(id(number), number, confined).config(config)
    };
    let all = 5_000;
    for number in 0..all {
        supervisor.start_child(child(number)).unwrap();
    }
    let last = || Process::<Reply<bool>>::from_id(nth(&supervisor, all as usize - 1).id());
    check_eq("the last of many children is confined", last().call(|reply| reply), Ok(true));
    let first = last();
    first.kill();
    wait_until("it starts again", || {
        supervisor.children().unwrap()[all as usize - 1].restarts == 1 && last() != first
    });
    check_eq("so it is when it was started again", last().call(|reply| reply), Ok(true));
    let children = supervisor.children().unwrap();
    let counted = children.iter().filter(|child| child.usage.is_some()).count();
    check("what the first of them use is counted", (4_000..4_096).contains(&counted));
    let spawned = |child: &ChildInfo| child.usage.is_none_or(|usage| usage.spawned == 1);
    check("of each by itself", children.iter().all(spawned));
    check_eq("others stop with them", supervisor.stop(), Ok(()));

    // The same without a supervisor.
    let configs: Vec<_> = (0..5_000).map(|_| ProcessConfig::new()).collect();
    let spawn = |config: &ProcessConfig| Process::spawn_with(config, 0, |_: u64| {});
    let granted = configs.iter().take_while(|&config| spawn(config).is_ok()).count();
    check_eq("a process has so many configurations", granted, 4_096);
    let refused = spawn(&configs[granted]).map(drop);
    check("the next is refused", matches!(refused, Err(Error::Config { .. })));
    drop(configs.into_iter().next());
    check("until others are dropped", spawn(&ProcessConfig::new()).is_ok());
}

/// The process of a child that runs.
fn nth(supervisor: &SupervisorRef, at: usize) -> Process<()> {
    loop {
        if let Some(process) = supervisor.children().unwrap()[at].process {
            return process;
        }
    }
}

fn longest_backoff() {
    for (first, most) in [(Duration::MAX, Duration::MAX), (Duration::from_secs(1), Duration::MAX)] {
        let supervisor = start(Strategy::OneForOne)
            .backoff(first, most)
            .child(Child::new("fails", 0, fails))
            .child(Child::new("waits", 0, waits))
            .start()
            .unwrap();
        wait_until("the child has failed", || supervisor.children().unwrap()[0].process.is_none());
        check(
            "a supervisor can wait for ever",
            supervisor.children().unwrap()[1].process.is_some(),
        );
        check_eq("and stop", supervisor.stop(), Ok(()));
    }
}

fn too_many_normal_ends() {
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .intensity(2, LONG)
        .child(Child::new("returns", 0, |_: u64| {}))
        .start();
    if let Ok(supervisor) = supervisor {
        wait_until("it gives up", || !supervisor.process().is_alive());
    }
    check("a permanent child that returns too often is too much", true);
}
