//! Supervisors, calls, links and names as the crate has them: prints `ok <behaviour>` for each.

use lunatic::{
    Channel, Child, Error, Event, ExitReason, Mailbox, Process, Reply, Restart, Shutdown, Strategy,
    Supervisor, SupervisorRef,
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use test_guests::{check, check_eq, wait_until};

const LONG: Duration = Duration::from_secs(60);

fn main() {
    lunatic::survive_links(true);
    notices();
    calls();
    one_for_one();
    groups();
    kinds_of_children();
    intensity();
    backoff();
    shutdown();
    trees();
    names();
}

#[derive(Serialize, Deserialize)]
enum Ask {
    Double(u64, Reply<u64>),
    Later(Reply<u64>),
    Answer(u64),
    Deaf(Reply<u64>),
    Die(Reply<u64>),
}

fn server((): (), mailbox: Mailbox<Ask>) {
    let mut waiting: Vec<Reply<u64>> = Vec::new();
    loop {
        match mailbox.receive() {
            Ask::Double(number, reply) => reply.send(2 * number),
            Ask::Later(reply) => waiting.push(reply),
            Ask::Answer(number) => waiting.drain(..).for_each(|reply| reply.send(number)),
            Ask::Deaf(reply) => {
                lunatic::sleep(Duration::from_millis(30));
                reply.send(1);
            }
            Ask::Die(_) => panic!("asked to"),
        }
    }
}

fn notices() {
    let mailbox = Mailbox::<u32>::own();
    let child = Process::spawn_link((), |()| panic!("on purpose")).unwrap();
    let Ok(Event::LinkFailed(notice)) = mailbox.next() else { panic!("FAILED: no notice") };
    check_eq("a link's failure is an event", notice.process, child);
    check_eq("with its reason", notice.reason, ExitReason::Trap);
    check("in words", notice.text.contains("unreachable"));
    let child = Process::spawn((), |()| std::process::exit(9)).unwrap();
    child.monitor();
    let ended = mailbox.next();
    let is_9 = |event: &Result<Event<u32>, Error>| match event {
        Ok(Event::Ended(notice)) => {
            notice.reason == ExitReason::Code(9) || notice.reason == ExitReason::NoProcess
        }
        _ => false,
    };
    check("a monitor tells an exit code", is_9(&ended));
    mailbox.process().send(5);
    check_eq("messages are events", mailbox.next(), Ok(Event::Message(5)));
    let timeout = Duration::from_millis(2);
    check_eq(
        "waiting for events has limits",
        mailbox.next_timeout(timeout),
        Err(Error::Timeout(timeout)),
    );
}

fn calls() {
    let server = Process::spawn_with_mailbox((), server).unwrap();
    check_eq("a call is answered", server.call(|reply| Ask::Double(4, reply)), Ok(8));
    let helper = Process::spawn(server, |server: Process<Ask>| {
        lunatic::sleep(Duration::from_millis(5));
        server.send(Ask::Answer(77));
    });
    check("a helper", helper.is_ok());
    check_eq("an answer may come later", server.call(Ask::Later), Ok(77));
    let short = Duration::from_millis(1);
    check_eq(
        "a call has a limit",
        server.call_timeout(short, Ask::Deaf),
        Err(Error::Timeout(short)),
    );
    lunatic::sleep(Duration::from_millis(60));
    let mailbox = Mailbox::<u32>::own();
    mailbox.process().send(6);
    check_eq("an answer that is late is passed over", mailbox.receive(), 6);
    let died = server.call(Ask::Die);
    let trapped =
        matches!(&died, Err(Error::Ended { notice }) if notice.reason == ExitReason::Trap);
    check("a call ends with its server", trapped);
    let died = server.call(|reply| Ask::Double(1, reply));
    let gone =
        matches!(&died, Err(Error::Ended { notice }) if notice.reason == ExitReason::NoProcess);
    check("a call to the dead ends at once", gone);
    check_eq("and leaves nothing behind", mailbox.try_receive(), Err(Error::WouldWait));
}

/// A child that says that it has started, and ends as it is told.
fn reporter((name, starts): (String, String), mailbox: Mailbox<u32>) {
    let log = Process::<String>::lookup(&starts).expect("the log lives");
    log.send(name);
    match mailbox.receive() {
        0 => {}
        code => std::process::exit(code as i32),
    }
}

fn log_process() -> Process<String> {
    let log = Process::spawn_with_mailbox((), |(), mailbox: Mailbox<String>| {
        let mut lines = Vec::new();
        loop {
            let line = mailbox.receive();
            match line.strip_prefix("give ") {
                None => lines.push(line),
                Some(name) => Process::<Vec<String>>::lookup(name)
                    .expect("whoever asks has a name")
                    .send(std::mem::take(&mut lines)),
            }
        }
    });
    let log = log.unwrap();
    log.register("log");
    Process::<Vec<String>>::current().register("main");
    log
}

/// What the log has got when so many lines have come.
fn logged(log: Process<String>, count: usize) -> Vec<String> {
    let mailbox = Mailbox::<Vec<String>>::own();
    let mut all = Vec::new();
    let began = Instant::now();
    while all.len() < count {
        log.send("give main".to_string());
        all.extend(mailbox.receive());
        assert!(began.elapsed() < LONG, "FAILED: {count} lines, there are {all:?}");
        lunatic::yield_now();
    }
    all
}

fn child(name: &str) -> Child {
    Child::with_mailbox(name, (name.to_string(), "log".to_string()), reporter).named(name)
}

fn tell(name: &str, code: u32) {
    wait_until("a child has its name", || Process::<u32>::lookup(name).is_some());
    Process::<u32>::lookup(name).expect("just seen").send(code);
}

fn three(strategy: Strategy) -> SupervisorRef {
    Supervisor::new(strategy)
        .intensity(1000, LONG)
        .child(child("a"))
        .child(child("b"))
        .child(child("c"))
        .start()
        .unwrap()
}

/// The supervisor's death takes nobody along who survives links; this takes its notices.
fn drain() {
    let mailbox = Mailbox::<Vec<String>>::own();
    while mailbox.next_timeout(Duration::ZERO).is_ok() {}
}

fn one_for_one() {
    let log = log_process();
    let supervisor = three(Strategy::OneForOne);
    let started: Vec<String> =
        supervisor.children().unwrap().into_iter().map(|child| child.id).collect();
    check_eq("children are started in order", started, ["a", "b", "c"].map(String::from).to_vec());
    logged(log, 3);
    tell("b", 3);
    check_eq("one for one: that child starts again", logged(log, 1), vec!["b".to_string()]);
    let children = supervisor.children().unwrap();
    let restarts: Vec<u64> = children.iter().map(|child| child.restarts).collect();
    check_eq("restarts are counted", restarts, vec![0, 1, 0]);
    check_eq("the last end is known", children[1].last_end.clone(), Some(ExitReason::Code(3)));
    tell("b", 0);
    check_eq(
        "a permanent child starts again after a normal end",
        logged(log, 1),
        vec!["b".to_string()],
    );
    let error = supervisor.start_child(child("a"));
    check(
        "ids are unique",
        matches!(error, Err(Error::Spawn { reason }) if reason.contains("\"a\"")),
    );
    let d = supervisor.start_child(child("d")).unwrap();
    logged(log, 1);
    check_eq("a child is added", Process::<u32>::lookup("d").map(|found| found.id()), Some(d.id()));
    check_eq("a child is ended", supervisor.end_child("d"), Ok(true));
    check("and gone", !d.is_alive());
    check_eq("and forgotten", supervisor.end_child("d"), Ok(false));
    supervisor.stop().unwrap();
    let gone = ["a", "b", "c"].iter().all(|name| Process::<u32>::lookup(name).is_none());
    check("all children end with their supervisor", gone);
    drain();
}

fn groups() {
    let log = Process::<String>::lookup("log").expect("the log lives");
    let supervisor = three(Strategy::OneForAll);
    logged(log, 3);
    tell("b", 1);
    let mut again = logged(log, 3);
    again.sort();
    check_eq("one for all: all start again", again, ["a", "b", "c"].map(String::from).to_vec());
    supervisor.stop().unwrap();
    let supervisor = three(Strategy::RestForOne);
    logged(log, 3);
    tell("b", 1);
    let mut again = logged(log, 2);
    again.sort();
    check_eq(
        "rest for one: it and the later ones start again",
        again,
        ["b", "c"].map(String::from).to_vec(),
    );
    tell("c", 1);
    check_eq("rest for one: the last alone", logged(log, 1), vec!["c".to_string()]);
    supervisor.stop().unwrap();
    drain();
}

fn kinds_of_children() {
    let log = Process::<String>::lookup("log").expect("the log lives");
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .intensity(1000, LONG)
        .child(child("transient").restart(Restart::Transient))
        .child(child("temporary").restart(Restart::Temporary))
        .start()
        .unwrap();
    logged(log, 2);
    tell("transient", 4);
    check_eq(
        "a transient child starts again after a failure",
        logged(log, 1),
        vec!["transient".to_string()],
    );
    tell("transient", 0);
    wait_until("it has ended", || supervisor.children().unwrap()[0].process.is_none());
    check("and not after a normal end", Process::<u32>::lookup("transient").is_none());
    tell("temporary", 4);
    wait_until("it is forgotten", || supervisor.children().unwrap().len() == 1);
    check("a temporary child never starts again", Process::<u32>::lookup("temporary").is_none());
    supervisor.stop().unwrap();
    drain();
}

fn intensity() {
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .intensity(3, LONG)
        .child(Child::new("bad", (), |()| std::process::exit(5)))
        .child(Child::new("good", (), |()| loop {
            lunatic::sleep(LONG)
        }))
        .start();
    // It may have given up before it answered.
    if let Ok(supervisor) = supervisor {
        wait_until("a supervisor gives up", || !supervisor.process().is_alive());
    }
    let mailbox = Mailbox::<()>::own();
    let Ok(Event::LinkFailed(notice)) = mailbox.next() else { panic!("FAILED: a link fails") };
    check_eq(
        "too many restarts are a failure of the supervisor",
        notice.reason,
        ExitReason::Code(1),
    );
}

fn backoff() {
    let log = Process::<String>::lookup("log").expect("the log lives");
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .intensity(1000, LONG)
        .backoff(Duration::from_millis(20), Duration::from_millis(40))
        .child(child("slow"))
        .start()
        .unwrap();
    logged(log, 1);
    let began = Instant::now();
    for _ in 0..3 {
        tell("slow", 1);
        logged(log, 1);
    }
    check(
        "restarts wait longer and longer",
        began.elapsed() >= Duration::from_millis(20 + 40 + 40),
    );
    supervisor.stop().unwrap();
    drain();
}

fn shutdown() {
    let log = Process::<String>::lookup("log").expect("the log lives");
    fn polite((name, obeys): (String, bool), mailbox: Mailbox<u32>) {
        lunatic::survive_links(true);
        let log = Process::<String>::lookup("log").expect("the log lives");
        log.send(format!("{name} starts"));
        loop {
            if let Ok(Event::AskedToEnd(_)) = mailbox.next() {
                log.send(format!("{name} is asked"));
                if obeys {
                    return;
                }
            }
        }
    }
    let within = |name: &str, obeys, limit| {
        Child::with_mailbox(name, (name.to_string(), obeys), polite)
            .shutdown(Shutdown::Within(limit))
    };
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .child(within("first", true, LONG))
        .child(within("deaf", false, Duration::from_millis(10)))
        .child(within("last", true, LONG))
        .start()
        .unwrap();
    logged(log, 3);
    supervisor.stop().unwrap();
    let expected = ["last is asked", "deaf is asked", "first is asked"].map(String::from);
    check_eq(
        "children are asked to end, the last first, and killed if they do not",
        logged(log, 3),
        expected.to_vec(),
    );
    drain();
}

fn trees() {
    let log = Process::<String>::lookup("log").expect("the log lives");
    let leaf = Supervisor::new(Strategy::OneForOne).intensity(0, LONG).child(child("leaf"));
    let root = Supervisor::new(Strategy::OneForOne)
        .intensity(1000, LONG)
        .child(Child::supervisor("branch", leaf))
        .start()
        .unwrap();
    logged(log, 1);
    let branch = root.children().unwrap()[0].process;
    tell("leaf", 1);
    check_eq(
        "a supervisor that gives up is started again by its own",
        logged(log, 1),
        vec!["leaf".to_string()],
    );
    check("as another process", root.children().unwrap()[0].process != branch);
    let leaf = Process::<u32>::lookup("leaf").expect("it has just started");
    root.process().kill();
    wait_until("who is killed takes its whole tree along", || !leaf.is_alive());
    check("the whole tree ends with its root", true);
    drain();
}

fn names() {
    let own = Process::<u32>::current();
    own.register("me");
    check_eq("a name is found", Process::<u32>::lookup("me"), Some(own));
    lunatic::unregister("me");
    check_eq("a name is taken back", Process::<u32>::lookup("me"), None);
    let (ready, stop): (Channel<()>, Channel<()>) = (Channel::new(0), Channel::new(0));
    let child = Process::spawn((ready.clone(), stop.clone()), named_child);
    ready.receive();
    check("a child is found by its name", Process::<()>::lookup("child") == child.ok());
    stop.send(());
    wait_until("a name vanishes", || Process::<()>::lookup("child").is_none());
    check("a name vanishes with its process", true);
}

fn named_child((ready, stop): (Channel<()>, Channel<()>)) {
    Process::<()>::current().register("child");
    ready.send(());
    stop.receive();
}
