//! Supervisors when things go wrong: order, patience, escalation, their own death. Prints `ok <behaviour>` for each.

use lunatic::{
    Child, Event, ExitReason, Mailbox, Process, Restart, Shutdown, Strategy, Supervisor,
    SupervisorRef,
};
use std::time::{Duration, Instant};
use test_guests::{check, check_eq, wait_until};

const LONG: Duration = Duration::from_secs(60);

fn main() {
    lunatic::survive_links(true);
    Process::<String>::current().register("log");
    dynamic_children();
    finished_siblings();
    shutdown_kinds();
    escalation();
    backoff_in_a_group();
    killed_supervisors();
    failing_parents();
    parents_that_end_well();
    names_of_others();
    names_of_the_dying();
}

// ---- what children do: they write to the log, which is the main process's mailbox ----

fn log(line: String) {
    Process::<String>::lookup("log").expect("the main process lives").send(line);
}

/// The next line of the log; the ends of others, which are no lines, are passed over.
fn line() -> String {
    loop {
        match Mailbox::<String>::own().next_timeout(LONG).expect("FAILED: a line within a minute") {
            Event::Message(line) => return line,
            _ => continue,
        }
    }
}

/// So many lines as they come: those of processes that end one after the other.
fn lines(count: usize) -> Vec<String> {
    (0..count).map(|_| line()).collect()
}

/// So many lines, sorted: processes that were started in order may run in any.
fn sorted_lines(count: usize) -> Vec<String> {
    let mut lines = lines(count);
    lines.sort();
    lines
}

/// Takes what is left of notices; there must be no line.
fn nothing_more() {
    while let Ok(event) = Mailbox::<String>::own().next_timeout(Duration::ZERO) {
        assert!(!matches!(event, Event::Message(_)), "FAILED: nothing more is logged: {event:?}");
    }
}

/// Says that it starts; then ends as it is told: 0 returns, others are exit codes.
fn plain(name: String, mailbox: Mailbox<i32>) {
    log(format!("{name} starts"));
    match mailbox.receive() {
        0 => {}
        code => std::process::exit(code),
    }
}

/// The same, and survives its links: it says when it is asked to end, and when its supervisor has failed.
fn polite((name, obeys): (String, bool), mailbox: Mailbox<i32>) {
    lunatic::survive_links(true);
    log(format!("{name} starts"));
    loop {
        match mailbox.next() {
            Ok(Event::Message(code)) => std::process::exit(code),
            Ok(Event::AskedToEnd(_)) => {
                log(format!("{name} is asked"));
                if obeys {
                    return;
                }
            }
            Ok(Event::LinkFailed(notice)) if notice.tag == 0 => {
                return log(format!("{name} has lost its supervisor"));
            }
            other => panic!("FAILED: {other:?}"),
        }
    }
}

fn child(name: &str) -> Child {
    Child::with_mailbox(name, name.to_string(), plain).named(name)
}

fn polite_child(name: &str, obeys: bool) -> Child {
    Child::with_mailbox(name, (name.to_string(), obeys), polite).named(name)
}

/// Has the child with this name end, and waits until that process is gone.
fn tell(name: &str, code: i32) {
    wait_until("a child has its name", || Process::<i32>::lookup(name).is_some());
    let child = Process::<i32>::lookup(name).expect("just seen");
    child.send(code);
    wait_until("it ends", || !child.is_alive());
}

fn start(strategy: Strategy, children: Vec<Child>) -> SupervisorRef {
    let supervisor = Supervisor::new(strategy).intensity(1000, LONG);
    children.into_iter().fold(supervisor, Supervisor::child).start().unwrap()
}

