//! What the current call of one process is at: whom it waits for, and what it has begun.

use std::sync::Arc;

use super::{Connecting, Dial, Lookup, Pem};
use crate::bind::Call;
use crate::ready::{Interest, Seen, Source, Standing, Waits};
use std::os::fd::AsFd;

/// Lies with the process's resources: only who has sockets waits for them.
#[derive(Debug, Default)]
pub(crate) struct Net {
    waits: Option<Waits>,
    /// What the call has begun, and goes on with when it is asked again.
    pub(crate) pending: Option<Pending>,
    /// A connection with TLS, which begins several things one after the other.
    pub(crate) dial: Option<Box<Dial>>,
    /// What a thread reads for it, or is to read.
    pub(crate) pem: Option<Arc<Pem>>,
}

/// What a call has begun.
#[derive(Debug)]
pub(crate) enum Pending {
    Connecting(Connecting),
    Lookup(Lookup),
    /// The accepting process pauses before it is told that there are too many open files.
    Pause(rustix::io::Errno),
    /// A TLS session has taken so many bytes, and is giving them to the kernel.
    Taken(usize),
}

impl Net {
    /// The call is over: what it has begun is given up.
    #[inline]
    pub(crate) fn end_wait(&mut self) {
        if let Some(waits) = &mut self.waits {
            waits.clear();
        }
        self.pending = None;
        self.dial = None;
        self.pem = None;
    }
}

impl Call<'_, '_> {
    /// Notes the process at a source, if nothing was reported since it has tried.
    pub(crate) fn wait_at(
        &mut self,
        object: impl AsFd,
        source: &Arc<Source>,
        interest: Interest,
        seen: Seen,
    ) -> rustix::io::Result<Standing> {
        let pid = self.state.pid();
        let node = self.state.node.get();
        let waits = self.state.resources.net().waits.get_or_insert_with(|| Waits::new(pid));
        waits.wait((&node.reactor, node), (object, source), interest, seen)
    }
}
