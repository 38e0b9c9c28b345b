//! The two ends of a channel: it is closed when all senders are gone, or all receivers.
//!
//! The scheduler's own book counts processes that hold a channel, which have both ends. Here each
//! handle, and each message that carries one, is an [`End`] of one side, and counts until it is
//! dropped. The last sender's drop tells those who wait; the last receiver's drops what nobody will
//! read.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lunatic_scheduler::channel::Channel;

use crate::kept::Kept;
use crate::message::Mail;
use crate::node::NodeInner;

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

    fn shared(&self) -> &Arc<Shared> {
        self.shared.as_ref().expect("taken only when dropped")
    }
}

/// What is to be given up, in the node that it is in.
type Lost = (Arc<Shared>, Side, Kept<Arc<NodeInner>>);

thread_local! {
    /// What is yet to be given up, while somebody on this thread is at it.
    static LOST: RefCell<Option<Vec<Lost>>> = const { RefCell::new(None) };
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            give_up_in_turn((shared, self.side, self.node));
        }
    }
}

/// Gives an end up. Messages may go with it, and the ends that they carry, and their messages…: one
/// inside the other they would need as much stack as a guest likes.
#[inline(never)]
fn give_up_in_turn(lost: Lost) {
    let nested = LOST.with_borrow_mut(|all| {
        let nested = all.is_some();
        all.get_or_insert_default().push(lost);
        nested
    });
    if nested {
        return;
    }
    while let Some((shared, side, node)) = LOST.with_borrow_mut(|all| all.as_mut()?.pop()) {
        let was_last = shared.ends[side as usize].fetch_sub(1, Ordering::AcqRel) == 1;
        if was_last {
            shared.channel.close(node.handle());
        }
        // A sender that was at it when the last receiver went has left its message behind; whoever
        // drops the channel finds it.
        if was_last && side == Side::Receiver || Arc::strong_count(&shared) == 1 {
            while shared.channel.try_receive(node.handle()).is_ok() {}
        }
    }
    LOST.set(None);
}

impl std::fmt::Debug for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}({})", self.side, self.shared().channel.id())
    }
}
