//! Processes: starting them, addressing them, ending them.
//!
//! A child starts in a fresh instance of the same module: it has none of its parent's memory, so what it needs travels
//! as a message. `spawn` encodes the context, and the runtime makes that message the first of the child's mailbox in the
//! same step as it creates the child: there is no moment at which a child exists without its context. The child is given
//! two function-table indices: a trampoline, which knows the types and decodes, and the user's function.

use crate::abi::{self, FnIndex, Routine};
use crate::codec;
use crate::config::ProcessConfig;
use crate::error::Error;
use crate::mailbox::{self, Mailbox};
use crate::spawn::Spawn;
use crate::time::milliseconds;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::time::Duration;

/// The address of a process whose mailbox takes messages of type `M`.
///
/// It is a number, not the process: copying it costs nothing, dropping it ends nothing, and the process may have ended.
/// It may travel inside messages. `M` is `()` for a process that was not started to receive messages.
///
/// ```no_run
/// use lunatic::{Mailbox, Process};
///
/// fn main() {
///     let adder = Process::spawn_with_mailbox(100, adder).unwrap();
///     let mailbox = Mailbox::own();
///     adder.send((11, mailbox.process()));
///     println!("{}", mailbox.receive()); // 111
/// }
///
/// fn adder(base: u32, mailbox: Mailbox<(u32, Process<u32>)>) {
///     loop {
///         let (number, reply) = mailbox.receive();
///         reply.send(base + number);
///     }
/// }
/// ```
pub struct Process<M = ()> {
    id: u64,
    message: PhantomData<fn(M)>,
}

impl Process<()> {
    /// Starts a process that runs `entry(context)` and ends with it.
    ///
    /// `entry` is a function or a closure that captures nothing: the child shares no memory with its parent, and
    /// `context` is all that it is given.
    ///
    /// ```no_run
    /// use lunatic::Process;
    ///
    /// Process::spawn("world".to_string(), |name| println!("hello, {name}")).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Spawn`] if the runtime refuses (limits, rights), [`Error::Encode`] and [`Error::MessageTooLarge`] for
    /// the context.
    #[track_caller]
    pub fn spawn<C>(context: C, entry: fn(C)) -> Result<Process<()>, Error>
    where
        C: Serialize + DeserializeOwned,
    {
        Spawn::new().start(context, entry)
    }

    /// As [`spawn`](Process::spawn), with what `config` grants. ([`Spawn`] has this for other processes, too.)
    ///
    /// ```no_run
    /// use lunatic::{Process, ProcessConfig};
    ///
    /// let config = ProcessConfig::new().fuel(10);
    /// Process::spawn_with(&config, (), |()| loop {}).unwrap();
    /// ```
    ///
    /// # Errors
    /// Those of [`spawn`](Process::spawn), and [`Error::Config`] if something in `config` was refused.
    #[track_caller]
    pub fn spawn_with<C>(
        config: impl Borrow<ProcessConfig>,
        context: C,
        entry: fn(C),
    ) -> Result<Process<()>, Error>
    where
        C: Serialize + DeserializeOwned,
    {
        Spawn::new().config(config.borrow()).start(context, entry)
    }
}

impl<M> Process<M> {
    /// Starts a process that runs `entry(context, mailbox)`; `mailbox` is its own, and takes messages of type `M`.
    ///
    /// ```no_run
    /// use lunatic::Process;
    ///
    /// let printer = Process::spawn_with_mailbox("> ".to_string(), |prompt, mailbox| loop {
    ///     let line: String = mailbox.receive();
    ///     println!("{prompt}{line}");
    /// });
    /// printer.unwrap().send("hello".to_string());
    /// ```
    ///
    /// # Errors
    /// Those of [`spawn`](Process::spawn).
    #[track_caller]
    pub fn spawn_with_mailbox<C>(context: C, entry: fn(C, Mailbox<M>)) -> Result<Process<M>, Error>
    where
        C: Serialize + DeserializeOwned,
    {
        Spawn::new().start_with_mailbox(context, entry)
    }

    /// The calling process.
    ///
    /// ```no_run
    /// println!("I am {}", lunatic::Process::<()>::current());
    /// ```
    pub fn current() -> Process<M> {
        Process::from_id(abi::process_id())
    }

    /// The process with this id. Nothing but agreement makes its messages an `M`.
    ///
    /// ```
    /// let process: lunatic::Process<String> = lunatic::Process::from_id(7);
    /// assert_eq!(process.id(), 7);
    /// ```
    pub fn from_id(id: u64) -> Process<M> {
        Process { id, message: PhantomData }
    }

