//! The trampoline of preemption on aarch64. Changes as a whole: handler, trampoline and the kernel
//! know each other's layout.
//!
//! Operations: `position` reads an interrupted context; `redirect` writes a frame and points the
//! context at `trampoline`, which runs instead of the next instruction of the interrupted code.
//!
//! No instruction of aarch64 loads pc, sp and the flags at once, and a branch to an address needs a
//! register. None is free: the compiler keeps x16 and x17 for itself, but between two instructions
//! of one of its sequences (a table of jumps, a large constant, a far call) they are in use. What
//! does restore everything at once is the system call that ends a signal handler, `rt_sigreturn`:
//! it takes a frame at the stack pointer, as the kernel writes one for a handler. So `redirect`
//! copies what the kernel has saved for the handler to the fiber's stack, and the trampoline has
//! nothing to save and nothing to restore: it calls, and returns from a handler that, for all the
//! kernel knows, has just begun.
//!
//! ```text
//! top     -> | (0 to 15 bytes)                      |
//!            | (room that the frame's type has)     |
//!            | end of the records                   |
//!            | record: vectors, fpcr, fpsr          |
//!            | pc, sp, flags, x30 ... x0            |
//!            | signal mask, alternate stack         |   of the thread that returns
//!            | hooks                                |
//!            | interrupted pc                       |
//! entry   -> | interrupted x29                      | <- sp and x29: a frame like any other's
//! ```
//!
//! - On entry x0 and sp are the frame; x29 is, too, and everything else is free. At the system call
//!   sp is again what it was on entry.
//! - *Signal mask and alternate stack* belong to the thread, and `rt_sigreturn` sets both: so they
//!   are asked for just before, on the thread that goes on. It cannot change in between: no signal
//!   makes code leave that is no wasm function.
//! - *Vectors*: the record holds the 128 bits of each. Of the longer ones of SVE nothing is lost:
//!   the compiler does not use them, and who calls compiled code does not expect what is above
//!   the lower halves of eight of them to survive, as with any function.
//! - *What belongs to the thread* besides is not put back: thread pointer, ZA of SME. The rights of
//!   protection keys are (a kernel of 2025 makes up what a frame does not say); nobody here changes
//!   them.
//! - *No red zone*: below the stack pointer nothing is kept. The compiler's probe of a large frame
//!   writes there, and reads nothing.
//! - *Exclusive loads*: a signal makes the store that belongs to one fail, and its loop repeat.

use std::arch::naked_asm;
use std::mem::offset_of;
use std::ptr::{copy_nonoverlapping, null};

use super::PreemptHooks;

pub(super) const RED_ZONE_BYTES: usize = 0;

/// In the flags: the kind of branch that has just been taken, which decides what the instruction at
/// its target must be.
const BRANCH_KIND: u64 = 0b11 << 10;

/// `struct rt_sigframe`: what the kernel writes for a handler and `rt_sigreturn` takes.
#[repr(C, align(16))]
struct Frame {
    /// Frame pointer and return address. Here and below the kernel has `siginfo_t`, which it does
    /// not read again.
    caller: [u64; 2],
    hooks: &'static PreemptHooks,
    _info: [u64; 13],
    context: Context,
}

/// `struct ucontext`.
#[repr(C, align(16))]
struct Context {
    flags: u64,
    link: u64,
    alternate_stack: libc::stack_t,
    mask: u64,
    _unused: [u64; 15],
    /// `struct sigcontext`.
    machine: Machine,
}

#[repr(C, align(16))]
struct Machine {
    fault_address: u64,
    registers: [u64; 31],
    sp: u64,
    pc: u64,
    flags: u64,
    records: Records,
}

/// One after the other, each a multiple of 16 bytes long.
#[repr(C, align(16))]
struct Records([u8; RECORDS_BYTES]);

const RECORDS_BYTES: usize = 4096;

/// `struct _aarch64_ctx`: what each record begins with. Zeroes end them.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Head {
    magic: u32,
    bytes: u32,
}

/// fpsr, fpcr and 32 vectors.
const VECTORS: Head = Head { magic: 0x4650_8001, bytes: 528 };
/// por_el0: rights of protection keys.
const KEY_RIGHTS: Head = Head { magic: 0x504f_4530, bytes: 16 };
const END: Head = Head { magic: 0, bytes: 0 };

// What the kernel promises never to change; libc's type agrees as far as it goes.
const _: () = {
    assert!(size_of::<Frame>() == 4688);
    assert!(offset_of!(Frame, context) == 128);
    assert!(offset_of!(Context, mask) == offset_of!(libc::ucontext_t, uc_sigmask));
    assert!(offset_of!(Context, machine) == offset_of!(libc::ucontext_t, uc_mcontext));
    assert!(offset_of!(Machine, registers) == offset_of!(libc::mcontext_t, regs));
    assert!(offset_of!(Machine, flags) == offset_of!(libc::mcontext_t, pstate));
    assert!(offset_of!(Machine, records) == 288);
    assert!(size_of::<Context>() <= size_of::<libc::ucontext_t>());
};

/// Every aarch64 that runs Linux has what this needs.
pub(super) fn prepare() -> bool {
    true
}

/// Program counter and stack pointer.
pub(super) fn position(context: &libc::ucontext_t) -> (usize, usize) {
    let machine = &context.uc_mcontext;
    (machine.pc as usize, machine.sp as usize)
}

