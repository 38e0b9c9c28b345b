//! Supervisors: processes that start others, and start them again when they fail.
//!
//! The words and the semantics are those of Erlang's `supervisor` where nothing else is said: children are started in
//! order and ended in the reverse order; a restart beyond the intensity ends all of them and the supervisor; a child that
//! cannot be started again is tried again, which counts; a normal end of a transient child is no reason to start it again,
//! but it is started with the others when all are. What differs:
//! - starting a child does not wait until it has initialised itself: it has started when the process exists;
//! - a supervisor that gives up *fails* (exit code 1), so its own supervisor starts it again also if it is transient; Erlang's
//!   ends with `shutdown`, which is normal;
//! - one that is linked with a process that fails ends its children in order and fails, as one of Erlang's whose parent dies
//!   (Erlang's does not mind others' failures);
//! - [`backoff`](Supervisor::backoff) delays restarts, and [`Child::config`] confines children, which Erlang's do not know;
//! - a child that does not survive its links is ended at once when it is asked to, whatever its [`Shutdown`] says: as in
//!   Erlang, only a process that wants to know is told;
//! - [`end_child`](SupervisorRef::end_child) is Erlang's `terminate_child` and `delete_child` in one. There are no
//!   significant children (`auto_shutdown`) and no `simple_one_for_one`: children can be added to every supervisor.
//!
//! As in Erlang, a supervisor ends when the process ends that has [started](Supervisor::start) it, also normally: its
//! children first, in order. And a child whose [name](Child::named) another process has cannot be started.
//!
//! If a supervisor is killed, its children die with it, as it is linked with them. One that survives its links is told, as
//! in Erlang: [`Event::LinkFailed`](crate::Event::LinkFailed) with the tag 0 is its supervisor's end, and it should end, too.
//!
//! A supervisor needs the rights to [spawn](crate::Right::Spawn) and to [kill](crate::Right::Kill); to [make
//! configurations](crate::Right::Configs) and to [give names](crate::Right::Names) if its children have any.
//!
//! `run.rs` is the supervisor at work, `members.rs` keeps its children; this file is what it is told to do.

mod members;
mod run;

use crate::abi::Routine;
use crate::codec;
use crate::config::ProcessConfig;
use crate::error::Error;
use crate::mailbox::Mailbox;
use crate::process::{routine, routine_with_mailbox, Process};
use crate::{ExitReason, Reply, Spawn, Usage};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::time::Duration;

/// Who is started again when a child fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// That child.
    OneForOne,
    /// All children: the others are ended first.
    OneForAll,
    /// That child and those that were started after it, which are ended first.
    RestForOne,
}

/// When a child is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// Always.
    Permanent,
    /// When it has failed.
    Transient,
    /// Never. Its supervisor forgets it when it has ended.
    Temporary,
}

/// How a child is ended by its supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shutdown {
    /// It is killed.
    Kill,
    /// It is [asked to end](Process::ask_to_end), and killed if it has not by then.
    Within(Duration),
    /// It is asked to end, and has all the time it needs. For supervisors.
    Wait,
}

/// How long a child has to end after it was asked to, unless something else is said: as long as Erlang's.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// A child as a supervisor knows it: how it is started, again and again.
///
/// The context is encoded once and decoded in each new process, so it must not hold channels.
///
/// ```no_run
/// use lunatic::{Child, Restart, Shutdown};
/// use std::time::Duration;
///
/// let child = Child::new("counter", 7u64, |start| println!("counting from {start}"))
///     .restart(Restart::Transient)
///     .shutdown(Shutdown::Within(Duration::from_secs(1)))
///     .named("counter");
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Child {
    id: String,
    routine: Routine,
    context: Vec<u8>,
    restart: Restart,
    shutdown: Shutdown,
    name: Option<String>,
    config: Option<ProcessConfig>,
}

impl Child {
    /// A child that runs `entry(context)`: permanent, and asked to end within five seconds. `id` tells it from its siblings.
    ///
    /// ```no_run
    /// let child = lunatic::Child::new("counter", 7u64, |start| println!("counting from {start}"));
    /// ```
    ///
    /// # Panics
    /// If the context cannot be encoded, as it holds a channel for example.
    #[track_caller]
    pub fn new<C>(id: impl Into<String>, context: C, entry: fn(C)) -> Child
    where
        C: Serialize + DeserializeOwned,
    {
        Child::make(id.into(), &context, routine(entry))
    }

