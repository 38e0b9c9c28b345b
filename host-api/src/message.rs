//! What travels between processes: bytes with a tag, and handles of resources. And notices, which the
//! runtime puts into a mailbox when a process has ended.

use std::sync::Arc;

use lunatic_scheduler::channel::Channel;
use lunatic_scheduler::{Envelope, Pid, Worker};

use crate::api::seed::ends::End;
use crate::api::seed::numbered::Known;
use crate::exit::Cause;
use crate::held;
use crate::kept::Kept;
use crate::modules::Loaded;
use crate::net::{Listener, TcpStream, TlsStream, UdpSocket};
use crate::node::NodeInner;
use crate::payload::Payload;
use crate::process::ProcessState;
use crate::reaper::{self, FEW, Lost};
use crate::warden::ENVELOPE_BYTES;

/// A message in the allocation that it is sent in. Processes hand the envelope on: who answers a
/// message writes the answer into the envelope it came in.
pub(crate) type Mail = Envelope<Message>;

/// A message, in a mailbox, a channel or its sender's or receiver's hands.
#[derive(Debug)]
pub(crate) struct Message {
    /// Chosen by the sender; 0 is "no tag".
    pub(crate) tag: i64,
    /// What the guest wrote.
    pub(crate) data: Payload,
    /// One word in every message for what few have.
    extras: Option<Box<Extras>>,
}

#[derive(Debug, Default)]
struct Extras {
    /// What the guest attached; taken ones leave a hole so that indices stay.
    resources: Vec<Option<Resource>>,
    /// It is not a guest's message at all.
    notice: Option<Notice>,
}

impl Extras {
    fn bytes(&self) -> usize {
        self.resources.capacity() * size_of::<Option<Resource>>()
    }
}

impl Drop for Extras {
    fn drop(&mut self) {
        held::sub(self.bytes());
        if self.resources.len() > FEW {
            self.give_up_many();
        }
    }
}

impl Extras {
    /// They take long to drop if messages go with them.
    #[cold]
    fn give_up_many(&mut self) {
        let resources = std::mem::take(&mut self.resources);
        if let Some(node) = resources.iter().flatten().find_map(Resource::node) {
            reaper::give_up(Lost::Resources(resources), node);
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        held::sub(ENVELOPE_BYTES);
        #[cfg(test)]
        reaper::tests::note_drop();
    }
}

/// News of an end, for who has linked or monitored the process.
#[derive(Debug)]
pub(crate) struct Notice {
    /// Who has ended.
    pub(crate) process: Pid,
    /// Whether it was a link or monitored.
    pub(crate) tie: Tie,
    /// It died with this link.
    pub(crate) link: Option<Pid>,
    pub(crate) cause: Arc<Cause>,
}

/// Why somebody gets a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tie {
    Link,
    Monitor,
}

impl Message {
    fn new() -> Self {
        held::add(ENVELOPE_BYTES);
        Self { tag: 0, data: Payload::default(), extras: None }
    }

    /// An empty message in a used envelope, if there is one.
    pub(crate) fn envelope(worker: &Worker<'_, ProcessState>) -> Mail {
        worker.used_envelope().unwrap_or_else(|| Mail::new(Self::new()))
    }

    /// A notice, in an envelope.
    pub(crate) fn with_notice(worker: &Worker<'_, ProcessState>, tag: i64, notice: Notice) -> Mail {
        let mut mail = Self::envelope(worker);
        mail.tag = tag;
        mail.extras = Some(Box::new(Extras { resources: Vec::new(), notice: Some(notice) }));
        mail
    }

    /// What the guest attached.
    pub(crate) fn resources(&mut self) -> &mut Vec<Option<Resource>> {
        &mut self.extras.get_or_insert_default().resources
    }

    /// Attaches something.
    pub(crate) fn attach(&mut self, resource: Resource) {
        let resources = self.resources();
        let before = resources.capacity();
        resources.push(Some(resource));
        held::add((resources.capacity() - before) * size_of::<Option<Resource>>());
    }

    /// What it takes beside its envelope.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.data.heap_bytes() + self.extras.as_ref().map_or(0, |extras| extras.bytes())
    }

    /// How many there are.
    pub(crate) fn resource_count(&self) -> usize {
        self.extras.as_ref().map_or(0, |extras| extras.resources.len())
    }

    /// How often it carries this channel.
    pub(crate) fn transits_of(&self, channel: &Channel<Mail>) -> usize {
        let resources = self.extras.iter().flat_map(|extras| &extras.resources).flatten();
        resources.filter(|resource| resource.is_transit_of(channel)).count()
    }

    /// The place of what was attached with this index, to take it; `None` if there is none.
    pub(crate) fn resource_at(&mut self, index: u64) -> Option<&mut Option<Resource>> {
        let at = usize::try_from(index).ok()?;
        self.extras.as_mut()?.resources.get_mut(at)
    }

    /// The news, if it is a notice.
    #[inline]
    pub(crate) fn notice(&self) -> Option<&Notice> {
        self.extras.as_ref()?.notice.as_ref()
    }

    /// Drops what the message carries and keeps its envelope for others.
    pub(crate) fn discard(mut mail: Mail, worker: &Worker<'_, ProcessState>) {
        mail.clear();
        worker.recycle(mail);
    }

    /// Makes it as new.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.tag = 0;
        self.data.clear();
        self.extras = None;
    }
}

/// Something that a message carries besides bytes.
#[derive(Debug)]
pub(crate) enum Resource {
    Channel(Transit),
    TcpListener(Arc<Listener>),
    TcpStream(Arc<TcpStream>),
    TlsStream(Arc<TlsStream>),
    UdpSocket(Arc<UdpSocket>),
    Module(Arc<Loaded>),
    /// Of the seed era.
    Sender(End),
    /// Of the seed era.
    Receiver(End),
    /// Of the seed era: what a number means that stands in the message.
    Numbered(u32, Known),
}

impl Resource {
    fn is_transit_of(&self, channel: &Channel<Mail>) -> bool {
        matches!(self, Self::Channel(transit) if transit.channel().id() == channel.id())
    }

    /// The node that it is in, if messages may go with it.
    fn node(&self) -> Option<Kept<Arc<NodeInner>>> {
        match self {
            Self::Channel(transit) => Some(transit.node),
            Self::Sender(end) | Self::Receiver(end) => Some(end.node()),
            Self::Numbered(_, known) => known.node(),
            Self::TcpListener(_)
            | Self::TcpStream(_)
            | Self::TlsStream(_)
            | Self::UdpSocket(_)
            | Self::Module(_) => None,
        }
    }
}

/// A channel on its way: counts as a reference until it arrives or is dropped.
pub(crate) struct Transit {
    /// Taken when it is dropped.
    channel: Option<Channel<Mail>>,
    node: Kept<Arc<NodeInner>>,
}

impl Transit {
    pub(crate) fn new(channel: &Channel<Mail>, node: Kept<Arc<NodeInner>>) -> Self {
        channel.add_transit();
        Self { channel: Some(channel.clone()), node }
    }

    pub(crate) fn channel(&self) -> &Channel<Mail> {
        self.channel.as_ref().expect("taken only when dropped")
    }
}

impl Drop for Transit {
    fn drop(&mut self) {
        if let Some(channel) = self.channel.take() {
            reaper::give_up(Lost::Transit(channel), self.node);
        }
    }
}

impl std::fmt::Debug for Transit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transit({})", self.channel().id())
    }
}
