//! Memories of both kinds, one tenant after the other.

use std::collections::HashMap;

use super::*;
use crate::forms::MemoryForm;
use crate::os::{self, OS_PAGE_BYTES, refusals};
use crate::signals;

#[allow(clippy::mut_from_ref, reason = "the slot is an address that only this test uses")]
fn bytes(slot: &MemorySlot, len: usize) -> &mut [u8] {
    // SAFETY: the test owns the slot, which is mapped and at least `len` bytes long.
    unsafe { std::slice::from_raw_parts_mut(slot.base(), len) }
}

fn pool() -> MemoryPool {
    signals::install(|| None);
    MemoryPool::default()
}

const KINDS: [MemoryForm; 2] = [MemoryForm::Dense, MemoryForm::Guarded];

fn new_memory(
    pool: &MemoryPool,
    kind: MemoryForm,
    bytes: usize,
    data: Option<&InitialData>,
) -> MemorySlot {
    match kind {
        MemoryForm::Dense => pool.allocate(bytes, data).expect("a slot"),
        MemoryForm::Guarded => pool.allocate_guarded(bytes, data).expect("a slot"),
    }
}

/// Data on pages 1 to 5, each page filled with its number.
fn data() -> InitialData {
    let page = |number| (number, Box::new([number as u8; OS_PAGE_BYTES]));
    InitialData::new((1..=5).map(page).collect::<HashMap<_, _>>())
}

fn expected(len: usize, data: bool) -> Vec<u8> {
    let byte = |at: usize| match at / OS_PAGE_BYTES {
        page @ 1..=5 if data => page as u8,
        _ => 0,
    };
    (0..len).map(byte).collect()
}

/// Whether the system itself can read this byte. It does not lift marks, so what is closed cannot be
/// read, and what is not touched yet need not be.
fn is_readable(address: usize) -> bool {
    let mut pipe = [0; 2];
    // SAFETY: the array has room for two descriptors.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0, "descriptors for a pipe");
    // SAFETY: the system checks the address.
    let written = unsafe { libc::write(pipe[1], address as *const libc::c_void, 1) };
    for end in pipe {
        // SAFETY: opened above, and used by nobody else.
        unsafe { libc::close(end) };
    }
    written == 1
}

/// Nothing beyond the end of a memory can be touched, as far as its code can reach there unchecked.
fn assert_closed(slot: &MemorySlot, len: usize) {
    let reach = slot.reach(len);
    let near =
        len.max(reach.start - slot.start())..reach.end.min(slot.start() + (4 << 20)) - slot.start();
    for at in near.step_by(OS_PAGE_BYTES) {
        assert!(!is_readable(slot.start() + at), "byte {at:#x} of a memory of {len:#x}");
    }
    if slot.is_guarded() {
        for at in [1 << 30, MEMORY_BYTES_MAX, (8 << 30) - 1, (8 << 30) + 14, reach.len() - 1] {
            assert!(!is_readable(slot.start() + at), "byte {at:#x} of a memory of {len:#x}");
        }
    } else {
        assert_eq!(reach.len(), fence_bytes());
    }
}

/// Tenants that touch few, many and all pages, one after the other, in slots with and without
/// books, with and without initial data: each finds a new memory, whichever pages it reads
/// first, and nothing behind it.
#[test]
fn every_tenant_finds_a_new_memory() {
    for kind in KINDS {
        for len in [PAGE_BYTES, 16 * PAGE_BYTES, 40 * PAGE_BYTES] {
            tenants_one_after_the_other(kind, len);
        }
    }
}

