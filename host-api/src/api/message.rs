//! `lunatic::message`: writing, sending, receiving and reading messages.

use std::fmt::Write as _;
use std::sync::Arc;
use std::task::Poll;

use lunatic_scheduler::{Found, Pid, Room};

use crate::bind::{Call, Fault, host_functions};
use crate::config::Overflow;
use crate::exit::{ExitReason, Kind, Shortage};
use crate::guest_type::{Bytes, ExitRecord, In, Out, Text};
use crate::memory::Ptr;
use crate::message::{Mail, Message, Notice, Resource, Tie, Transit};
use crate::modules::Loaded;
use crate::process::ProcessState;

/// A wait ended because its time was over.
pub(super) const TIMEOUT: u32 = 9027;

/// The message is the notice of a link's failure, or of a monitored process's end.
const LINK_DIED: u32 = 1;
const PROCESS_DIED: u32 = 2;

/// Frames of a backtrace in the words for a reason.
const FRAMES_TOLD: usize = 32;

/// Comparisons of a message with a tag before others have a turn. By feel: a tenth of a millisecond, or
/// half of one if nothing is in the caches.
const SEARCHED_IN_ONE_GO: usize = 4096;

/// Bytes that are copied as a part of the call; longer messages are the process's to pay for.
const COPIED_FREE: usize = 1024;
/// What it pays: about what a loop of its own would cost.
const COPIED_PER_REDUCTION: i64 = 32;
/// Bytes that are copied before others have a turn. By feel: a tenth of a millisecond, or several where
/// memory is new.
const COPIED_IN_ONE_GO: usize = 1 << 20;

/// What `get_exit_reason` writes.
const EXIT_RECORD_BYTES: usize = 40;

/// Tags that one `receive` may wait for.
const TAGS_MAX: u32 = 1024;

/// Resources that one message may carry.
const RESOURCES_MAX: usize = 10_000;

impl ProcessState {
    /// The scratch message, which most functions here are about.
    pub(super) fn scratch(&mut self) -> Result<&mut Message, Fault> {
        self.scratch.as_deref_mut().ok_or_else(|| {
            Fault::new("the process has no current message; create or receive one first")
        })
    }

    /// Takes it, to send it.
    #[inline]
    pub(super) fn take_scratch(&mut self) -> Result<Mail, Fault> {
        self.check_sendable()?;
        let mail = self.scratch.take();
        let mail = mail.ok_or_else(|| Fault::new("the process has no current message"))?;
        if mail.bytes() > 0 {
            self.tell_held();
        }
        Ok(mail)
    }

    /// Makes a message current; the one that was.
    #[inline]
    pub(super) fn set_scratch(&mut self, mail: Mail) -> Option<Mail> {
        let bytes = mail.bytes();
        let old = self.scratch.replace(mail);
        if bytes > 0 || old.as_ref().is_some_and(|old| old.bytes() > 0) {
            self.tell_held();
        }
        old
    }

    /// What the current message takes beside its envelope.
    fn scratch_bytes(&self) -> usize {
        self.scratch.as_deref().map_or(0, Message::bytes)
    }

    /// Whether it can be sent.
    #[inline]
    pub(super) fn check_sendable(&mut self) -> Result<(), Fault> {
        match self.scratch()?.notice() {
            None => Ok(()),
            Some(_) => Err(Fault::new(
                "the current message is the notice of a process's end, which only the runtime sends",
            )),
        }
    }

    /// The notice that is the current message.
    fn notice(&self) -> Result<&Notice, Fault> {
        self.scratch.as_deref().and_then(Message::notice).ok_or_else(|| {
            Fault::new(
                "the current message is no notice of a process's end: lunatic::message::receive \
                 has not answered 1 or 2",
            )
        })
    }
}