    /// A child that runs `entry(context, mailbox)`.
    ///
    /// ```no_run
    /// use lunatic::{Child, Mailbox};
    ///
    /// let child = Child::with_mailbox("printer", (), |(), mailbox: Mailbox<String>| loop {
    ///     println!("{}", mailbox.receive());
    /// });
    /// ```
    ///
    /// # Panics
    /// As [`new`](Child::new).
    #[track_caller]
    pub fn with_mailbox<C, M>(id: impl Into<String>, context: C, entry: fn(C, Mailbox<M>)) -> Child
    where
        C: Serialize + DeserializeOwned,
    {
        Child::make(id.into(), &context, routine_with_mailbox(entry))
    }

    /// A child that is itself a supervisor: it has all the time it needs to end its own.
    ///
    /// ```no_run
    /// use lunatic::{Child, Strategy, Supervisor};
    ///
    /// let leaves = Supervisor::new(Strategy::OneForAll).child(Child::new("leaf", (), |()| {}));
    /// let tree = Supervisor::new(Strategy::OneForOne).child(Child::supervisor("leaves", leaves));
    /// ```
    pub fn supervisor(id: impl Into<String>, supervisor: Supervisor) -> Child {
        Child::with_mailbox(id, supervisor, run::run).shutdown(Shutdown::Wait)
    }

    #[track_caller]
    fn make(id: String, context: &impl Serialize, routine: Routine) -> Child {
        let context = codec::to_bytes(context)
            .unwrap_or_else(|error| panic!("the context of the child {id:?}: {error}"));
        Child {
            id,
            routine,
            context,
            restart: Restart::Permanent,
            shutdown: Shutdown::Within(SHUTDOWN),
            name: None,
            config: None,
        }
    }

    /// When it is started again. Default: always.
    ///
    /// ```no_run
    /// use lunatic::{Child, Restart};
    ///
    /// let child = Child::new("job", 7, |number: u32| println!("{number}")).restart(Restart::Transient);
    /// ```
    pub fn restart(self, restart: Restart) -> Child {
        Child { restart, ..self }
    }

    /// How it is ended. Default: it is asked to, and killed after five seconds; supervisors have all the time they need.
    ///
    /// ```no_run
    /// use lunatic::{Child, Shutdown};
    ///
    /// let child = Child::new("job", 7, |number: u32| println!("{number}")).shutdown(Shutdown::Kill);
    /// ```
    pub fn shutdown(self, shutdown: Shutdown) -> Child {
        Child { shutdown, ..self }
    }

    /// Its name, under which each new process of it can be [found](Process::lookup). It is taken from nobody: while
    /// another process has it the child cannot be started, which counts as a failure. Default: none.
    ///
    /// ```no_run
    /// let child = lunatic::Child::new("job", 7, |number: u32| println!("{number}")).named("job");
    /// ```
    pub fn named(self, name: impl Into<String>) -> Child {
        Child { name: Some(name.into()), ..self }
    }

    /// What each process of it may do and have: at most what its supervisor has. The limits are those of each process,
    /// so one that has used up its fuel is started again with as much; the [usage](ChildInfo::usage) is the sum.
    /// Default: the same as its supervisor.
    ///
    /// ```no_run
    /// use lunatic::{Child, ProcessConfig};
    ///
    /// let confined = ProcessConfig::new().memory(16 << 20).fuel(1_000);
    /// let child = Child::new("plugin", 7, |number: u32| println!("{number}")).config(confined);
    /// ```
    pub fn config(self, config: ProcessConfig) -> Child {
        Child { config: Some(config), ..self }
    }
}