fn tenants_one_after_the_other(kind: MemoryForm, len: usize) {
    let pool = pool();
    let data = data();
    let mut base = None;
    for round in 0..60_usize {
        let with_data = round % 3 != 0;
        let mut slot = new_memory(&pool, kind, len, with_data.then_some(&data));
        assert_eq!(*base.get_or_insert(slot.start()), slot.start(), "the warm slot comes first");
        let pages = len / OS_PAGE_BYTES;
        let touched = [1, 3, 9, 15, 100, 2000][round % 6].min(pages);
        for step in 0..touched {
            let at = (step * 7 + round) % pages * OS_PAGE_BYTES + 9;
            let byte = &mut bytes(&slot, len)[at];
            assert_eq!(*byte, expected(at + 1, with_data)[at], "round {round}, {at}");
            *byte = 0xff;
        }
        assert_closed(&slot, len);
        let mut now = len;
        if round % 2 == 0 {
            // What a tenant gained is closed again for the next one.
            now = len + [1, 3, 30][round / 2 % 3] * PAGE_BYTES;
            pool.grow(&mut slot, len, now).expect("room");
            assert!(bytes(&slot, now)[len..].iter().all(|&byte| byte == 0));
            bytes(&slot, now)[now - 1] = 0xdd;
            assert_closed(&slot, now);
        }
        pool.release(slot, now);
        let slot = new_memory(&pool, kind, len, with_data.then_some(&data));
        assert_closed(&slot, len);
        assert!(bytes(&slot, len) == expected(len, with_data), "round {round} of {len}");
        bytes(&slot, len)[len - 1] = 0xee;
        pool.release(slot, len);
    }
}

#[test]
fn growing_keeps_contents_and_zeroes_the_rest() {
    for kind in KINDS {
        let pool = pool();
        let data = data();
        for _ in 0..3 {
            let mut slot = new_memory(&pool, kind, PAGE_BYTES, Some(&data));
            bytes(&slot, PAGE_BYTES)[PAGE_BYTES - 1] = 42;
            let mut old = PAGE_BYTES;
            for new in [2 * PAGE_BYTES, 40 * PAGE_BYTES, 300 * PAGE_BYTES] {
                pool.grow(&mut slot, old, new).expect("room");
                assert_closed(&slot, new);
                let now = bytes(&slot, new);
                assert_eq!(now[PAGE_BYTES - 1], 42);
                assert!(now[..PAGE_BYTES - 1] == expected(PAGE_BYTES - 1, true));
                assert!(now[PAGE_BYTES..].iter().all(|&byte| byte == 0));
                now[new - 1] = 1;
                now[new - 1] = 0;
                old = new;
            }
            pool.release(slot, old);
        }
    }
}

#[test]
fn what_nobody_needs_is_given_back_and_can_be_used_again() {
    for (kind, len) in KINDS.into_iter().flat_map(|k| [(k, PAGE_BYTES), (k, 40 * PAGE_BYTES)]) {
        let pool = pool();
        let data = data();
        let take = || new_memory(&pool, kind, len, Some(&data));
        let slots: Vec<_> = (0..20).map(|_| take()).collect();
        for slot in slots {
            bytes(&slot, len)[7] = 7;
            pool.release(slot, len);
        }
        pool.trim();
        let trimmed = pool.trim();
        assert!(trimmed >= 20 * len.min(2 << 20), "{trimmed}");
        assert_eq!(pool.trim(), 0, "everything is given back");
        let slots: Vec<_> = (0..20).map(|_| take()).collect();
        for slot in slots {
            assert_closed(&slot, len);
            assert!(bytes(&slot, len) == expected(len, true));
            pool.release(slot, len);
        }
    }
}

/// Data behind the pages that are placed by marks.
#[test]
fn data_beyond_the_window_are_there() {
    let page = |number: usize| (number, Box::new([number as u8; OS_PAGE_BYTES]));
    let data = InitialData::new([page(3), page(511), page(512), page(700)].into());
    for kind in KINDS {
        let pool = pool();
        for _ in 0..5 {
            let slot = new_memory(&pool, kind, 64 * PAGE_BYTES, Some(&data));
            for at in 0..1024 {
                let byte = &mut bytes(&slot, 64 * PAGE_BYTES)[at * OS_PAGE_BYTES];
                let expected = if matches!(at, 3 | 511 | 512 | 700) { at as u8 } else { 0 };
                assert_eq!(*byte, expected, "page {at}");
                *byte = 0x77;
            }
            pool.release(slot, 64 * PAGE_BYTES);
        }
    }
}

#[test]
fn guarded_memories_are_limited_and_come_back() {
    let pool = pool();
    assert!(pool.guarded_max() > 100, "{:?}", GuardedBudget::of_this_program());
    pool.limit_guarded(3);
    let take = || pool.allocate_guarded(PAGE_BYTES, None);
    let slots: Vec<_> = (0..3).map(|_| take().expect("room")).collect();
    take().expect_err("three are the limit");
    slots.into_iter().for_each(|slot| pool.release(slot, PAGE_BYTES));
    pool.release(take().expect("room again"), PAGE_BYTES);
}

