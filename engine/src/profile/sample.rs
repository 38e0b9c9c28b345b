//! One look at a worker: what its signal handler notes, in words without meaning yet.
//!
//! Which of the numbers are addresses of code is found out when they are named: the handler follows
//! frame pointers inside the live part of one stack, which always yields some numbers. Two walks are
//! noted, as the handler cannot know which is right: from the interrupted registers, for a worker
//! that was in compiled code; and from where compiled code was left last, for one in a host call.

use std::ops::Range;

use crate::abi::{POINTER_BYTES, VmCtx};
use crate::image::Callable;
use crate::instance::{EXIT_FRAME_POINTER_BELOW, EXIT_STACK_POINTER_BELOW};
use crate::traps::{MachinePoint, read_word};

/// Return addresses of one walk; of a deeper stack the outermost are left out.
pub(super) const FRAMES_MAX: usize = 128;

/// Words of a sample in front of its walks.
const SAMPLE_HEAD_WORDS: usize = 9;

/// Words of a sample at most.
pub(super) const SAMPLE_WORDS_MAX: usize = SAMPLE_HEAD_WORDS + 2 * FRAMES_MAX;

/// The process whose turn it is on the calling thread.
#[derive(Debug, Clone)]
pub struct Running {
    /// Its stack, without the guard.
    pub stack: Range<usize>,
    /// Whether it is itself what runs, and not the host on its behalf on another stack.
    pub on_fiber: bool,
    /// Its id.
    pub process: u64,
    /// The context of its instance.
    pub vmctx: VmCtx,
    /// Its entry, if it has a usable one.
    pub entry: Option<Callable>,
    /// The last argument that the entry was given, as a number.
    pub argument: u32,
}

/// One look at a worker, as the handler leaves it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample<'a> {
    pub(super) nanos: u64,
    /// Whether it had a process to run.
    pub(super) in_process: bool,
    pub(super) process: u64,
    pub(super) entry: usize,
    pub(super) argument: u32,
    /// Where it was; 0 if that was not on the process's stack.
    pub(super) pc: usize,
    /// The words at the stack pointer and above: a return address, if the frame was not yet set up.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "it is in a register"))]
    pub(super) near: [usize; 2],
    /// Return addresses from there on, innermost first.
    pub(super) here: &'a [u64],
    /// Return addresses from where compiled code was left last.
    pub(super) left: &'a [u64],
}

impl<'a> Sample<'a> {
    /// What a writer has written.
    pub(super) fn read(words: &'a [u64]) -> Self {
        let (head, walks) = words.split_at(SAMPLE_HEAD_WORDS);
        let (here, left) = walks.split_at(head[7] as usize);
        Self {
            nanos: head[0],
            in_process: head[1] != 0,
            process: head[8],
            entry: head[2] as usize,
            argument: head[3] as u32,
            pc: head[4] as usize,
            near: [head[5] as usize, head[6] as usize],
            here,
            left,
        }
    }
}

/// Puts a sample into words.
pub(super) struct SampleWriter {
    words: [u64; SAMPLE_WORDS_MAX],
    len: usize,
}

impl SampleWriter {
    /// For a worker that has no process to run.
    pub(super) fn new(nanos: u64) -> Self {
        let mut words = [0; SAMPLE_WORDS_MAX];
        words[0] = nanos;
        Self { words, len: SAMPLE_HEAD_WORDS }
    }

    pub(super) fn words(&self) -> &[u64] {
        &self.words[..self.len]
    }

    pub(super) fn push(&mut self, address: usize) {
        self.words[self.len] = address as u64;
        self.len += 1;
    }

    /// Says what runs: the process, and where it is.
    pub(super) fn describe(&mut self, running: &Running, at: MachinePoint) {
        self.words[1] = 1;
        self.words[8] = running.process;
        self.words[2] = running.entry.map_or(0, |entry| entry.code) as u64;
        self.words[3] = u64::from(running.argument);
        if running.on_fiber && running.stack.contains(&at.sp) {
            let live = at.sp..running.stack.end;
            self.words[4] = at.pc as u64;
            for (to, above) in [(5, 0), (6, POINTER_BYTES)] {
                self.words[to] = read_word(at.sp + above, &live).unwrap_or(0) as u64;
            }
            self.walk(at.frame_pointer, &live);
            self.words[7] = (self.len - SAMPLE_HEAD_WORDS) as u64;
        } else if running.on_fiber {
            return; // in another signal's handler: the stack may be anything
        }
        let (frame_pointer, exit) = exit_point(running.vmctx);
        #[cfg(target_arch = "x86_64")]
        if running.stack.contains(&exit) {
            let live = exit..running.stack.end;
            self.push(read_word(exit, &live).unwrap_or(0));
            self.walk(frame_pointer, &live);
        }
        #[cfg(target_arch = "aarch64")]
        if running.stack.contains(&frame_pointer) {
            self.push(exit);
            self.walk(frame_pointer, &(frame_pointer..running.stack.end));
        }
    }

    /// Notes the return addresses of a chain of frames in the live part of a stack.
    fn walk(&mut self, mut frame: usize, live: &Range<usize>) {
        for _ in 1..FRAMES_MAX {
            let (Some(previous), Some(return_address)) =
                (read_word(frame, live), read_word(frame.wrapping_add(POINTER_BYTES), live))
            else {
                return;
            };
            self.push(return_address);
            if previous <= frame {
                return;
            }
            frame = previous;
        }
    }
}

/// The words that exit thunks store: frame pointer, and stack pointer or return address.
fn exit_point(vmctx: VmCtx) -> (usize, usize) {
    let word = |below: usize| -> usize {
        let word = vmctx.cast::<u8>().wrapping_sub(below).cast::<usize>();
        // SAFETY: the header lies there, as the process lives; compiled code of this very thread
        // writes the word, whence the volatile read.
        unsafe { word.read_volatile() }
    };
    (word(EXIT_FRAME_POINTER_BELOW), word(EXIT_STACK_POINTER_BELOW))
}