host_functions! {
    /// Messages are bytes with a tag, and resources. Each process has *one* current message (the
    /// scratch area): `create_data` replaces it, sending consumes it, receiving fills it. All other
    /// functions act on it and trap if there is none.
    pub(crate) MODULE: "lunatic::message";

    /// Makes an empty message current. `tag` 0 means none. `capacity` is a hint and allocates
    /// nothing beyond the largest message.
    [short] fn create_data(call, tag: i64, capacity: u64) -> Result<(), Fault> {
        let limit = call.state.config.message_bytes_max;
        let before = call.state.scratch_bytes();
        let mut message = match call.state.scratch.take() {
            Some(mut used) => {
                used.clear();
                used
            }
            None => Message::envelope(call.worker),
        };
        message.tag = tag;
        // A hint of the guest's: honoured up to a size that costs nothing to be wrong about.
        let hint = usize::try_from(capacity).unwrap_or(usize::MAX).min(limit).min(64 * 1024);
        message.data.expect_total(hint)?;
        let after = message.bytes();
        call.state.scratch = Some(message);
        if after != before {
            call.state.tell_held();
        }
        Ok(())
    }

    /// Appends bytes to the message. Answers how many: all of them, or fewer when the message has
    /// reached the largest size (`--max-message`).
    [short] fn write_data(call, data_ptr: In<Bytes>, data_len: u32) -> Result<u32, Fault> {
        let limit = call.state.config.message_bytes_max;
        let bytes = call.memory.slice(data_ptr, data_len)?;
        // A part of them may be there already.
        let copied = call.state.wait.copied;
        let message = call.state.scratch()?;
        let room = limit.saturating_sub(message.data.len() - copied);
        let bytes = &bytes[..bytes.len().min(room)];
        if bytes.len() > COPIED_FREE {
            return write_much(call.state, bytes);
        }
        let before = message.data.heap_bytes();
        message.data.append(bytes)?;
        if message.data.heap_bytes() > before {
            call.state.tell_held();
        }
        Ok(bytes.len() as u32)
    }

    /// Copies bytes from the read position to `data_ptr` and moves the position. Answers how many:
    /// fewer than asked for at the end of the message.
    [short] fn read_data(call, data_ptr: Out<Bytes>, data_len: u32) -> Result<u32, Fault> {
        let message = call.state.scratch.as_deref_mut();
        let message = message.ok_or_else(|| Fault::new("the process has no current message"))?;
        let rest = message.data.rest();
        let bytes = &rest[..rest.len().min(data_len as usize)];
        if bytes.len() > COPIED_FREE {
            return read_much(call, data_ptr, data_len);
        }
        // The whole range is the guest's promise, whatever of it is needed.
        call.memory.slice_mut(data_ptr, data_len)?[..bytes.len()].copy_from_slice(bytes);
        let len = bytes.len();
        message.data.advance(len);
        Ok(len as u32)
    }

    /// Sets the read position, in bytes from the beginning. Traps beyond the end.
    [short] fn seek_data(call, index: u64) -> Result<(), Fault> {
        let message = call.state.scratch()?;
        let len = message.data.len();
        message.data.seek(index).ok_or_else(|| {
            Fault::new(format!("cannot seek to {index} in a message of {len} bytes"))
        })
    }

    /// The message's tag, 0 if it has none.
    [short] fn get_tag(call) -> Result<i64, Fault> {
        Ok(call.state.scratch()?.tag)
    }

    /// The message's length in bytes.
    [short] fn data_size(call) -> Result<u64, Fault> {
        Ok(call.state.scratch()?.data.len() as u64)
    }

    /// Attaches a channel to the message; the process keeps its handle. Answers the attachment's
    /// index, for `take_channel`. Traps if the handle is unknown.
    fn push_channel(call, channel: u64) -> Result<u64, Fault> {
        let channel = call.state.channels.get(channel)?.clone();
        let transit = Transit::new(&channel, call.state.node);
        push(call.state, Resource::Channel(transit))
    }

    /// Takes a channel out of the message. Answers a handle of this process. Traps if there is no
    /// channel at this index, or it was taken before.
    fn take_channel(call, index: u64) -> Result<u64, Fault> {
        let transit = take(call.state, index, "channel", |resource| match resource {
            Resource::Channel(transit) => Ok(transit),
            other => Err(other),
        })?;
        let max = call.state.config.resources_max;
        let handle = call.state.channels.add(transit.channel(), max);
        call.state.tell_held();
        handle
    }

    /// Attaches a TCP listener to the message and takes the id away from the process. Answers the
    /// attachment's index. Traps if the id is unknown.
    fn push_tcp_listener(call, listener_id: u64) -> Result<u64, Fault> {
        has_room(call.state)?;
        let listener = call.state.resources.remove(listener_id)?;
        push(call.state, Resource::TcpListener(listener))
    }

    /// Takes a TCP listener out of the message. Answers its id in this process. Traps if there is no
    /// TCP listener at this index, or it was taken before.
    fn take_tcp_listener(call, index: u64) -> Result<u64, Fault> {
        let listener = take(call.state, index, "TCP listener", |resource| match resource {
            Resource::TcpListener(listener) => Ok(listener),
            other => Err(other),
        })?;
        call.add(listener)
    }

    /// Attaches a TCP stream to the message and takes the id away from the process, which may have
    /// others of the same stream (`clone_tcp_stream`). Answers the attachment's index. Traps if the
    /// id is unknown. A stream in a message that nobody receives is closed with it.
    fn push_tcp_stream(call, stream_id: u64) -> Result<u64, Fault> {
        has_room(call.state)?;
        let stream = call.state.resources.remove(stream_id)?;
        push(call.state, Resource::TcpStream(stream))
    }

    /// Takes a TCP stream out of the message. Answers its id in this process. Traps if there is no
    /// TCP stream at this index, or it was taken before.
    fn take_tcp_stream(call, index: u64) -> Result<u64, Fault> {
        let stream = take(call.state, index, "TCP stream", |resource| match resource {
            Resource::TcpStream(stream) => Ok(stream),
            other => Err(other),
        })?;
        call.add(stream)
    }

    /// Attaches a TLS stream to the message and takes the id away from the process, which may have
    /// others of the same stream (`clone_tls_stream`). Answers the attachment's index. Traps if the
    /// id is unknown. A stream in a message that nobody receives is closed with it.
    fn push_tls_stream(call, stream_id: u64) -> Result<u64, Fault> {
        has_room(call.state)?;
        let stream = call.state.resources.remove(stream_id)?;
        push(call.state, Resource::TlsStream(stream))
    }

    /// Takes a TLS stream out of the message. Answers its id in this process. Traps if there is no
    /// TLS stream at this index, or it was taken before.
    fn take_tls_stream(call, index: u64) -> Result<u64, Fault> {
        let stream = take(call.state, index, "TLS stream", |resource| match resource {
            Resource::TlsStream(stream) => Ok(stream),
            other => Err(other),
        })?;
        call.add(stream)
    }

    /// Attaches a UDP socket to the message and takes the id away from the process. Answers the
    /// attachment's index. Traps if the id is unknown.
    fn push_udp_socket(call, socket_id: u64) -> Result<u64, Fault> {
        has_room(call.state)?;
        let socket = call.state.resources.remove(socket_id)?;
        push(call.state, Resource::UdpSocket(socket))
    }

    /// Takes a UDP socket out of the message. Answers its id in this process. Traps if there is no
    /// UDP socket at this index, or it was taken before.
    fn take_udp_socket(call, index: u64) -> Result<u64, Fault> {
        let socket = take(call.state, index, "UDP socket", |resource| match resource {
            Resource::UdpSocket(socket) => Ok(socket),
            other => Err(other),
        })?;
        call.add(socket)
    }

    /// Attaches a compiled module to the message; the process keeps its own. Answers the attachment's
    /// index, for `take_module`. Traps if the id is unknown.
    fn push_module(call, module_id: u64) -> Result<u64, Fault> {
        let module = Arc::clone(call.state.resources.get::<Arc<Loaded>>(module_id)?);
        push(call.state, Resource::Module(module))
    }

    /// Takes a compiled module out of the message. Answers an id of this process. Traps if there is
    /// no module at this index, or it was taken before.
    fn take_module(call, index: u64) -> Result<u64, Fault> {
        let module = take(call.state, index, "module", |resource| match resource {
            Resource::Module(module) => Ok(module),
            other => Err(other),
        })?;
        call.add(module)
    }

    /// What lies at this index of the message, for who does not trust the sender: the functions that
    /// take something trap where it is not there. 0: nothing, or it was taken. 1: a channel. 2: a TCP
    /// listener. 3: a TCP stream. 4: a TLS stream. 5: a UDP socket. 6: a compiled module. 7: something
    /// else, which only functions of older versions take. Not of Lunatic.
    [short] fn attachment_kind(call, index: u64) -> Result<u32, Fault> {
        let place = call.state.scratch()?.resource_at(index);
        Ok(match place.and_then(|place| place.as_ref()) {
            None => 0,
            Some(Resource::Channel(_)) => 1,
            Some(Resource::TcpListener(_)) => 2,
            Some(Resource::TcpStream(_)) => 3,
            Some(Resource::TlsStream(_)) => 4,
            Some(Resource::UdpSocket(_)) => 5,
            Some(Resource::Module(_)) => 6,
            Some(Resource::Sender(_) | Resource::Receiver(_) | Resource::Numbered(..)) => 7,
        })
    }

    /// Sends the message to a process's mailbox. Always 0: a message to a process that does not
    /// exist is dropped.
    [short] fn send(call, process_id: u64) -> Result<u32, Fault> {
        let to = Pid::from_u64(process_id);
        let bytes = || call.state.scratch_bytes();
        match call.worker.reserve(to, bytes) {
            Room::Unlimited => {}
            room => return send_within(call, to, room, u64::MAX),
        }
        let message = call.state.take_scratch()?;
        if let Err(lost) = call.worker.send(to, message) {
            Message::discard(lost, call.worker);
        }
        Ok(0)
    }

    /// The same, but waits at most `timeout` milliseconds (0: not at all) for room in a mailbox whose
    /// senders are to wait. 0: it was sent, or the process does not exist. 9027: there was no room;
    /// the message stays current.
    fn send_timeout(call, process_id: u64, timeout: u64) -> Poll<Result<u32, Fault>> {
        let to = Pid::from_u64(process_id);
        let room = call.worker.reserve(to, || call.state.scratch_bytes());
        match send_within(call, to, room, timeout) {
            Err(fault) if fault.is_wait() => Poll::Pending,
            other => Poll::Ready(other),
        }
    }

    /// The id of the monitored process whose end the current message is the notice of (`receive` has
    /// answered 2); 0 for any other message.
    fn get_process_id(call) -> Result<u64, Fault> {
        let notice = call.state.scratch()?.notice();
        let monitored = notice.filter(|notice| notice.tie == Tie::Monitor);
        Ok(monitored.map_or(0, |notice| notice.process.as_u64()))
    }

    /// Writes 40 bytes, little-endian, about the end that the current message is the notice of
    /// (`receive` has answered 1 or 2; else it traps):
    ///
    /// | at | type | what |
    /// | --- | --- | --- |
    /// | 0 | u32 | kind of the end (below) |
    /// | 4 | u32 | kind of the first end in a chain of links; the same if it is no chain |
    /// | 8 | u64 | the process that ended |
    /// | 16 | u64 | the process that ended first; the same if it is no chain |
    /// | 24 | u64 | a number that belongs to the first end: see its kind |
    /// | 32 | u64 | the process whose end the process died of; 0 if it is no chain |
    ///
    /// Kinds, and their numbers: 0 returned; 1 exited (the code, not 0: an exit with 0 is also of this
    /// kind); 2 trapped (the code of the trap); 3 trapped in a host call; 4 killed (by this process,
    /// 0: by none); 5 died with a link; 6 out of memory (bytes that it, or all processes together, may have the host hold); 7 out of fuel (units it
    /// had); 8 stack overflow (bytes of the stack); 9 too many messages waited (how many may); 10 a
    /// bug in the runtime; 11 nobody has ended, the process is asked to end (`send_exit`); 12 could not start; 13 no such process. The first is
    /// the only one to be normal, with an exit with 0.
    fn get_exit_reason(call, record_ptr: Out<ExitRecord>) -> Result<(), Fault> {
        let record = exit_record(call.state.notice()?);
        call.memory.write(record_ptr, &record)
    }

    /// Copies the reason of the end that the current message is the notice of, in words (UTF-8), to
    /// `text_ptr`: as much as fits `text_len` bytes. Answers the length of the whole text. Traps as
    /// `get_exit_reason` does.
    fn get_exit_text(call, text_ptr: Out<Text>, text_len: u32) -> Result<u32, Fault> {
        let text = exit_text(call.state.notice()?);
        let copied = &text.as_bytes()[..text.len().min(text_len as usize)];
        call.memory.slice_mut(text_ptr, text_len)?[..copied.len()].copy_from_slice(copied);
        Ok(u32::try_from(text.len()).unwrap_or(u32::MAX))
    }

    /// Sends the message, then waits for one with the tag `wait_on_tag` and makes it current. What
    /// was in the mailbox before is not looked at: for an answer whose tag nobody can have used yet.
    /// 0: there it is. 9027: `timeout` milliseconds have passed (`u64::MAX`: no limit).
    fn send_receive_skip_search(
        call, process_id: u64, wait_on_tag: i64, timeout: u64,
    ) -> Poll<Result<u32, Fault>> {
        if !call.state.wait.searched {
            let to = Pid::from_u64(process_id);
            call.worker.skip(call.state.me());
            let room = call.worker.reserve(to, || call.state.scratch_bytes());
            match send_within(call, to, room, timeout) {
                Ok(0) => call.state.wait.searched = true,
                Err(fault) if fault.is_wait() => return Poll::Pending,
                other => return Poll::Ready(other),
            }
        }
        let wanted = |message: &Message| message.tag == wait_on_tag;
        if let Some(message) = call.worker.receive_new(call.state.me(), wanted) {
            let kind = kind(&message);
            call.state.set_scratch(message);
            return Poll::Ready(Ok(kind));
        }
        if call.timed_out(timeout) {
            return Poll::Ready(Ok(TIMEOUT));
        }
        call.wake_at_deadline();
        Poll::Pending
    }

    /// Waits for a message with one of the tags (64-bit little-endian at `tag_ptr`, `tag_len` of
    /// them; none: any message) and makes it current. 0: there it is. 1: it is the notice that a link
    /// has failed; its tag is that of the link. 2: it is the notice that a monitored process has
    /// ended; it has no tag, unless it was asked for with one. 9027: `timeout` milliseconds have passed (`u64::MAX`: no limit). Others
    /// stay in the mailbox, in order.
    [short] fn receive(call, tag_ptr: In<i64>, tag_len: u32, timeout: u64) -> Poll<Result<u32, Fault>> {
        let tags = match tags(call, tag_ptr, tag_len) {
            Ok(tags) => tags,
            Err(fault) => return Poll::Ready(Err(fault)),
        };
        let wanted = |message: &Message| {
            tags.is_empty() || tags.chunks_exact(8).any(|tag| tag == message.tag.to_le_bytes())
        };
        let limit = (SEARCHED_IN_ONE_GO / (1 + tags.len() / 8)).max(1);
        match next_message(call, limit, wanted) {
            Found::Message(message) => {
                let kind = kind(&message);
                if let Some(old) = call.state.set_scratch(message) {
                    Message::discard(old, call.worker);
                }
                return Poll::Ready(Ok(kind));
            }
            Found::Nothing => call.state.wait.yields = false,
            Found::Unfinished => {
                call.state.wait.yields = true;
                return Poll::Pending;
            }
        }
        if call.timed_out(timeout) {
            return Poll::Ready(Ok(TIMEOUT));
        }
        call.wake_at_deadline();
        Poll::Pending
    }
}