#[test]
fn more_than_four_gib_is_refused() {
    let (pool, bytes) = (pool(), MEMORY_BYTES_MAX + 1);
    for result in [pool.allocate(bytes, None), pool.allocate_guarded(bytes, None)] {
        let error = result.expect_err("too large").to_string();
        assert!(error.contains("4 GiB"), "{error}");
    }
}

/// Whichever of its requests the system refuses, once and half done: who gets a memory has a new one, and
/// who does not get more has what it had; nobody touches anything behind its end.
#[test]
fn what_the_system_refuses_leaves_memories_new_and_closed() {
    // It is asked once, and must not be told that there are no marks.
    let _ = os::guards_pages();
    for kind in KINDS {
        for (len, tenants, touched) in [
            (PAGE_BYTES, 8, 12),
            (16 * PAGE_BYTES, 8, 200),
            (40 * PAGE_BYTES, 8, 30),
            // Enough for a slot that begins anew. They do not grow.
            (PAGE_BYTES, 110, 6),
        ] {
            for before in 0.. {
                refusals::refuse(before);
                tenants_who_are_refused(kind, len, tenants, touched);
                if !refusals::was_refused() {
                    eprintln!("{kind:?}, {len} bytes: {before} requests");
                    break;
                }
            }
            refusals::refuse(usize::MAX);
        }
    }
}

fn tenants_who_are_refused(kind: MemoryForm, len: usize, tenants: usize, touched: usize) {
    let pool = pool();
    let data = data();
    let mut refused = 0;
    // Closer to the end than `assert_closed` looks: what was half lifted, or half marked.
    let assert_closed = |slot: &MemorySlot, len: usize| {
        let pages = if slot.is_guarded() { 64 } else { fence_bytes() / OS_PAGE_BYTES };
        for page in 0..pages {
            let at = slot.start() + len + page * OS_PAGE_BYTES;
            assert!(!is_readable(at), "page {page} behind a memory of {len:#x}");
        }
    };
    for tenant in 0..tenants {
        let with_data = tenant % 3 != 0;
        let data = with_data.then_some(&data);
        let slot = refusals::meanwhile(|| match kind {
            MemoryForm::Dense => pool.allocate(len, data),
            MemoryForm::Guarded => pool.allocate_guarded(len, data),
        });
        let Ok(mut slot) = slot else {
            refused += 1;
            // Nobody asks again for a guarded one before this.
            pool.trim();
            continue;
        };
        assert_closed(&slot, len);
        let pages = len / OS_PAGE_BYTES;
        // Always the same ones, until a slot has begun anew: then those that were marked all the time.
        let (touched, shift) = if tenant < 102 { (touched, 0) } else { (pages, 1) };
        for page in (0..touched.min(pages)).map(|step| (step * 7 + shift) % pages) {
            let at = page * OS_PAGE_BYTES + 9;
            let byte = &mut bytes(&slot, len)[at];
            let new = if with_data && (1..=5).contains(&page) { page as u8 } else { 0 };
            assert_eq!(*byte, new, "tenant {tenant}, {at}");
            *byte = 0xff;
        }
        let mut now = len;
        for more in [1, 3].into_iter().filter(|_| tenants < 100 && tenant % 2 == 0) {
            let larger = now + more * PAGE_BYTES;
            if refusals::meanwhile(|| pool.grow(&mut slot, now, larger)).is_ok() {
                assert!(bytes(&slot, larger)[now..].iter().all(|&byte| byte == 0), "{tenant}");
                bytes(&slot, larger)[now..].fill(0xdd);
                now = larger;
            } else {
                refused += 1;
            }
            assert_closed(&slot, now);
        }
        refusals::meanwhile(|| pool.release(slot, now));
        if tenant % 5 == 4 && tenants < 100 {
            // Twice: what nobody needed between the two.
            refusals::meanwhile(|| (pool.trim(), pool.trim()));
        }
    }
    assert!(refused <= 1, "one refusal, and {refused} were told");
    let slot = new_memory(&pool, kind, len, Some(&data));
    assert_eq!(bytes(&slot, len), expected(len, true));
    assert_closed(&slot, len);
    pool.release(slot, len);
}
