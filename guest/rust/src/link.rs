//! Links, monitors and names: what a process may have to do with others' ends.
//!
//! As in Erlang: a link is a fate that two processes share when one *fails*; a monitor tells one process of another's end,
//! however it ends. Unlike in Erlang, a normal end says nothing to links, also not to those who survive them; there is
//! one link and one monitor between two processes, however often they are made.

use crate::abi::{self, Status};
use crate::error::Error;
use crate::event::Limit;
use crate::mailbox::Mailbox;
use crate::process::Process;
use crate::spawn::Spawn;
use serde::de::DeserializeOwned;
use serde::Serialize;

/// The tag of a link that was made without one.
pub(crate) const LINK_TAG: i64 = 1;

/// The tag of a monitor that a process is started with, if it has no other.
pub(crate) const MONITOR_TAG: i64 = 2;

/// Whether this process survives the failure of those it is linked with. At first it does not: it dies too. When it does,
/// [`Mailbox::next`] gives an [`Event::LinkFailed`](crate::Event::LinkFailed) instead. (In Erlang: `trap_exit`.)
///
/// A kill cannot be survived.
///
/// ```no_run
/// lunatic::survive_links(true);
/// ```
pub fn survive_links(survives: bool) {
    abi::die_when_link_dies(!survives);
}

impl Process<()> {
    /// As [`spawn`](Process::spawn), linked with the caller before the child can run. ([`Spawn`] can do more.)
    ///
    /// ```no_run
    /// // If it panics, so does the whole.
    /// lunatic::Process::spawn_link(7, |number| assert_eq!(number, 7)).unwrap();
    /// ```
    ///
    /// # Errors
    /// Those of [`spawn`](Process::spawn).
    #[track_caller]
    pub fn spawn_link<C>(context: C, entry: fn(C)) -> Result<Process<()>, Error>
    where
        C: Serialize + DeserializeOwned,
    {
        Spawn::new().link().start(context, entry)
    }
}

impl<M> Process<M> {
    /// As [`spawn_with_mailbox`](Process::spawn_with_mailbox), linked with the caller before the child can run.
    ///
    /// ```no_run
    /// let printer = lunatic::Process::spawn_link_with_mailbox((), |(), mailbox| loop {
    ///     let line: String = mailbox.receive();
    ///     println!("{line}");
    /// });
    /// ```
    ///
    /// # Errors
    /// Those of [`spawn`](Process::spawn).
    #[track_caller]
    pub fn spawn_link_with_mailbox<C>(
        context: C,
        entry: fn(C, Mailbox<M>),
    ) -> Result<Process<M>, Error>
    where
        C: Serialize + DeserializeOwned,
    {
        Spawn::new().link().start_with_mailbox(context, entry)
    }

    /// Links the caller with this process: if one fails, the other dies too, or is told if it
    /// [survives](survive_links) its links. A process that has ended is a link that fails at once.
    ///
    /// ```no_run
    /// # let worker = lunatic::Process::<()>::from_id(7);
    /// worker.link();
    /// ```
    pub fn link(&self) {
        abi::link(LINK_TAG, self.id());
    }

    /// As [`link`](Process::link), with a tag that comes back with the notice.
    ///
    /// ```no_run
    /// # let worker = lunatic::Process::<()>::from_id(7);
    /// worker.link_with_tag(42);
    /// ```
    pub fn link_with_tag(&self, tag: i64) {
        abi::link(tag, self.id());
    }

    /// Takes the link away: from then on neither's failure does anything to the other. A notice may wait already.
    ///
    /// ```no_run
    /// # let worker = lunatic::Process::<()>::from_id(7);
    /// worker.unlink();
    /// ```
    pub fn unlink(&self) {
        abi::unlink(self.id());
    }