fn ids(supervisor: &SupervisorRef) -> Vec<String> {
    supervisor.children().unwrap().into_iter().map(|child| child.id).collect()
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

// ---- the cases ----

fn dynamic_children() {
    let supervisor = start(Strategy::RestForOne, vec![child("a"), child("b")]);
    check_eq("the first start", sorted_lines(2), strings(&["a starts", "b starts"]));
    supervisor.start_child(child("c")).unwrap();
    supervisor.start_child(child("t").restart(Restart::Temporary)).unwrap();
    supervisor.start_child(child("d")).unwrap();
    check_eq("others later", sorted_lines(3), strings(&["c starts", "d starts", "t starts"]));
    let before: Vec<_> = supervisor.children().unwrap();
    let t = before[3].process.expect("it runs");
    tell("b", 3);
    check_eq(
        "rest for one: dynamic children start again behind the one that failed",
        sorted_lines(3),
        strings(&["b starts", "c starts", "d starts"]),
    );
    check("a temporary one among them has ended", !t.is_alive());
    check_eq("and is forgotten", ids(&supervisor), strings(&["a", "b", "c", "d"]));
    let after = supervisor.children().unwrap();
    check_eq("the one before is left alone", after[0].process, before[0].process);
    let restarts: Vec<u64> = after.iter().map(|child| child.restarts).collect();
    check_eq("restarts are those of each child", restarts, vec![0, 1, 1, 1]);
    check_eq("a dynamic child is ended", supervisor.end_child("c"), Ok(true));
    tell("b", 3);
    check_eq("and not started again", sorted_lines(2), strings(&["b starts", "d starts"]));
    tell("d", 0);
    check_eq("the last one alone", line(), "d starts".to_string());
    supervisor.stop().unwrap();
    nothing_more();
}

fn finished_siblings() {
    let supervisor =
        start(Strategy::OneForAll, vec![child("job").restart(Restart::Transient), child("a")]);
    lines(2);
    tell("job", 0);
    wait_until("it has finished", || supervisor.children().unwrap()[0].process.is_none());
    nothing_more();
    tell("a", 1);
    check_eq(
        "one for all starts a finished transient child again with the others, as Erlang's does",
        sorted_lines(2),
        strings(&["a starts", "job starts"]),
    );
    supervisor.stop().unwrap();
    nothing_more();
}

fn shutdown_kinds() {
    let short = Duration::from_millis(20);
    let supervisor = start(
        Strategy::OneForOne,
        vec![
            polite_child("first", true),
            polite_child("deaf", false).shutdown(Shutdown::Within(short)),
            polite_child("brutal", true).shutdown(Shutdown::Kill),
            child("plain"),
            Child::new("busy", (), |()| {
                lunatic::survive_links(true);
                loop {
                    std::hint::black_box(());
                }
            })
            .shutdown(Shutdown::Within(short)),
            polite_child("last", true).shutdown(Shutdown::Wait),
        ],
    );
    lines(5);
    let processes: Vec<_> =
        supervisor.children().unwrap().into_iter().filter_map(|child| child.process).collect();
    let began = Instant::now();
    supervisor.stop().unwrap();
    check_eq(
        "shutdown: the last first; who is killed is not asked; who does not answer is killed",
        lines(3),
        strings(&["last is asked", "deaf is asked", "first is asked"]),
    );
    check("it has waited for the deaf ones", began.elapsed() >= 2 * short);
    check("all are gone when it has stopped", processes.iter().all(|child| !child.is_alive()));
    nothing_more();

    // The same in a restart of the group: a deaf sibling does not stop it.
    let supervisor = start(
        Strategy::OneForAll,
        vec![child("a"), polite_child("deaf", false).shutdown(Shutdown::Within(short))],
    );
    lines(2);
    tell("a", 1);
    check_eq(
        "a sibling that never answers is killed, and the group starts again",
        sorted_lines(3),
        strings(&["a starts", "deaf is asked", "deaf starts"]),
    );
    supervisor.stop().unwrap();
    lines(1);
    nothing_more();
}

fn escalation() {
    let low = Supervisor::new(Strategy::OneForOne)
        .intensity(1, LONG)
        .child(child("leaf"))
        .child(polite_child("beside", true));
    let middle = Supervisor::new(Strategy::OneForOne)
        .intensity(0, LONG)
        .child(Child::supervisor("low", low))
        .child(child("cousin"));
    let root = start(Strategy::OneForOne, vec![Child::supervisor("middle", middle), child("far")]);
    lines(4);
    let far = root.children().unwrap()[1].process;
    tell("leaf", 1);
    check_eq("a first failure is mended below", line(), "leaf starts".to_string());
    tell("leaf", 1);
    check_eq(
        "one too many: the branch ends in reverse order and starts again from the root",
        sorted_lines(4),
        strings(&["beside is asked", "beside starts", "cousin starts", "leaf starts"]),
    );
    let middle = &root.children().unwrap()[0];
    check_eq("the root has started one supervisor again", middle.restarts, 1);
    check_eq("which had given up", middle.last_end.clone(), Some(ExitReason::Code(1)));
    check_eq("and nothing else", root.children().unwrap()[1].process, far);
    root.stop().unwrap();
    check_eq("a tree stops as a whole", line(), "beside is asked".to_string());
    let gone = ["leaf", "beside", "cousin", "far"]
        .iter()
        .all(|name| Process::<i32>::lookup(name).is_none());
    check("down to its leaves", gone);
    nothing_more();
}

fn backoff_in_a_group() {
    let (first, most) = (Duration::from_millis(20), Duration::from_millis(40));
    let supervisor = Supervisor::new(Strategy::RestForOne)
        .intensity(1000, LONG)
        .backoff(first, most)
        .child(child("a"))
        .child(child("b"))
        .start()
        .unwrap();
    lines(2);
    let began = Instant::now();
    for _ in 0..3 {
        tell("a", 1);
        check_eq("the group waits and starts", sorted_lines(2), strings(&["a starts", "b starts"]));
    }
    check("longer each time, up to the most", began.elapsed() >= first + 2 * most);
    tell("a", 1);
    supervisor.stop().unwrap();
    check("a supervisor whose children wait to be started stops", !supervisor.process().is_alive());
    nothing_more();
}

fn killed_supervisors() {
    let low =
        Supervisor::new(Strategy::OneForOne).child(child("leaf")).child(polite_child("told", true));
    let root = start(Strategy::OneForOne, vec![Child::supervisor("low", low), child("near")]);
    lines(3);
    let names = ["leaf", "near", "told"];
    let all: Vec<_> =
        names.iter().map(|name| Process::<i32>::lookup(name).expect("it runs")).collect();
    root.process().kill();
    let lost = line();
    check(
        "whoever survives its links is told when its supervisor is gone",
        lost == "told has lost its supervisor" || lost == "told is asked",
    );
    wait_until("all are gone", || all.iter().all(|child| !child.is_alive()));
    check("a killed supervisor's children die with it, grandchildren too", true);
    nothing_more();

    let direct = start(Strategy::OneForOne, vec![polite_child("orphan", true)]);
    lines(1);
    let orphan = Process::<i32>::lookup("orphan").expect("it runs");
    direct.process().kill();
    check_eq("and a direct one", line(), "orphan has lost its supervisor".to_string());
    wait_until("it ends", || !orphan.is_alive());
    nothing_more();
}

fn failing_parents() {
    // A process that has a supervisor, and fails.
    let parent = Process::spawn_with_mailbox((), |(), mailbox: Mailbox<()>| {
        let _supervisor = start(Strategy::OneForOne, vec![polite_child("kept", true), child("a")]);
        mailbox.receive();
        panic!("on purpose");
    });
    lines(2);
    let kept = Process::<i32>::lookup("kept").expect("it runs");
    parent.unwrap().send(());
    check_eq(
        "a supervisor whose parent fails ends its children in order",
        line(),
        "kept is asked".to_string(),
    );
    wait_until("they end", || !kept.is_alive());
    nothing_more();
}

fn parents_that_end_well() {
    let parent = Process::spawn_with_mailbox((), |(), mailbox: Mailbox<()>| {
        let children = vec![polite_child("kept", true), polite_child("last", true)];
        start(Strategy::OneForOne, children).process().register("supervisor");
        mailbox.receive();
    });
    lines(2);
    wait_until("it is started", || Process::<()>::lookup("supervisor").is_some());
    let supervisor = Process::<()>::lookup("supervisor").expect("just seen");
    supervisor.monitor();
    parent.unwrap().send(());
    check_eq(
        "a supervisor whose parent ends well ends its children in order, as in Erlang",
        lines(2),
        strings(&["last is asked", "kept is asked"]),
    );
    match Mailbox::<String>::own().next_timeout(LONG) {
        Ok(Event::Ended(notice)) => {
            check_eq("and itself", notice.process, supervisor);
            check_eq("well", notice.reason, ExitReason::Code(0));
        }
        other => panic!("FAILED: its end is told: {other:?}"),
    }
    nothing_more();
}

fn names_of_others() {
    let main = Process::<String>::current();
    main.register("taken");
    let supervisor = Supervisor::new(Strategy::OneForOne).intensity(u32::MAX, LONG);
    let supervisor = supervisor.child(child("stolen")).start().unwrap();
    check_eq("a child with a name", line(), "stolen starts".to_string());
    let refused = supervisor.start_child(child("taken"));
    check(
        "a child whose name another process has is not started",
        matches!(&refused, Err(lunatic::Error::Spawn { reason }) if reason.contains("\"taken\"")),
    );
    check_eq("and is no child", ids(&supervisor), strings(&["stolen"]));
    check_eq("the name stays where it was", Process::lookup("taken"), Some(main));

    let stolen = Process::<i32>::lookup("stolen").expect("it runs");
    main.register("stolen");
    stolen.send(1);
    // So often, and more, it is tried again.
    wait_until("it is tried again", || started_again(&supervisor) > 3);
    check_eq("nor at a restart", Process::lookup("stolen"), Some(main));
    check_eq("it waits for its name", supervisor.children().unwrap()[0].process, None);
    nothing_more();
    lunatic::unregister("stolen");
    check_eq("and starts when that is free", line(), "stolen starts".to_string());
    supervisor.stop().unwrap();

    let low = Supervisor::new(Strategy::OneForAll).intensity(2, LONG).child(child("stolen"));
    let root = Supervisor::new(Strategy::OneForOne)
        .intensity(u32::MAX, LONG)
        .backoff(Duration::from_millis(5), Duration::from_millis(20))
        .child(Child::supervisor("low", low))
        .start()
        .unwrap();
    check_eq("below another", line(), "stolen starts".to_string());
    let stolen = Process::<i32>::lookup("stolen").expect("it runs");
    main.register("stolen");
    stolen.send(1);
    wait_until("it gives up", || started_again(&root) > 0);
    check(
        "a name that stays taken is too many restarts",
        root.children().unwrap()[0].last_end == Some(ExitReason::Code(1)),
    );
    lunatic::unregister("stolen");
    lunatic::unregister("taken");
    check_eq("which the next supervisor above mends", line(), "stolen starts".to_string());
    root.stop().unwrap();
    nothing_more();
}

/// A supervisor that is killed leaves a child that has its name for a little longer.
fn names_of_the_dying() {
    let low =
        Supervisor::new(Strategy::OneForOne).child(Child::new("slow", (), slow).named("slow"));
    let root = start(Strategy::OneForOne, vec![Child::supervisor("low", low)]);
    check_eq("a child that takes its time", line(), "slow starts".to_string());
    let first = Process::<()>::lookup("slow").expect("it runs");
    root.children().unwrap()[0].process.expect("it runs").kill();
    check_eq("is waited for by the next supervisor", line(), "slow starts".to_string());
    check("when it has ended", !first.is_alive());
    check_eq("who starts once", started_again(&root), 1);
    root.stop().unwrap();
    nothing_more();
}

/// Ends a little after its supervisor.
fn slow((): ()) {
    lunatic::survive_links(true);
    log("slow starts".to_string());
    if let Ok(Event::LinkFailed(_)) = Mailbox::<()>::own().next() {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn started_again(supervisor: &SupervisorRef) -> u64 {
    supervisor.children().unwrap()[0].restarts
}