    /// The number of this process, different from those of all others, past ones included.
    ///
    /// ```
    /// assert_eq!(lunatic::Process::<()>::from_id(7).id(), 7);
    /// ```
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Has this process not ended yet? It may end while you look at the answer.
    ///
    /// ```no_run
    /// # let child = lunatic::Process::spawn((), |()| {}).unwrap();
    /// while child.is_alive() {
    ///     lunatic::yield_now();
    /// }
    /// ```
    pub fn is_alive(&self) -> bool {
        abi::process_exists(self.id)
    }

    /// Ends this process, wherever it is, a loop without end included. Killing one that has ended does nothing.
    ///
    /// ```no_run
    /// let child = lunatic::Process::spawn((), |()| loop {}).unwrap();
    /// child.kill();
    /// ```
    pub fn kill(&self) {
        abi::process_kill(self.id);
    }
}

impl<M: Serialize> Process<M> {
    /// Sends `message` to this process's mailbox. A message to a process that has ended is dropped. Never waits, but for
    /// room in a [limited](ProcessConfig::mailbox) mailbox whose senders are to wait.
    ///
    /// ```no_run
    /// # let child = lunatic::Process::<u32>::from_id(7);
    /// child.send(42);
    /// ```
    ///
    /// # Panics
    /// Where [`checked_send`](Process::checked_send) gives an error.
    #[track_caller]
    pub fn send(&self, message: M) {
        if let Err(error) = self.checked_send(message) {
            panic!("sending to process {}: {error}", self.id);
        }
    }

    /// Sends `message` to this process's mailbox. A message to a process that has ended is dropped. Never waits, but for
    /// room in a [limited](ProcessConfig::mailbox) mailbox whose senders are to wait.
    ///
    /// ```no_run
    /// # let child = lunatic::Process::<String>::from_id(7);
    /// child.checked_send("x".repeat(100_000_000)).unwrap_or_else(|error| eprintln!("{error}"));
    /// ```
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`] and [`Error::Encode`].
    #[track_caller]
    pub fn checked_send(&self, message: M) -> Result<(), Error> {
        codec::encode(&message, mailbox::DATA_TAG)?;
        abi::message_send(self.id);
        Ok(())
    }

    /// The same; waits for at most `timeout` for room in a [limited](ProcessConfig::mailbox) mailbox.
    ///
    /// ```no_run
    /// # let child = lunatic::Process::<u32>::from_id(7);
    /// use lunatic::Error;
    /// use std::time::Duration;
    ///
    /// match child.send_timeout(42, Duration::from_millis(10)) {
    ///     Ok(()) => {}
    ///     Err(Error::Timeout(_)) => println!("it has too much to do"),
    ///     Err(error) => panic!("{error}"),
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::MessageTooLarge`] and [`Error::Encode`].
    #[track_caller]
    pub fn send_timeout(&self, message: M, timeout: Duration) -> Result<(), Error> {
        codec::encode(&message, mailbox::DATA_TAG)?;
        if abi::message_send_within(self.id, milliseconds(timeout)) {
            return Ok(());
        }
        codec::discard();
        Err(Error::Timeout(timeout))
    }
}

/// What a process runs that is to run `entry(context)`.
pub(crate) fn routine<C: DeserializeOwned>(entry: fn(C)) -> Routine {
    Routine::new(run::<C>, entry)
}

/// What a process runs that is to run `entry(context, mailbox)`.
pub(crate) fn routine_with_mailbox<C: DeserializeOwned, M>(entry: fn(C, Mailbox<M>)) -> Routine {
    Routine::with_mailbox(run_with_mailbox::<C, M>, entry)
}

/// In the child: the types of `routine`.
fn run<C: DeserializeOwned>(entry: FnIndex) {
    let entry = abi::entry_of_spawn::<C>(entry);
    entry(mailbox::receive_context());
}

/// In the child: the types of `routine_with_mailbox`.
fn run_with_mailbox<C: DeserializeOwned, M>(entry: FnIndex) {
    let entry = abi::entry_of_spawn_with_mailbox::<C, Mailbox<M>>(entry);
    entry(mailbox::receive_context(), Mailbox::own());
}

// By hand, because a derive would ask the same of `M`, which is only a label.

impl<M> Clone for Process<M> {
    fn clone(&self) -> Process<M> {
        *self
    }
}

impl<M> Copy for Process<M> {}

impl<M> PartialEq for Process<M> {
    fn eq(&self, other: &Process<M>) -> bool {
        self.id == other.id
    }
}

impl<M> Eq for Process<M> {}

impl<M> Hash for Process<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl<M> fmt::Debug for Process<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({})", self.id)
    }
}

impl<M> fmt::Display for Process<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.id)
    }
}

impl<M> Serialize for Process<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.id)
    }
}

impl<'de, M> Deserialize<'de> for Process<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Process<M>, D::Error> {
        u64::deserialize(deserializer).map(Process::from_id)
    }
}