fn exit_record(notice: &Notice) -> [u8; EXIT_RECORD_BYTES] {
    let cause = &notice.cause;
    let first = cause.reason.kind();
    let kind = if notice.link.is_some() { Kind::Linked } else { first };
    let link = notice.link.map_or(0, Pid::as_u64);
    let mut record = [0; EXIT_RECORD_BYTES];
    record[0..4].copy_from_slice(&(kind as u32).to_le_bytes());
    record[4..8].copy_from_slice(&(first as u32).to_le_bytes());
    record[8..16].copy_from_slice(&notice.process.as_u64().to_le_bytes());
    record[16..24].copy_from_slice(&cause.process.as_u64().to_le_bytes());
    record[24..32].copy_from_slice(&cause.reason.value().to_le_bytes());
    record[32..40].copy_from_slice(&link.to_le_bytes());
    record
}

/// As the log has it, with the functions on the stack as far as they are known.
fn exit_text(notice: &Notice) -> String {
    let cause = &notice.cause;
    let mut text = match notice.link {
        None => cause.reason.to_string(),
        Some(with) => ExitReason::Linked { with, cause: std::sync::Arc::clone(cause) }.to_string(),
    };
    for frame in cause.reason.frames().iter().take(FRAMES_TOLD) {
        let _ = write!(text, "\n    at {frame}");
    }
    text
}

