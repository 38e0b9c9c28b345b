//! The two ends of a channel: it is closed when all senders are gone, or all receivers.
//!
//! The scheduler's own book counts processes that hold a channel, which have both ends. Here each
//! handle, and each message that carries one, is an [`End`] of one side, and counts until it is
//! dropped. The last sender's drop tells those who wait; the last receiver's drops what nobody will
//! read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lunatic_scheduler::channel::{Channel, Wake};

use crate::kept::Kept;
use crate::message::Mail;
use crate::node::NodeInner;
use crate::reaper::{self, Lost};

/// One end of a channel, held by a process or by a message on its way.
pub(crate) struct End {
    /// Taken when it is dropped.
    shared: Option<Arc<Shared>>,
    side: Side,
    node: Kept<Arc<NodeInner>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Sender = 0,
    Receiver = 1,
}

struct Shared {
    channel: Channel<Mail>,
    /// Living ends of each side. Counted up by who has one, so never up from zero; `AcqRel`: who
    /// takes the last one away comes after all uses of the others.
    ends: [AtomicUsize; 2],
}

impl End {
    /// Both ends of a new channel, which holds at most `bound` messages (0: any number).
    pub(crate) fn pair(bound: u32, node: Kept<Arc<NodeInner>>) -> (Self, Self) {
        let channel = Channel::new(bound as usize);
        // For the book the channel is always in transit: who is left is counted here, not there.
        channel.add_transit();
        let shared = Arc::new(Shared { channel, ends: [AtomicUsize::new(1), AtomicUsize::new(1)] });
        let end = |side| Self { shared: Some(Arc::clone(&shared)), side, node };
        (end(Side::Sender), end(Side::Receiver))
    }

    /// One more end of the same side.
    pub(crate) fn another(&self) -> Self {
        let shared = self.shared();
        shared.ends[self.side as usize].fetch_add(1, Ordering::AcqRel);
        Self { shared: Some(Arc::clone(shared)), side: self.side, node: self.node }
    }

    /// The channel, to send or receive.
    pub(crate) fn channel(&self) -> Channel<Mail> {
        self.shared().channel.clone()
    }

    /// The node that it is in.
    pub(crate) fn node(&self) -> Kept<Arc<NodeInner>> {
        self.node
    }

    fn shared(&self) -> &Arc<Shared> {
        self.shared.as_ref().expect("taken only when dropped")
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            reaper::give_up(Lost::End(Ended { shared, side: self.side }), self.node);
        }
    }
}

/// An end that was dropped and still counts.
pub(crate) struct Ended {
    shared: Arc<Shared>,
    side: Side,
}

impl Ended {
    /// It counts no longer. The channel, if something is left in it that nobody can receive.
    pub(crate) fn give_up(self, waker: &impl Wake) -> Option<Channel<Mail>> {
        let Self { shared, side } = self;
        let was_last = shared.ends[side as usize].fetch_sub(1, Ordering::AcqRel) == 1;
        if was_last {
            shared.channel.close(waker);
        }
        // A sender that was at it when the last receiver went has left its message behind; whoever
        // drops the channel finds it.
        let has_rest = was_last && side == Side::Receiver || Arc::strong_count(&shared) == 1;
        (has_rest && !shared.channel.is_empty()).then(|| shared.channel.clone())
    }
}

impl std::fmt::Debug for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}({})", self.side, self.shared().channel.id())
    }
}