    /// Has the caller told when this process ends: by an [`Event::Ended`](crate::Event::Ended) of [`Mailbox::next`]; at
    /// once if it has ended already.
    ///
    /// ```no_run
    /// use lunatic::{Event, Mailbox, Process};
    ///
    /// let child = Process::spawn((), |()| panic!("no")).unwrap();
    /// child.monitor();
    /// if let Ok(Event::Ended(notice)) = Mailbox::<()>::own().next() {
    ///     println!("{notice}");
    /// }
    /// ```
    pub fn monitor(&self) {
        abi::monitor(self.id());
    }

    /// Takes [`monitor`](Process::monitor) back. A notice may wait already.
    ///
    /// ```no_run
    /// # let worker = lunatic::Process::<()>::from_id(7);
    /// worker.stop_monitoring();
    /// ```
    pub fn stop_monitoring(&self) {
        abi::stop_monitoring(self.id());
        self.stop_monitoring_with_tag(MONITOR_TAG);
    }

    /// As [`monitor`](Process::monitor), with a notice of its own for each call, which has this tag.
    ///
    /// ```no_run
    /// # let worker = lunatic::Process::<()>::from_id(7);
    /// worker.monitor_with_tag(42);
    /// ```
    pub fn monitor_with_tag(&self, tag: i64) {
        abi::monitor_with_tag(tag, self.id());
    }

    /// Takes one [`monitor_with_tag`](Process::monitor_with_tag) back. A notice may wait already.
    ///
    /// ```no_run
    /// # let worker = lunatic::Process::<()>::from_id(7);
    /// worker.stop_monitoring_with_tag(42);
    /// ```
    pub fn stop_monitoring_with_tag(&self, tag: i64) {
        abi::stop_monitoring_with_tag(tag, self.id());
    }

    /// Asks this process to end, as the failure of a link would: it dies, unless it [survives](survive_links) its links.
    /// Then it gets an [`Event::AskedToEnd`](crate::Event::AskedToEnd). (In Erlang: `exit(Pid, shutdown)`.)
    /// Nothing happens if the caller may not [kill](crate::Right::Kill).
    ///
    /// ```no_run
    /// # let worker = lunatic::Process::<()>::from_id(7);
    /// worker.ask_to_end();
    /// ```
    pub fn ask_to_end(&self) {
        abi::send_exit(self.id());
    }

    /// Gives this process a name, by which all processes of the program [find](Process::lookup) it. Another that had the
    /// name loses it. It vanishes with the process.
    ///
    /// ```no_run
    /// # let logger = lunatic::Process::<String>::from_id(7);
    /// logger.register("logger");
    /// ```
    pub fn register(&self, name: &str) {
        abi::registry_put(name, self.id());
    }

    /// The living process with this name. Nothing but agreement makes its messages an `M`.
    ///
    /// ```no_run
    /// use lunatic::Process;
    ///
    /// if let Some(logger) = Process::<String>::lookup("logger") {
    ///     logger.send("found you".to_string());
    /// }
    /// ```
    pub fn lookup(name: &str) -> Option<Process<M>> {
        abi::registry_get(name).map(Process::from_id)
    }

    /// The same process, whatever its messages are: for links and lists.
    ///
    /// ```
    /// use lunatic::Process;
    ///
    /// let process = Process::<String>::from_id(7).untyped();
    /// assert_eq!(process, Process::<()>::from_id(7));
    /// ```
    pub fn untyped(&self) -> Process<()> {
        Process::from_id(self.id())
    }
}

/// Takes a name from whoever has it.
///
/// ```no_run
/// lunatic::unregister("logger");
/// ```
pub fn unregister(name: &str) {
    abi::registry_remove(name);
}

/// Waits for the notice of the end of a monitored process, with one of these tags; whether it came in time. Other messages
/// with such a tag go. They are no notices, whoever gave them the tag: only the runtime tells of ends.
pub(crate) fn process_ended(tags: &[i64], timeout_ms: u64) -> bool {
    let mut limit = Limit::new(timeout_ms);
    loop {
        match abi::mailbox_receive(tags, limit.left()) {
            Status::Other(abi::PROCESS_DIED) => return true,
            Status::TimedOut => return false,
            _ if limit.goes_on() => {}
            _ => return false,
        }
    }
}