/// What `receive` answers for a message.
#[inline]
fn kind(message: &Message) -> u32 {
    match message.notice().map(|notice| notice.tie) {
        None => 0,
        Some(Tie::Link) => LINK_DIED,
        Some(Tie::Monitor) => PROCESS_DIED,
    }
}

/// Adds bytes to the current message, at the process's expense.
#[cold]
fn write_much(state: &mut ProcessState, bytes: &[u8]) -> Result<u32, Fault> {
    let done = std::mem::take(&mut state.wait.copied);
    state.wait.yields = false;
    let end = bytes.len().min(done + COPIED_IN_ONE_GO);
    let message = state.scratch()?;
    if done == 0 {
        message.data.expect_more(bytes.len())?;
    }
    message.data.append(&bytes[done..end])?;
    state.tell_held();
    state.charge((end - done) as i64 / COPIED_PER_REDUCTION);
    if end < bytes.len() {
        state.wait.copied = end;
        state.wait.yields = true;
        return Err(Fault::wait());
    }
    Ok(bytes.len() as u32)
}

/// Copies the rest of the current message to the guest, at the process's expense.
#[cold]
fn read_much(call: &mut Call<'_, '_>, data_ptr: Ptr, data_len: u32) -> Result<u32, Fault> {
    let state = &mut *call.state;
    let done = std::mem::take(&mut state.wait.copied);
    state.wait.yields = false;
    let message = state.scratch.as_deref_mut();
    let message = message.ok_or_else(|| Fault::new("the process has no current message"))?;
    let rest = message.data.rest();
    let bytes = &rest[..rest.len().min(data_len as usize)];
    let end = bytes.len().min(done + COPIED_IN_ONE_GO);
    call.memory.slice_mut(data_ptr, data_len)?[done..end].copy_from_slice(&bytes[done..end]);
    let all = bytes.len();
    if end == all {
        message.data.advance(all);
    }
    state.charge((end - done) as i64 / COPIED_PER_REDUCTION);
    if end < all {
        state.wait.copied = end;
        state.wait.yields = true;
        return Err(Fault::wait());
    }
    Ok(all as u32)
}

