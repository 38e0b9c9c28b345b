//! Children with configurations of their own, however they are started; calls that are late, and sends that wait. Prints
//! `ok <behaviour>` for each.

use lunatic::{
    Channel, Child, Error, Event, ExitReason, Mailbox, Overflow, Process, ProcessConfig, Reply,
    Right, Spawn, Strategy, Supervisor,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use test_guests::{check, check_eq, wait_until};

const LONG: Duration = Duration::from_secs(60);

fn main() {
    lunatic::survive_links(true);
    Process::<String>::current().register("log");
    children_of_supervisors();
    refused_children();
    confined_supervisors();
    spawns();
    sends();
    late_answers();
    deferred_answers();
}

fn log(line: String) {
    Process::<String>::lookup("log").expect("the main process lives").send(line);
}

fn line() -> String {
    loop {
        match Mailbox::<String>::own().next_timeout(LONG).expect("FAILED: a line within a minute") {
            Event::Message(line) => return line,
            _ => continue,
        }
    }
}

fn drain() {
    while Mailbox::<String>::own().next_timeout(Duration::ZERO).is_ok() {}
}

/// Says what it may, then ends as it is told.
fn probe(name: String, mailbox: Mailbox<i32>) {
    let spawns = Process::spawn((), |()| {}).is_ok();
    let grows = Vec::<u8>::new().try_reserve(16 << 20).is_ok();
    let variable = std::env::var("WHO").unwrap_or_default();
    log(format!("{name}: spawns {spawns}, grows {grows}, is {variable:?}"));
    match mailbox.receive() {
        -1 => loop {
            std::hint::black_box(());
        },
        code => std::process::exit(code),
    }
}

fn tell(name: &str, code: i32) {
    wait_until("a child has its name", || Process::<i32>::lookup(name).is_some());
    Process::<i32>::lookup(name).expect("just seen").send(code);
}

fn children_of_supervisors() {
    let config = ProcessConfig::new().memory(8 << 20).fuel(50).env("WHO", "confined");
    let confined = Child::with_mailbox("confined", "confined".to_string(), probe);
    let free = Child::with_mailbox("free", "free".to_string(), probe);
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .intensity(1000, LONG)
        .child(confined.named("confined").config(config))
        .child(free.named("free"))
        .start()
        .unwrap();
    let confined = r#"confined: spawns false, grows false, is "confined""#;
    let mut lines = [line(), line()];
    lines.sort();
    let expected = [confined.to_string(), r#"free: spawns true, grows true, is """#.to_string()];
    check_eq(
        "each child has what its configuration grants, or its supervisor has",
        lines,
        expected,
    );
    tell("confined", 7);
    check_eq("a restart has the same configuration", line(), confined.into());
    tell("confined", -1);
    check_eq("and fuel of its own", line(), confined.into());
    let children = supervisor.children().unwrap();
    check_eq(
        "which the one before had used up",
        children[0].last_end.clone(),
        Some(ExitReason::OutOfFuel { limit: 50 }),
    );
    let usage = children[0].usage.expect("it has a configuration");
    check("its usage is that of all its processes", usage.fuel >= 50 && usage.spawned == 3);
    check_eq("of which one lives", usage.alive, 1);
    check_eq("others' is not counted", children[1].usage, None);
    supervisor.stop().unwrap();
    drain();
}

fn refused_children() {
    let supervisor = Supervisor::new(Strategy::OneForOne).start().unwrap();
    let child =
        Child::new("greedy", (), |()| {}).config(ProcessConfig::new().connect("10.0.0.1:80"));
    let refused = supervisor.start_child(child);
    check(
        "a child is not given what its supervisor has not",
        matches!(&refused, Err(Error::Spawn { reason }) if reason.contains("10.0.0.1:80")),
    );
    check_eq("and is no child then", supervisor.children().map(|all| all.len()), Ok(0));
    supervisor.stop().unwrap();
    drain();
}

fn confined_supervisors() {
    let sleeper = || Child::new("sleeper", (), |()| lunatic::sleep(LONG));
    let config = ProcessConfig::new().allow(Right::Spawn).allow(Right::Kill).children(2);
    let supervisor =
        Supervisor::new(Strategy::OneForOne).child(sleeper()).start_with(&config).unwrap();
    let second = Child::new("second", (), |()| lunatic::sleep(LONG));
    check("a supervisor may be confined", supervisor.start_child(second).is_ok());
    let third = supervisor.start_child(Child::new("third", (), |()| {}));
    check("to so many children", matches!(third, Err(Error::Spawn { .. })));
    let named = supervisor.start_child(Child::new("named", (), |()| {}).named("x"));
    check(
        "to such without names",
        matches!(&named, Err(Error::Spawn { reason }) if reason.contains("a name")),
    );
    let configured = Child::new("configured", (), |()| {}).config(ProcessConfig::new());
    let configured = supervisor.start_child(configured);
    check(
        "to such without configurations",
        matches!(&configured, Err(Error::Spawn { reason }) if reason.contains("configurations")),
    );
    check_eq("it ends its children all the same", supervisor.stop(), Ok(()));
    let config = ProcessConfig::new().allow(Right::Spawn);
    let supervisor = Supervisor::new(Strategy::OneForOne).child(sleeper()).start_with(config);
    check("one that may not kill does not start", matches!(supervisor, Err(Error::Ended { .. })));
    drain();
}

fn spawns() {
    let mailbox = Mailbox::<String>::own();
    for _ in 0..50 {
        Spawn::new().monitor().start((), |()| std::process::exit(9)).unwrap();
        let Ok(Event::Ended(notice)) = mailbox.next() else { panic!("FAILED: it is monitored") };
        assert_eq!(notice.reason, ExitReason::Code(9), "FAILED: from its first step");
    }
    check("whoever is monitored from the start is never too quick", true);
    let config = ProcessConfig::new().fuel(3);
    let all = Spawn::new().config(&config).link_with_tag(5).monitor_with_tag(6);
    let spinner = all.start((), |()| loop {
        std::hint::black_box(());
    });
    let spinner = spinner.unwrap();
    let mut tags: Vec<i64> = Vec::new();
    for _ in 0..2 {
        let Ok(Event::Ended(notice) | Event::LinkFailed(notice)) = mailbox.next() else {
            panic!("FAILED: it is tied")
        };
        assert_eq!(notice.reason, ExitReason::OutOfFuel { limit: 3 });
        assert_eq!(notice.process, spinner);
        tags.push(notice.tag);
    }
    tags.sort_unstable();
    check_eq("confined, linked and monitored, all at once", tags, vec![5, 6]);
    let quiet =
        Spawn::new().monitor().start_with_mailbox((), |(), mailbox: Mailbox<()>| mailbox.receive());
    let quiet = quiet.unwrap();
    quiet.stop_monitoring();
    quiet.send(());
    wait_until("it ends", || !quiet.is_alive());
    check_eq(
        "a monitor from the start can be taken back",
        mailbox.next_timeout(Duration::ZERO),
        Err(Error::Timeout(Duration::ZERO)),
    );
}

fn sends() {
    let (go, done): (Channel<()>, Channel<u32>) = (Channel::new(0), Channel::new(0));
    let config = ProcessConfig::new().mailbox(2, Overflow::Block);
    let slow = Spawn::new().config(&config).start_with_mailbox(
        (go.clone(), done.clone()),
        |(go, done): (Channel<()>, Channel<u32>), mailbox: Mailbox<u32>| {
            go.receive();
            let sum = mailbox.receive() + mailbox.receive() + mailbox.receive();
            done.send(sum);
        },
    );
    let slow = slow.unwrap();
    let short = Duration::from_millis(5);
    // Its context is taken before it waits; so there is room for two.
    wait_until("there is room for one", || slow.send_timeout(1, Duration::ZERO).is_ok());
    wait_until("there is room for two", || slow.send_timeout(2, Duration::ZERO).is_ok());
    check_eq(
        "a full mailbox is waited for, for so long",
        slow.send_timeout(9, short),
        Err(Error::Timeout(short)),
    );
    go.send(());
    check_eq("there is room again", slow.send_timeout(4, LONG), Ok(()));
    check_eq("what had no room was not sent", done.receive(), 7);
    check_eq(
        "sending to the dead does not wait",
        {
            wait_until("it ends", || !slow.is_alive());
            slow.send_timeout(1, LONG)
        },
        Ok(()),
    );
}

#[derive(Serialize, Deserialize)]
enum Ask {
    /// Is answered when the next request comes.
    Slow(u64, Reply<u64>),
    Quick(u64, Reply<u64>),
    /// Is handed on to another process, which answers when it is told to.
    Elsewhere(Process<Reply<u64>>, Reply<u64>),
    Fail,
}

fn server((): (), mailbox: Mailbox<Ask>) {
    let mut slow: Vec<(u64, Reply<u64>)> = Vec::new();
    loop {
        match mailbox.receive() {
            Ask::Slow(number, reply) => slow.push((number, reply)),
            Ask::Quick(number, reply) => {
                slow.drain(..).for_each(|(number, reply)| reply.send(number));
                reply.send(number);
            }
            Ask::Elsewhere(to, reply) => to.send(reply),
            Ask::Fail => panic!("on purpose"),
        }
    }
}

fn late_answers() {
    let server = Process::spawn_with_mailbox((), server).unwrap();
    let short = Duration::from_millis(2);
    for round in 0..100 {
        let late = server.call_timeout(short, |reply| Ask::Slow(1_000 + round, reply));
        assert_eq!(late, Err(Error::Timeout(short)), "FAILED: a call has its limit");
        // The late answer comes before this one, from the same process.
        let answer = server.call(|reply| Ask::Quick(round, reply));
        assert_eq!(answer, Ok(round), "FAILED: each call has its own answer");
    }
    check("a late answer is never taken for another call's", true);
    let mailbox = Mailbox::<String>::own();
    check_eq("nor for a message", mailbox.try_receive(), Err(Error::WouldWait));
    // One that only calls does not collect what comes late: two messages have room beside each call's.
    let config = ProcessConfig::new().mailbox(4, Overflow::Kill);
    let caller = Spawn::new().config(&config).monitor().start(server, |server: Process<Ask>| {
        for round in 0..100 {
            let _ = server.call_timeout(Duration::from_millis(1), |reply| Ask::Slow(round, reply));
            assert_eq!(server.call(|reply| Ask::Quick(round, reply)), Ok(round));
        }
    });
    caller.unwrap();
    let Ok(Event::Ended(notice)) = mailbox.next() else { panic!("FAILED: it ends") };
    check_eq("late answers do not fill a mailbox", notice.reason, ExitReason::Code(0));
    server.kill();
}

fn deferred_answers() {
    let fresh = || Process::spawn_with_mailbox((), server).unwrap();
    let failing = fresh();
    let helper = Process::spawn(failing, |server: Process<Ask>| {
        lunatic::sleep(Duration::from_millis(10));
        server.send(Ask::Fail);
    });
    helper.unwrap();
    let answer = failing.call_timeout(LONG, |reply| Ask::Slow(1, reply));
    let trapped =
        matches!(&answer, Err(Error::Ended { notice }) if notice.reason == ExitReason::Trap);
    check("a deferred answer whose server dies is an error", trapped);

    // The answer comes from another process, when the server has died.
    let failing = fresh();
    let holder = Process::spawn_with_mailbox(failing, |server: Process<Ask>, mailbox| {
        let reply: Reply<u64> = mailbox.receive();
        server.send(Ask::Fail);
        wait_until("the server is gone", || !server.is_alive());
        lunatic::sleep(Duration::from_millis(5));
        reply.send(5);
    });
    let holder = holder.unwrap();
    holder.monitor();
    let answer = failing.call_timeout(LONG, |reply| Ask::Elsewhere(holder, reply));
    check(
        "a call ends with the process that was asked",
        matches!(answer, Err(Error::Ended { .. })),
    );
    let Ok(Event::Ended(_)) = Mailbox::<String>::own().next() else { panic!("FAILED: it ends") };
    let next = fresh();
    check_eq(
        "its late answer is not the next call's",
        next.call(|reply| Ask::Quick(6, reply)),
        Ok(6),
    );
    next.kill();
    let left = Mailbox::<String>::own().try_receive();
    check_eq("nor is anything left of it", left, Err(Error::WouldWait));
}
