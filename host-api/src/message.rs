//! What travels between processes: bytes with a tag, and handles of resources.

use std::sync::Arc;

use lunatic_scheduler::channel::Channel;
use smallvec::SmallVec;

use crate::node::NodeInner;

/// Bytes that a message holds without an allocation of their own. With the rest of the structure
/// this makes a mailbox entry of two cache lines.
const INLINE_BYTES: usize = 32;

/// A message, in a mailbox, a channel or its sender's or receiver's hands.
#[derive(Debug)]
pub(crate) struct Message {
    /// Chosen by the sender; 0 is "no tag".
    pub(crate) tag: i64,
    /// What the guest wrote.
    pub(crate) data: SmallVec<[u8; INLINE_BYTES]>,
    /// Where reading goes on.
    pub(crate) cursor: usize,
    /// What the guest attached; taken ones leave a hole so that indices stay.
    pub(crate) resources: Vec<Option<Resource>>,
}

impl Message {
    pub(crate) fn new(tag: i64) -> Self {
        Self { tag, data: SmallVec::new(), cursor: 0, resources: Vec::new() }
    }
}

/// Something that a message carries besides bytes.
#[derive(Debug)]
pub(crate) enum Resource {
    Channel(Transit),
}

/// A channel on its way: counts as a reference until it arrives or is dropped.
pub(crate) struct Transit {
    channel: Channel<Message>,
    node: Arc<NodeInner>,
}

impl Transit {
    pub(crate) fn new(channel: &Channel<Message>, node: &Arc<NodeInner>) -> Self {
        channel.add_transit();
        Self { channel: channel.clone(), node: Arc::clone(node) }
    }

    pub(crate) fn channel(&self) -> &Channel<Message> {
        &self.channel
    }
}

impl Drop for Transit {
    fn drop(&mut self) {
        self.channel.remove_transit(self.node.handle());
    }
}

impl std::fmt::Debug for Transit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transit({})", self.channel.id())
    }
}