/// Whether the message can carry one more.
fn has_room(state: &mut ProcessState) -> Result<(), Fault> {
    if state.scratch()?.resource_count() < RESOURCES_MAX {
        return Ok(());
    }
    Err(Fault::new(format!("a message carries at most {RESOURCES_MAX} resources")))
}

/// Attaches something to the current message; its index there.
fn push(state: &mut ProcessState, resource: Resource) -> Result<u64, Fault> {
    has_room(state)?;
    let message = state.scratch()?;
    message.attach(resource);
    let index = message.resource_count() as u64 - 1;
    state.tell_held();
    Ok(index)
}

/// Takes what `kind` picks out of the current message. What is of another kind stays.
fn take<T>(
    state: &mut ProcessState,
    index: u64,
    name: &str,
    kind: impl FnOnce(Resource) -> Result<T, Resource>,
) -> Result<T, Fault> {
    let none = || Fault::new(format!("the message has no {name} at index {index}"));
    let place = state.scratch()?.resource_at(index).ok_or_else(none)?;
    match place.take().map(kind) {
        Some(Ok(taken)) => Ok(taken),
        Some(Err(other)) => {
            *place = Some(other);
            Err(none())
        }
        None => Err(none()),
    }
}

/// Sends to a mailbox that has a limit, or has had one while the process waited.
#[cold]
fn send_within(
    call: &mut Call<'_, '_>,
    to: Pid,
    room: Room,
    timeout_ms: u64,
) -> Result<u32, Fault> {
    const BLOCK: u8 = Overflow::Block as u8;
    const KILL: u8 = Overflow::Kill as u8;
    call.state.check_sendable()?;
    let (worker, me) = (call.worker, call.state.pid());
    let mut room = room;
    if room.mark() == Some(BLOCK) && to != me && !call.timed_out(timeout_ms) {
        call.state.wait.sends_to = Some(to);
        room = worker.reserve_or_queue(to, me, call.state.scratch_bytes());
        if room.mark() == Some(BLOCK) {
            call.wake_at_deadline();
            return Err(Fault::wait());
        }
    }
    if let Some(to) = call.state.wait.sends_to.take() {
        worker.leave_queue(to, me);
    }
    if room.mark() == Some(BLOCK) {
        if to != me || timeout_ms == 0 {
            return Ok(TIMEOUT);
        }
        return Err(Fault::new("sending to oneself: the own mailbox is full, and would stay so"));
    }
    let message = call.state.take_scratch()?;
    let sent = match room {
        Room::Unlimited => worker.send(to, message),
        Room::Taken => worker.send_charged(to, message),
        Room::Full(mark) | Room::Heavy(mark) => {
            if mark == KILL {
                // The limit is filled in by who has it.
                let reason = match room {
                    Room::Heavy(_) => ExitReason::OutOfMemory { of: Shortage::Mailbox, limit: 0 },
                    _ => ExitReason::MessageLimit { limit: 0 },
                };
                call.state.node.ties.kill(worker, to, reason);
            }
            Err(message)
        }
    };
    if let Err(lost) = sent {
        Message::discard(lost, worker);
    }
    Ok(0)
}

fn tags<'a>(call: &Call<'a, '_>, tag_ptr: Ptr, tag_len: u32) -> Result<&'a [u8], Fault> {
    if tag_len > TAGS_MAX {
        return Err(Fault::new(format!("{tag_len} tags to wait for, at most {TAGS_MAX} can be")));
    }
    call.memory.slice(tag_ptr, tag_len * 8)
}

/// The first message that is wanted: the one that came with the spawn, or one of the mailbox.
fn next_message(
    call: &mut Call<'_, '_>,
    limit: usize,
    wanted: impl Fn(&Message) -> bool,
) -> Found<Message> {
    let state = &mut *call.state;
    if let Some(first) = state.first_message.take_if(|first| wanted(first)) {
        return Found::Message(first);
    }
    // Polled again, only what has come since, or was not looked at, can be new.
    let new = std::mem::replace(&mut state.wait.searched, true);
    call.worker.receive_some(state.me(), new, limit, wanted)
}