/// A supervisor that is to be started: its strategy, its limits, its first children.
///
/// ```no_run
/// use lunatic::{Child, Strategy, Supervisor};
/// use std::time::Duration;
///
/// let supervisor = Supervisor::new(Strategy::OneForOne)
///     .intensity(10, Duration::from_secs(1))
///     .child(Child::new("one", 1, |number: u32| println!("{number}")))
///     .start()
///     .unwrap();
/// supervisor.start_child(Child::new("two", 2, |number: u32| println!("{number}"))).unwrap();
/// supervisor.stop().unwrap();
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Supervisor {
    strategy: Strategy,
    restarts_max: u32,
    period: Duration,
    backoff: Option<(Duration, Duration)>,
    children: Vec<Child>,
}

impl Supervisor {
    /// Without children; it gives up when a child fails for the second time within five seconds, as in Erlang.
    ///
    /// ```no_run
    /// let supervisor = lunatic::Supervisor::new(lunatic::Strategy::OneForOne);
    /// ```
    pub fn new(strategy: Strategy) -> Supervisor {
        Supervisor {
            strategy,
            restarts_max: 1,
            period: Duration::from_secs(5),
            backoff: None,
            children: Vec::new(),
        }
    }

    /// More restarts than this within `period`, and it gives up: it ends all its children and fails, so that its own
    /// supervisor, or whoever is linked with it, sees to it. Default: 1 within 5 s.
    ///
    /// ```no_run
    /// use lunatic::{Strategy, Supervisor};
    /// use std::time::Duration;
    ///
    /// let supervisor = Supervisor::new(Strategy::OneForOne).intensity(10, Duration::from_secs(1));
    /// ```
    pub fn intensity(self, restarts: u32, period: Duration) -> Supervisor {
        Supervisor { restarts_max: restarts, period, ..self }
    }

    /// How long it waits before a child is started again: `first` at first, twice as long each time, but at most `most`;
    /// `first` again after the child has run for longer than `most`. Default: not at all.
    ///
    /// ```no_run
    /// use lunatic::{Strategy, Supervisor};
    /// use std::time::Duration;
    ///
    /// let (first, most) = (Duration::from_millis(10), Duration::from_secs(5));
    /// let supervisor = Supervisor::new(Strategy::OneForOne).backoff(first, most);
    /// ```
    pub fn backoff(self, first: Duration, most: Duration) -> Supervisor {
        Supervisor { backoff: Some((first, most)), ..self }
    }

    /// A child that it starts at once, after those before.
    ///
    /// ```no_run
    /// use lunatic::{Child, Strategy, Supervisor};
    ///
    /// let supervisor = Supervisor::new(Strategy::OneForAll)
    ///     .child(Child::new("one", 1, |number: u32| println!("{number}")))
    ///     .child(Child::new("two", 2, |number: u32| println!("{number}")));
    /// ```
    pub fn child(mut self, child: Child) -> Supervisor {
        self.children.push(child);
        self
    }

    /// Starts it, linked with the caller, and waits until its first children are started. When the caller ends, it ends its
    /// children and itself.
    ///
    /// # Errors
    /// Those of [`Process::spawn`], and [`Error::Ended`] if a child cannot be started. The caller dies then, too, unless it
    /// [survives](crate::survive_links) its links.
    ///
    /// ```no_run
    /// use lunatic::{Strategy, Supervisor};
    ///
    /// let supervisor = Supervisor::new(Strategy::OneForOne).start().unwrap();
    /// ```
    #[track_caller]
    pub fn start(self) -> Result<SupervisorRef, Error> {
        self.start_by(Spawn::new())
    }

    /// The same, with what `config` grants; its children have at most as much.
    ///
    /// # Errors
    /// Those of [`start`](Supervisor::start), and [`Error::Config`] if something in `config` was refused.
    ///
    /// ```no_run
    /// use lunatic::{ProcessConfig, Right, Strategy, Supervisor};
    ///
    /// let config = ProcessConfig::new().allow(Right::Spawn).allow(Right::Kill).children(100);
    /// let supervisor = Supervisor::new(Strategy::OneForOne).start_with(config).unwrap();
    /// ```
    #[track_caller]
    pub fn start_with(self, config: impl Borrow<ProcessConfig>) -> Result<SupervisorRef, Error> {
        self.start_by(Spawn::new().config(config.borrow()))
    }

    #[track_caller]
    fn start_by(self, spawn: Spawn<'_>) -> Result<SupervisorRef, Error> {
        let context = (self, Process::current());
        let process = spawn.link().start_with_mailbox(context, run::run_for)?;
        let supervisor = SupervisorRef { process };
        supervisor.children().map(|_| supervisor)
    }

