//! Supervisors: processes that start others, and start them again when they fail.
//!
//! The words and the semantics are those of Erlang's `supervisor` where nothing else is said. What differs:
//! - starting a child does not wait until it has initialised itself: it has started when the process exists;
//! - a supervisor that survives the failure of its own link to its parent ends its children in order, as if asked;
//! - [`backoff`](Supervisor::backoff) delays restarts, which Erlang's do not know;
//! - a child that does not survive its links is ended at once when it is asked to, whatever its [`Shutdown`] says: as in
//!   Erlang, only a process that wants to know is told.
//!
//! `run.rs` is the supervisor at work; this file is what it is told to do.

mod run;

use crate::abi::{ties, FnIndex};
use crate::codec;
use crate::error::Error;
use crate::mailbox::Mailbox;
use crate::process::{self, Process};
use crate::{ExitReason, Reply};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
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
    trampoline: u32,
    entry: u32,
    context: Vec<u8>,
    restart: Restart,
    shutdown: Shutdown,
    name: Option<String>,
}

impl Child {
    /// A child that runs `entry(context)`: permanent, and killed when it is to end. `id` tells it from its siblings.
    ///
    /// # Panics
    /// If the context cannot be encoded, as it holds a channel for example.
    #[track_caller]
    pub fn new<C>(id: impl Into<String>, context: C, entry: fn(C)) -> Child
    where
        C: Serialize + DeserializeOwned,
    {
        Child::make(id.into(), &context, process::run::<C>, FnIndex::of_entry(entry))
    }

    /// A child that runs `entry(context, mailbox)`.
    ///
    /// # Panics
    /// As [`new`](Child::new).
    #[track_caller]
    pub fn with_mailbox<C, M>(id: impl Into<String>, context: C, entry: fn(C, Mailbox<M>)) -> Child
    where
        C: Serialize + DeserializeOwned,
    {
        let trampoline = process::run_with_mailbox::<C, M>;
        Child::make(id.into(), &context, trampoline, FnIndex::of_entry2(entry))
    }

    /// A child that is itself a supervisor: it has all the time it needs to end its own.
    pub fn supervisor(id: impl Into<String>, supervisor: Supervisor) -> Child {
        Child::with_mailbox(id, supervisor, run::run).shutdown(Shutdown::Wait)
    }

    #[track_caller]
    fn make(
        id: String,
        context: &impl Serialize,
        trampoline: fn(FnIndex),
        entry: FnIndex,
    ) -> Child {
        let context = codec::to_bytes(context)
            .unwrap_or_else(|error| panic!("the context of the child {id:?}: {error}"));
        Child {
            id,
            trampoline: ties::trampoline_number(trampoline),
            entry: ties::number_of(entry),
            context,
            restart: Restart::Permanent,
            shutdown: Shutdown::Kill,
            name: None,
        }
    }

    /// When it is started again. Default: always.
    pub fn restart(self, restart: Restart) -> Child {
        Child { restart, ..self }
    }

    /// How it is ended. Default: it is killed.
    pub fn shutdown(self, shutdown: Shutdown) -> Child {
        Child { shutdown, ..self }
    }

    /// Its name, under which each new process of it can be [found](Process::lookup). Default: none.
    pub fn named(self, name: impl Into<String>) -> Child {
        Child { name: Some(name.into()), ..self }
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
    pub fn intensity(self, restarts: u32, period: Duration) -> Supervisor {
        Supervisor { restarts_max: restarts, period, ..self }
    }

    /// How long it waits before a child is started again: `first` at first, twice as long each time, but at most `most`;
    /// `first` again after the child has run for longer than `most`. Default: not at all.
    pub fn backoff(self, first: Duration, most: Duration) -> Supervisor {
        Supervisor { backoff: Some((first, most)), ..self }
    }

    /// A child that it starts at once, after those before.
    pub fn child(mut self, child: Child) -> Supervisor {
        self.children.push(child);
        self
    }

    /// Starts it, linked with the caller, and waits until its first children are started.
    ///
    /// # Errors
    /// Those of [`Process::spawn`], and [`Error::Ended`] if a child cannot be started. The caller dies then, too, unless it
    /// [survives](crate::survive_links) its links.
    #[track_caller]
    pub fn start(self) -> Result<SupervisorRef, Error> {
        let process = Process::spawn_link_with_mailbox(self, run::run)?;
        let supervisor = SupervisorRef { process };
        supervisor.children().map(|_| supervisor)
    }

    /// Makes the calling process the supervisor, until it is asked to end. Then its children have ended.
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
    /// # Errors
    /// [`Error::Ended`] if the supervisor has ended.
    #[track_caller]
    pub fn end_child(&self, id: &str) -> Result<bool, Error> {
        self.process.call_timeout(PATIENCE, |reply| Command::End(id.to_string(), reply))
    }

    /// Its children, in the order of their start.
    ///
    /// # Errors
    /// [`Error::Ended`] if the supervisor has ended.
    #[track_caller]
    pub fn children(&self) -> Result<Vec<ChildInfo>, Error> {
        self.process.call_timeout(PATIENCE, Command::Children)
    }

    /// Ends all children, the last one first, and then the supervisor, normally.
    ///
    /// # Errors
    /// [`Error::Ended`] if the supervisor has ended before.
    #[track_caller]
    pub fn stop(&self) -> Result<(), Error> {
        self.process.call_timeout(PATIENCE, Command::Stop)
    }

    /// Its process, for links and monitors.
    pub fn process(&self) -> Process<()> {
        self.process.untyped()
    }
}
