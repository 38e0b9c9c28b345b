//! How a process is started: with which rights, and tied to whom it starts.
//!
//! [`Process::spawn`] and its like are short for the most common of these.

use crate::abi::{self, Routine, Start};
use crate::codec;
use crate::config::ProcessConfig;
use crate::error::Error;
use crate::link::{LINK_TAG, MONITOR_TAG};
use crate::mailbox::{Mailbox, CONTEXT_TAG};
use crate::process::{routine, routine_with_mailbox, Process};
use serde::de::DeserializeOwned;
use serde::Serialize;

/// A process that is to be started: whatever is said here holds before it runs its first step.
///
/// ```no_run
/// use lunatic::{ProcessConfig, Spawn};
///
/// let config = ProcessConfig::new().memory(16 << 20);
/// let worker = Spawn::new().config(&config).link().monitor().start(7, |number: u32| println!("{number}"));
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "nothing is spawned before `start`"]
pub struct Spawn<'a> {
    config: Option<&'a ProcessConfig>,
    link: i64,
    monitor: i64,
}

impl<'a> Spawn<'a> {
    /// With all that its parent has, tied to nobody.
    pub fn new() -> Spawn<'a> {
        Spawn::default()
    }

    /// With what `config` grants.
    ///
    /// ```no_run
    /// use lunatic::{ProcessConfig, Spawn};
    ///
    /// let config = ProcessConfig::new().fuel(10);
    /// Spawn::new().config(&config).start((), |()| loop {}).unwrap();
    /// ```
    pub fn config(self, config: &'a ProcessConfig) -> Spawn<'a> {
        Spawn { config: Some(config), ..self }
    }

    /// [Linked](Process::link) with the caller.
    ///
    /// ```no_run
    /// lunatic::Spawn::new().link().start(7, |number| assert_eq!(number, 7)).unwrap();
    /// ```
    pub fn link(self) -> Spawn<'a> {
        self.link_with_tag(LINK_TAG)
    }

    /// The same, with a tag that comes back with the notice. It must not be 0.
    ///
    /// # Panics
    /// If the tag is 0.
    #[track_caller]
    pub fn link_with_tag(self, tag: i64) -> Spawn<'a> {
        assert_ne!(tag, 0, "the tag of a link with a new process must not be 0");
        Spawn { link: tag, ..self }
    }

    /// [Monitored](Process::monitor) by the caller, who so learns how it has ended, however soon that is.
    ///
    /// ```no_run
    /// use lunatic::{Event, Mailbox, Spawn};
    ///
    /// Spawn::new().monitor().start((), |()| std::process::exit(9)).unwrap();
    /// if let Ok(Event::Ended(notice)) = Mailbox::<()>::own().next() {
    ///     println!("{notice}"); // process … exited with code 9
    /// }
    /// ```
    pub fn monitor(self) -> Spawn<'a> {
        self.monitor_with_tag(MONITOR_TAG)
    }

    /// The same, with a tag that comes back with the notice. It must not be 0.
    ///
    /// # Panics
    /// If the tag is 0.
    #[track_caller]
    pub fn monitor_with_tag(self, tag: i64) -> Spawn<'a> {
        assert_ne!(tag, 0, "the tag of a monitor of a new process must not be 0");
        Spawn { monitor: tag, ..self }
    }

    /// Starts a process that runs `entry(context)`: see [`Process::spawn`].
    ///
    /// # Errors
    /// [`Error::Spawn`] if the runtime refuses (limits, rights), [`Error::Config`] if something in the configuration was
    /// refused, [`Error::Encode`] and [`Error::MessageTooLarge`] for the context.
    #[track_caller]
    pub fn start<C>(self, context: C, entry: fn(C)) -> Result<Process<()>, Error>
    where
        C: Serialize + DeserializeOwned,
    {
        self.spawn(&context, routine(entry))
    }

    /// Starts a process that runs `entry(context, mailbox)`: see [`Process::spawn_with_mailbox`].
    ///
    /// ```no_run
    /// let printer = lunatic::Spawn::new().link().start_with_mailbox((), |(), mailbox| loop {
    ///     let line: String = mailbox.receive();
    ///     println!("{line}");
    /// });
    /// ```
    ///
    /// # Errors
    /// Those of [`start`](Spawn::start).
    #[track_caller]
    pub fn start_with_mailbox<C, M>(
        self,
        context: C,
        entry: fn(C, Mailbox<M>),
    ) -> Result<Process<M>, Error>
    where
        C: Serialize + DeserializeOwned,
    {
        self.spawn(&context, routine_with_mailbox(entry))
    }

    #[track_caller]
    fn spawn<M>(self, context: &impl Serialize, routine: Routine) -> Result<Process<M>, Error> {
        let Spawn { config, link, monitor } = self;
        let config = config.map_or(Ok(abi::OWN_CONFIG), ProcessConfig::id)?;
        codec::encode(context, CONTEXT_TAG)?;
        abi::spawn(Start { routine, config, link, monitor }).map(Process::from_id).map_err(
            |reason| {
                codec::discard(); // the runtime has left the message where it was
                Error::Spawn { reason }
            },
        )
    }
}