    /// Makes the calling process the supervisor, until it is asked to end. Then its children have ended.
    ///
    /// ```no_run
    /// use lunatic::{Child, Strategy, Supervisor};
    ///
    /// Supervisor::new(Strategy::OneForOne).child(Child::new("work", (), |()| {})).run();
    /// ```
    pub fn run(self) {
        run::run(self, Mailbox::own());
    }
}

/// What a supervisor is asked to do.
#[derive(Debug, Serialize, Deserialize)]
enum Command {
    Start(Child, Reply<Result<Process<()>, String>>),
    End(String, Reply<bool>),
    Children(Reply<Vec<ChildInfo>>),
    Stop(Reply<()>),
}

/// A child, as its supervisor sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChildInfo {
    /// Its id.
    pub id: String,
    /// Its process; `None`: it has ended, or waits to be started again.
    pub process: Option<Process<()>>,
    /// How often it was started again.
    pub restarts: u64,
    /// Why its last process has ended.
    pub last_end: Option<ExitReason>,
    /// What all its processes together have used so far; `None` if it has no [configuration](Child::config) of its own, or
    /// its supervisor had some 4,000 children with one before it: no more are counted.
    pub usage: Option<Usage>,
}

/// A supervisor that runs. May travel in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorRef {
    process: Process<Command>,
}

/// Ending children may take long.
const PATIENCE: Duration = Duration::from_secs(3600);

impl SupervisorRef {
    /// Starts one more child, after all others.
    ///
    /// ```no_run
    /// # let supervisor = lunatic::Supervisor::new(lunatic::Strategy::OneForOne).start().unwrap();
    /// use lunatic::Child;
    ///
    /// supervisor.start_child(Child::new("two", 2, |number: u32| println!("{number}"))).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Spawn`] if there is a child of this id, or the process cannot be made; [`Error::Ended`] if the supervisor
    /// has ended.
    #[track_caller]
    pub fn start_child(&self, child: Child) -> Result<Process<()>, Error> {
        let started = self.process.call_timeout(PATIENCE, |reply| Command::Start(child, reply))?;
        started.map_err(|reason| Error::Spawn { reason })
    }

    /// Ends a child and forgets it; whether there was one of this id.
    ///
    /// ```no_run
    /// # let supervisor = lunatic::Supervisor::new(lunatic::Strategy::OneForOne).start().unwrap();
    /// assert_eq!(supervisor.end_child("nobody"), Ok(false));
    /// ```
    ///
    /// # Errors
    /// [`Error::Ended`] if the supervisor has ended.
    #[track_caller]
    pub fn end_child(&self, id: &str) -> Result<bool, Error> {
        self.process.call_timeout(PATIENCE, |reply| Command::End(id.to_string(), reply))
    }

    /// Its children, in the order of their start.
    ///
    /// ```no_run
    /// # let supervisor = lunatic::Supervisor::new(lunatic::Strategy::OneForOne).start().unwrap();
    /// for child in supervisor.children().unwrap() {
    ///     println!("{}: {} restarts, used {:?}", child.id, child.restarts, child.usage);
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::Ended`] if the supervisor has ended.
    #[track_caller]
    pub fn children(&self) -> Result<Vec<ChildInfo>, Error> {
        self.process.call_timeout(PATIENCE, Command::Children)
    }

    /// Ends all children, the last one first, and then the supervisor, normally.
    ///
    /// ```no_run
    /// # let supervisor = lunatic::Supervisor::new(lunatic::Strategy::OneForOne).start().unwrap();
    /// supervisor.stop().unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Ended`] if the supervisor has ended before.
    #[track_caller]
    pub fn stop(&self) -> Result<(), Error> {
        self.process.call_timeout(PATIENCE, Command::Stop)
    }

    /// Its process, for links and monitors.
    ///
    /// ```no_run
    /// # let supervisor = lunatic::Supervisor::new(lunatic::Strategy::OneForOne).start().unwrap();
    /// supervisor.process().monitor();
    /// ```
    pub fn process(&self) -> Process<()> {
        self.process.untyped()
    }
}
