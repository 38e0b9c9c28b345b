//! A supervisor at work.
//!
//! Each process of a child is linked with the supervisor and monitored by it, from before its first step, with a tag of
//! its own. The monitor is what counts; the link makes children die when the supervisor is killed. The supervisor survives
//! its links. It waits for one event at a time, and while it ends a child, only for that child's end.

use super::members::{Member, Members, Place};
use super::{Child, ChildInfo, Command, Restart, Shutdown, Strategy, Supervisor};
use crate::abi::{self, Start, Status};
use crate::codec;
use crate::config::{Made, ProcessConfig};
use crate::event::Limit;
use crate::link::process_ended;
use crate::mailbox::{Mailbox, CONTEXT_TAG};
use crate::time::milliseconds;
use crate::{survive_links, Error, Event, Notice, Process, Right};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The tags of children's processes begin here: between those of calls and those that people choose.
const FIRST_TAG: i64 = i64::MIN / 2;

/// The tag of the links with children, of which the monitors tell all that matters.
const LINK_TAG: i64 = FIRST_TAG - 1 + (1 << 61);

/// The tag of the end of the process that has started the supervisor.
const PARENT_TAG: i64 = LINK_TAG - 1;

/// How long it waits when a process cannot be made, if there is no backoff.
const NO_ROOM: Duration = Duration::from_millis(10);

/// How long a wait is that is longer than a clock can say.
const AGES: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How long the process that has the name of a first child is waited for. It may be about to end: the child of a
/// predecessor that was killed.
const NAME_PATIENCE_MS: u64 = 1000;

/// The exit code of a supervisor that gives up.
const GAVE_UP: i32 = 1;

struct Runner {
    strategy: Strategy,
    restarts_max: u32,
    period: Duration,
    backoff: Option<(Duration, Duration)>,
    members: Members,
    /// When children were started again, within the period.
    restarts: VecDeque<Instant>,
    next_tag: i64,
}

/// The body of a supervisor that ends when the process ends which has started it.
pub(super) fn run_for((supervisor, parent): (Supervisor, Process<()>), mailbox: Mailbox<Command>) {
    parent.monitor_with_tag(PARENT_TAG);
    run(supervisor, mailbox);
}

/// The body of a supervisor.
pub(super) fn run(supervisor: Supervisor, mailbox: Mailbox<Command>) {
    survive_links(true);
    let mut runner = Runner {
        strategy: supervisor.strategy,
        restarts_max: supervisor.restarts_max,
        period: supervisor.period,
        backoff: supervisor.backoff,
        members: Members::default(),
        restarts: VecDeque::new(),
        next_tag: FIRST_TAG,
    };
    if !may(Right::Kill) {
        runner.give_up("it may not kill, so it could not end its children; allow it to");
    }
    for child in supervisor.children {
        runner.await_name(&child);
        if let Err(reason) = runner.add(child) {
            runner.give_up(&format!("cannot start its children: {reason}"));
        }
    }
    while runner.step(&mailbox) {}
}

impl Runner {
    /// Waits for something and does what it asks for; false: the supervisor ends.
    fn step(&mut self, mailbox: &Mailbox<Command>) -> bool {
        let due = match self.strategy {
            Strategy::OneForOne => self.members.soonest(),
            Strategy::OneForAll | Strategy::RestForOne => {
                self.members.first_waiting(0).map(|(_, due)| due)
            }
        };
        let event = match due {
            None => mailbox.next(),
            Some(due) => mailbox.next_timeout(due.saturating_duration_since(Instant::now())),
        };
        match event {
            Ok(Event::Message(command)) => return self.obey(command),
            Ok(Event::Ended(notice)) if notice.tag == PARENT_TAG => {
                return self.parent_ended(&notice)
            }
            Ok(Event::Ended(notice)) => self.ended(notice),
            Ok(Event::LinkFailed(notice)) if notice.tag == LINK_TAG => {}
            Ok(Event::LinkFailed(notice)) => {
                self.give_up(&format!("a process that it is linked with has failed: {notice}"))
            }
            Ok(Event::AskedToEnd(_)) => {
                self.end_all();
                return false;
            }
            Err(Error::Timeout(_)) => {}
            Err(error) => eprintln!("supervisor: {error}"),
        }
        self.start_due();
        true
    }

    /// The process that has started it is gone: so it ends, too, well or not as that one.
    fn parent_ended(&mut self, notice: &Notice) -> bool {
        if !notice.reason.is_normal() {
            self.give_up(&format!("the process that has started it has failed: {notice}"));
        }
        self.end_all();
        false
    }

    fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Start(child, reply) => reply.send(self.add(child)),
            Command::End(id, reply) => {
                let at = self.members.with_id(&id);
                if let Some(at) = at {
                    self.end(at);
                    self.members.remove(at);
                }
                reply.send(at.is_some());
            }
            Command::Children(reply) => {
                reply.send(self.members.iter().map(Member::info).collect());
            }
            Command::Stop(reply) => {
                self.end_all();
                reply.send(());
                return false;
            }
        }
        true
    }

    /// Starts a new child.
    fn add(&mut self, child: Child) -> Result<Process<()>, String> {
        if self.members.with_id(&child.id).is_some() {
            return Err(format!("the supervisor has a child {:?} already", child.id));
        }
        if child.name.is_some() && !may(Right::Names) {
            return Err(format!(
                "the child {:?} is to have a name, which its supervisor may not give; allow it to",
                child.id
            ));
        }
        // There is not room for those of very many children.
        let counted = child.config.is_some() && ProcessConfig::one_more_can_be_kept();
        let at = self.members.add(Member::new(child, counted));
        self.start(at).inspect_err(|_| self.members.remove(at)).map(Process::from_id)
    }

    /// Waits for a while for the end of the process that has a child's name, if one has.
    fn await_name(&mut self, child: &Child) {
        let Some(holder) = child.name.as_deref().and_then(abi::registry_get) else { return };
        // A tag that no child gets: a notice that comes later is nobody's.
        let tag = self.next_tag;
        self.next_tag += 1;
        abi::monitor_with_tag(tag, holder);
        if !process_ended(&[tag], NAME_PATIENCE_MS) {
            abi::stop_monitoring_with_tag(tag, holder);
        }
    }

    /// Starts a child's process.
    fn start(&mut self, at: Place) -> Result<u64, String> {
        let tag = self.next_tag;
        self.next_tag += 1;
        self.members.set_due(at, None);
        let member = self.members.get(at);
        let child = &member.child;
        // Told in time, most often: then nothing has to be started in vain.
        if let Some(other) = child.name.as_deref().and_then(abi::registry_get) {
            return Err(taken(child, Some(other)));
        }
        let config = Lent::by(member).map_err(|error| error.to_string())?;
        abi::message_create(CONTEXT_TAG, child.context.len());
        if abi::message_write(&child.context) < child.context.len() {
            codec::discard();
            return Err(format!("the context of {:?} is too large for a message", child.id));
        }
        let (routine, config) = (child.routine, config.id());
        let start = Start { routine, config, link: LINK_TAG, monitor: tag };
        let process = abi::spawn(start).inspect_err(|_| codec::discard())?;
        let named = child.name.as_deref().map(|name| abi::registry_put_if_free(name, process));
        if named == Some(false) {
            let refused = taken(child, child.name.as_deref().and_then(abi::registry_get));
            end_process(process, Shutdown::Kill, |timeout| process_ended(&[tag], timeout));
            return Err(refused);
        }
        self.members.started(at, process, tag);
        Ok(process)
    }

    /// A process has ended that was not told to.
    fn ended(&mut self, notice: Notice) {
        let Some(at) = self.members.with_tag(notice.tag) else { return };
        self.members.ended(at);
        let member = self.members.get(at);
        let failed = !notice.reason.is_normal();
        let again = match member.child.restart {
            Restart::Permanent => true,
            Restart::Transient => failed,
            Restart::Temporary => false,
        };
        member.last_end = Some(notice.reason);
        if again {
            let why = match notice.text.as_str() {
                "" => "returned, as only a transient or temporary one may",
                text => text,
            };
            self.restart(at, why);
        } else if member.child.restart == Restart::Temporary {
            self.members.remove(at);
        }
    }

    /// Has a child, and whoever the strategy says, started again.
    fn restart(&mut self, at: Place, why: &str) {
        self.count_restart(at, why);
        let first = match self.strategy {
            Strategy::OneForOne => return self.schedule(at, at),
            Strategy::OneForAll => 0,
            Strategy::RestForOne => at,
        };
        let group = self.members.from(first);
        for &sibling in group.iter().rev() {
            self.end(sibling);
        }
        for sibling in group {
            // A temporary sibling was ended with the others, and is not started again.
            if self.members.get(sibling).child.restart == Restart::Temporary {
                self.members.remove(sibling);
            } else {
                self.schedule(sibling, at);
            }
        }
    }

    /// Gives up if there were too many within the period.
    fn count_restart(&mut self, at: Place, why: &str) {
        let now = Instant::now();
        self.restarts.push_back(now);
        while self.restarts.front().is_some_and(|&then| now.duration_since(then) > self.period) {
            self.restarts.pop_front();
        }
        if self.restarts.len() > self.restarts_max as usize {
            let (id, most) = (&self.members.get(at).child.id, self.restarts_max);
            let text = format!(
                "more than {most} restarts within {:?}, the last one of {id:?}, whose process {why}",
                self.period
            );
            self.give_up(&text);
        }
    }

    /// Says when a child is started again; as long after its failure as is due to the one that failed.
    fn schedule(&mut self, at: Place, failed: Place) {
        let now = Instant::now();
        let delay = self.backoff.map_or(Duration::ZERO, |(first, most)| {
            let member = self.members.get(failed);
            if at == failed {
                let recovered = member.since.is_some_and(|since| now.duration_since(since) > most);
                member.failures = if recovered { 0 } else { member.failures.saturating_add(1) };
            }
            let doublings = member.failures.saturating_sub(1).min(31);
            first.saturating_mul(1 << doublings).min(most)
        });
        self.members.set_due(at, Some(after(now, delay)));
    }

    /// Starts those whose time has come, in order.
    fn start_due(&mut self) {
        if self.strategy == Strategy::OneForOne {
            for at in self.members.due(Instant::now()) {
                self.start_again(at);
            }
            return;
        }
        // Later ones depend on those before, and wait until they have started.
        let mut from = 0;
        while let Some((at, due)) = self.members.first_waiting(from) {
            if due > Instant::now() || !self.start_again(at) {
                break;
            }
            from = at + 1;
        }
    }

    /// Whether that was possible. If not, it is tried again later.
    fn start_again(&mut self, at: Place) -> bool {
        self.members.get(at).restarts += 1;
        let Err(reason) = self.start(at) else { return true };
        self.count_restart(at, &format!("cannot be made: {reason}"));
        let delay = self.backoff.map_or(NO_ROOM, |(_, most)| most);
        self.members.set_due(at, Some(after(Instant::now(), delay)));
        false
    }

    /// Ends a child's process, if it runs, and waits for its end.
    fn end(&mut self, at: Place) {
        self.members.set_due(at, None);
        let Some((process, tag)) = self.members.ended(at) else { return };
        // What links tell is taken out on the way: else each end would leave one more to look at for all others.
        let tags = [tag, LINK_TAG];
        end_process(process, self.members.get(at).child.shutdown, |timeout| {
            process_ended(&tags, timeout)
        });
    }

    /// Ends all children, the last one first, before the supervisor ends. What else comes into its mailbox meanwhile is
    /// of no use to anybody; ends that come before their turn are noted, so none is searched for.
    fn end_all(&mut self) {
        while let Some(at) = self.members.last() {
            if let Some(process) = self.members.get(at).process() {
                let shutdown = self.members.get(at).child.shutdown;
                end_process(process, shutdown, |timeout| self.has_ended(at, timeout));
            }
            self.members.remove(at);
        }
    }

    /// Waits for the end of a child's process and drops all else; whether it came in time.
    fn has_ended(&mut self, at: Place, timeout_ms: u64) -> bool {
        let mut limit = Limit::new(timeout_ms);
        while self.members.get(at).process().is_some() {
            match abi::mailbox_receive(&[], limit.left()) {
                Status::TimedOut => return false,
                Status::Other(abi::PROCESS_DIED) => {
                    if let Some(ended) = self.members.with_tag(abi::message_tag()) {
                        self.members.ended(ended);
                    }
                }
                _ => {}
            }
            if !limit.goes_on() {
                return self.members.get(at).process().is_none();
            }
        }
        true
    }

    /// Fails, with a word about it; first all children end.
    fn give_up(&mut self, why: &str) {
        eprintln!("supervisor {}: {why}; it gives up", Process::<()>::current());
        self.end_all();
        std::process::exit(GAVE_UP);
    }
}

