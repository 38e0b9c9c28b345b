//! The scratch message, and the mailbox that messages come from: a part of [`abi`](super), under its rules.

use super::Status;
use std::mem::MaybeUninit;

mod host {
    super::super::imports! { "lunatic::message";
        create_data(tag: i64, capacity: u64);
        write_data(data: *const u8, len: usize) -> u32;
        read_data(data: *mut u8, len: usize) -> u32;
        data_size() -> u64;
        get_tag() -> i64;
        send(process: u64) -> i32;
        send_timeout(process: u64, timeout_ms: u64) -> i32;
        receive(tags: *const i64, tag_count: usize, timeout_ms: u64) -> i32;
        push_channel(handle: u64) -> u64;
        take_channel(index: u64) -> u64;
        attachment_kind(index: u64) -> u32;
        get_exit_reason(record: *mut u8);
        get_exit_text(text: *mut u8, len: usize) -> u32;
    }
}

/// What `receive` answers for a notice.
pub(crate) const LINK_DIED: i32 = 1;
pub(crate) const PROCESS_DIED: i32 = 2;

/// Bytes that are fetched of a reason's words.
const TEXT_BYTES: usize = 2048;

pub(crate) fn message_create(tag: i64, capacity: usize) {
    // SAFETY: takes no pointer.
    unsafe { host::create_data(tag, capacity as u64) }
}

/// Appends and gives the number of bytes appended: fewer than asked when the limit on message size is reached.
pub(crate) fn message_write(bytes: &[u8]) -> usize {
    // SAFETY: the pointer is readable for the length given; the runtime copies.
    unsafe { host::write_data(bytes.as_ptr(), bytes.len()) as usize }
}

/// Reads on from the message's cursor and gives the number of bytes read: fewer than asked at the end.
pub(crate) fn message_read(bytes: &mut [u8]) -> usize {
    // SAFETY: the pointer is writable for the length given.
    unsafe { host::read_data(bytes.as_mut_ptr(), bytes.len()) as usize }
}

/// Appends the next `count` bytes of the message to `bytes`, without clearing the room for them first.
pub(crate) fn message_read_append(bytes: &mut Vec<u8>, count: usize) {
    bytes.reserve_exact(count);
    let old = bytes.len();
    let room: &mut [MaybeUninit<u8>] = &mut bytes.spare_capacity_mut()[..count];
    // SAFETY: the pointer is writable for `count` bytes; the runtime only writes there.
    let read = unsafe { host::read_data(room.as_mut_ptr().cast(), count) as usize };
    assert!(read <= count, "the runtime read {read} bytes of a message where {count} were asked");
    // SAFETY: the capacity holds `old + count` bytes, and the runtime has initialised the first `read` behind `old`.
    unsafe { bytes.set_len(old + read) }
}

pub(crate) fn message_size() -> usize {
    // SAFETY: takes no pointer.
    let size = unsafe { host::data_size() };
    usize::try_from(size).expect("a message the runtime lets in fits this memory's address space")
}

pub(crate) fn message_send(process: u64) {
    // SAFETY: takes no pointer. The result is always 0: a message to a process that has ended is dropped.
    unsafe { host::send(process) };
}

/// The same, for so long; whether it was sent. If not, it is still the scratch message.
pub(crate) fn message_send_within(process: u64, timeout_ms: u64) -> bool {
    // SAFETY: takes no pointer.
    unsafe { host::send_timeout(process, timeout_ms) == 0 }
}

/// Waits for a message with one of `tags`, or with any tag if there are none.
pub(crate) fn mailbox_receive(tags: &[i64], timeout_ms: u64) -> Status {
    // SAFETY: the pointer is readable for `tags.len()` 64-bit numbers.
    Status::of_mailbox(unsafe { host::receive(tags.as_ptr(), tags.len(), timeout_ms) })
}

/// Puts a new reference to the channel into the scratch message; gives its index there.
pub(crate) fn message_push_channel(handle: u64) -> u64 {
    // SAFETY: takes no pointer.
    unsafe { host::push_channel(handle) }
}

/// Takes the channel at `index` out of the scratch message; gives this process's handle for it.
pub(crate) fn message_take_channel(index: u64) -> u64 {
    // SAFETY: takes no pointer.
    unsafe { host::take_channel(index) }
}

/// What lies at `index` of the scratch message, as a number of the runtime's; 0 is nothing.
pub(crate) fn message_attachment_kind(index: u64) -> u32 {
    // SAFETY: takes no pointer.
    unsafe { host::attachment_kind(index) }
}

pub(crate) fn message_tag() -> i64 {
    // SAFETY: takes no pointer.
    unsafe { host::get_tag() }
}

/// What the runtime tells about an end, as its documentation of `get_exit_reason` has it.
pub(crate) struct ExitRecord {
    pub(crate) kind: u32,
    pub(crate) first_kind: u32,
    pub(crate) process: u64,
    pub(crate) first: u64,
    pub(crate) value: u64,
    pub(crate) link: u64,
}

/// Of the notice that is the scratch message.
pub(crate) fn exit_record() -> ExitRecord {
    let mut bytes = [0u8; 40];
    // SAFETY: the runtime writes 40 bytes, and there are so many.
    unsafe { host::get_exit_reason(bytes.as_mut_ptr()) };
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    ExitRecord {
        kind: u32_at(0),
        first_kind: u32_at(4),
        process: u64_at(8),
        first: u64_at(16),
        value: u64_at(24),
        link: u64_at(32),
    }
}

/// The reason in words, of the notice that is the scratch message; very long ones are cut.
pub(crate) fn exit_text() -> String {
    let mut text = vec![0; TEXT_BYTES];
    // SAFETY: the pointer is writable for the length given.
    let len = unsafe { host::get_exit_text(text.as_mut_ptr(), text.len()) };
    text.truncate(len as usize);
    String::from_utf8_lossy(&text).into_owned()
}