/// Makes the interrupted code call the trampoline. False if the kernel has not said what the vectors
/// hold.
///
/// # Safety
/// The context is that of a running handler; `ROOM` bytes below `top` are nobody's.
pub(super) unsafe fn redirect(
    context: &mut libc::ucontext_t,
    top: usize,
    hooks: &'static PreemptHooks,
) -> bool {
    let from = (&raw mut *context).cast::<Context>();
    // SAFETY: the kernel's, whose layout `Context` has.
    let records = unsafe { &(*from).machine.records };
    let Some(vectors) = records.find(VECTORS) else { return false };
    let key_rights = records.find(KEY_RIGHTS);
    let frame = ((top - size_of::<Frame>()) & !15) as *mut Frame;
    // SAFETY: aligned, and in the room that the caller has promised. The records that are copied
    // are as long as their heads say, and far shorter together than what is set aside for them.
    unsafe {
        let (to, before_records) =
            (&raw mut (*frame).context, offset_of!(Context, machine.records));
        copy_nonoverlapping(from.cast::<u8>(), to.cast::<u8>(), before_records);
        let mut record = (&raw mut (*to).machine.records).cast::<u8>();
        for from in [Some(vectors), key_rights].into_iter().flatten() {
            copy_nonoverlapping(from.as_ptr(), record, from.len());
            record = record.add(from.len());
        }
        record.cast::<Head>().write(END);
        (&raw mut (*frame).hooks).write(hooks);
    }
    // SAFETY: as above; `vectors` and `key_rights` are not used any more.
    let machine = unsafe { &mut (*from).machine };
    // SAFETY: as above.
    unsafe { (&raw mut (*frame).caller).write([machine.registers[29], machine.pc]) };
    machine.registers[0] = frame as u64;
    machine.registers[29] = frame as u64;
    machine.sp = frame as u64;
    machine.pc = trampoline as *const () as u64;
    machine.flags &= !BRANCH_KIND;
    true
}

impl Records {
    /// The record with this head.
    fn find(&self, wanted: Head) -> Option<&[u8]> {
        let mut rest = &self.0[..];
        loop {
            let head = rest.first_chunk().map(Head::read)?;
            if head == wanted {
                return rest.get(..head.bytes as usize);
            }
            // The end, and what would never end.
            if (head.bytes as usize) < size_of::<Head>() {
                return None;
            }
            rest = rest.get(head.bytes as usize..)?;
        }
    }
}

impl Head {
    fn read(bytes: &[u8; 8]) -> Self {
        let word = u64::from_le_bytes(*bytes);
        Self { magic: word as u32, bytes: (word >> 32) as u32 }
    }
}

/// Called by the trampoline.
///
/// # Safety
/// The frame is one that `redirect` has written.
unsafe extern "C" fn yield_now(frame: *mut Frame) {
    // SAFETY: by the contract; nobody else knows the frame.
    let frame = unsafe { &mut *frame };
    (frame.hooks.yield_now)();
    // Maybe on another thread.
    let Context { mask, alternate_stack, .. } = &mut frame.context;
    // SAFETY: the calls change nothing, and write words as large as these.
    unsafe {
        let ask = (libc::SIG_BLOCK, null::<u64>());
        libc::syscall(libc::SYS_rt_sigprocmask, ask.0, ask.1, &raw mut *mask, size_of::<u64>());
        libc::sigaltstack(null(), alternate_stack);
    }
}

/// See the head of the file.
#[unsafe(naked)]
unsafe extern "C" fn trampoline() {
    naked_asm!(
        "bl {yield_now}",
        "mov x8, #{rt_sigreturn}",
        "svc #0",
        "udf #0", // The kernel ends a program whose frame it does not like.
        yield_now = sym yield_now,
        rt_sigreturn = const libc::SYS_rt_sigreturn,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(heads: &[Head]) -> Box<Records> {
        let mut records = Box::new(Records([0xee; RECORDS_BYTES]));
        let mut at = 0;
        for (n, head) in heads.iter().enumerate() {
            let word = u64::from(head.magic) | u64::from(head.bytes) << 32;
            records.0[at..at + 8].copy_from_slice(&word.to_le_bytes());
            if head.bytes > 8 {
                records.0[at + 8] = n as u8;
            }
            at += head.bytes as usize;
        }
        records
    }

    #[test]
    fn records_are_found_wherever_they_are() {
        let other = Head { magic: 0x4550_5201, bytes: 16 };
        let some = records(&[other, VECTORS, other, KEY_RIGHTS, END]);
        assert_eq!(some.find(VECTORS).map(|found| (found[8], found.len())), Some((1, 528)));
        assert_eq!(some.find(KEY_RIGHTS).map(|found| (found[8], found.len())), Some((3, 16)));
    }

    #[test]
    fn a_record_that_is_not_there_is_not_found() {
        let other = Head { magic: 0x4550_5201, bytes: 16 };
        // Behind the end, too short to go on, longer than the room.
        assert!(records(&[other, END, VECTORS]).find(VECTORS).is_none());
        assert!(records(&[Head { magic: 7, bytes: 4 }]).find(VECTORS).is_none());
        assert!(records(&[Head { magic: 7, bytes: 8192 }]).find(VECTORS).is_none());
        let mut filled = vec![other; RECORDS_BYTES / 16 - 1];
        filled.push(VECTORS);
        assert!(records(&filled[..filled.len() - 1]).find(KEY_RIGHTS).is_none());
    }
}