/// Ends a process as is said; `ended` waits so long for the notice of its end.
fn end_process(process: u64, shutdown: Shutdown, mut ended: impl FnMut(u64) -> bool) {
    let patience = match shutdown {
        Shutdown::Kill => None,
        Shutdown::Within(limit) => Some(milliseconds(limit)),
        Shutdown::Wait => Some(abi::FOREVER),
    };
    let asked = patience.is_some_and(|patience| {
        abi::send_exit(process);
        ended(patience)
    });
    if !asked {
        abi::process_kill(process);
        while !ended(abi::FOREVER) {}
    }
}

/// So long after `now`, or so late that nobody lives to see it.
fn after(now: Instant, delay: Duration) -> Instant {
    now.checked_add(delay).unwrap_or_else(|| now + AGES)
}

impl Member {
    fn info(&self) -> ChildInfo {
        ChildInfo {
            id: self.child.id.clone(),
            process: self.process().map(Process::from_id),
            restarts: self.restarts,
            last_end: self.last_end.clone(),
            usage: self.child.config.as_ref().filter(|_| self.counted).map(ProcessConfig::usage),
        }
    }
}

/// What a child's process is spawned with.
enum Lent {
    /// A number of one that is kept, or of the supervisor's own.
    Kept(i64),
    /// It is dropped after the spawn. The process keeps what it says.
    Brief(Made),
}

impl Lent {
    fn by(member: &Member) -> Result<Lent, Error> {
        match &member.child.config {
            None => Ok(Lent::Kept(abi::OWN_CONFIG)),
            Some(config) if member.counted => config.id().map(Lent::Kept),
            Some(config) => config.for_one_spawn().map(Lent::Brief),
        }
    }

    fn id(&self) -> i64 {
        match self {
            Lent::Kept(id) => *id,
            Lent::Brief(made) => made.id(),
        }
    }
}

/// Why a child cannot be started whose name somebody else has.
fn taken(child: &Child, by: Option<u64>) -> String {
    let name = child.name.as_deref().unwrap_or_default();
    let by = by.map_or("another process".to_string(), |id| Process::<()>::from_id(id).to_string());
    format!("the child {:?} is to have the name {name:?}, which process {by} has", child.id)
}

/// Whether this process has a right.
fn may(right: Right) -> bool {
    abi::own_right(right.number())
}
