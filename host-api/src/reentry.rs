//! Host functions that call the guest back, as `lunatic::trap::catch` does.
//!
//! Such a function is a poll. It says what it wants called and answers "pending"; the shim calls the
//! guest *on the process's own stack*, below the frames of the guest that called the host, and then
//! asks the function again, which finds the answer. So the host's function holds nothing while the
//! guest runs, and the guest may do there whatever it may do elsewhere: wait, be preempted, go on on
//! another worker, call a host function that calls it back, end.
//!
//! A trap ends the process unless it happens inside of a *catching* call: then it ends that call
//! (`lunatic_engine::CatchPoint`). What counts as a trap are faults of compiled code, of builtins and
//! of host functions. The end of a process by its own will (`proc_exit`), a kill, and a bug of ours
//! are not caught.

use std::fmt;
use std::ptr::NonNull;
use std::task::Poll;

use lunatic_engine::{BoundCall, CatchPoint, RawValue, TrapCode, Type, VmCtx, signals};
use lunatic_scheduler::Process;

use crate::bind::{Call, Fault};
use crate::held;
use crate::jobs::Job;
use crate::memory::Ptr;
use crate::process::{ProcessState, raise};

/// What a call back into the guest may use of the process's stack before the guest's code runs, and
/// behind it: some times what it does use, and a part of the smallest stack. If there is less, the
/// stack has overflowed before anything is begun: in between, the point where a trap stops is known
/// and not yet there, or no longer.
const VISIT_ROOM: usize = 8 * 1024;

/// What the guest exports for us: makes room for so many bytes, and answers where.
const ALLOCATE: &str = "lunatic_alloc";

/// Gifts that may wait for room at once, each for a call inside of the one before. By feel: no guest
/// wants more than one.
const GIVEN_MAX: usize = 4;

/// What a process has while a call of its own is away: on a thread that may block, or back in the
/// guest. Most processes never have any: they carry one word.
#[derive(Debug, Default)]
pub(crate) struct Away(Option<Box<Parts>>);

#[derive(Debug, Default)]
struct Parts {
    job: Option<Job>,
    /// What the shim is to call.
    wanted: Option<Wanted>,
    /// What the guest answered to the last call; the inner one is `None` if it trapped.
    answer: Option<Option<i32>>,
    catching: Innermost,
    /// What is to be copied to where the guest makes room for it: the innermost call's last.
    given: Vec<Given>,
}

/// Bytes that the guest is making room for.
#[derive(Debug)]
struct Given(Vec<u8>);

impl Given {
    fn new(bytes: Vec<u8>) -> Self {
        held::add(bytes.capacity());
        Self(bytes)
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        held::free(std::mem::take(&mut self.0));
    }
}

/// A function of the guest's.
#[derive(Debug, Clone, Copy)]
enum Named<'a> {
    Exported(&'a str),
    InTable(u32),
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exported(name) => write!(f, "the exported function \"{name}\""),
            Self::InTable(place) => write!(f, "the function at {place} of the table"),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Wanted {
    function: BoundCall,
    args: [i32; 2],
    catching: bool,
}

/// The innermost catching call of a process, on its own stack.
#[derive(Debug, Default, Clone, Copy)]
struct Innermost(Option<NonNull<CatchPoint>>);

// SAFETY: the address of a point on the process's own stack, which moves between threads with it.
unsafe impl Send for Innermost {}

impl Away {
    fn parts(&mut self) -> &mut Parts {
        self.0.get_or_insert_default()
    }

    pub(crate) fn job(&self) -> Option<&Job> {
        self.0.as_ref()?.job.as_ref()
    }

    pub(crate) fn set_job(&mut self, job: Job) {
        self.parts().job = Some(job);
    }

    pub(crate) fn clear_job(&mut self) {
        if let Some(parts) = &mut self.0 {
            parts.job = None;
        }
    }

    /// Whether the call that answered "pending" wants the guest called.
    pub(crate) fn wants_guest(&self) -> bool {
        self.0.as_ref().is_some_and(|parts| parts.wanted.is_some())
    }

    /// Where a trap of this process stops, if not at its end.
    pub(crate) fn innermost(&self) -> Option<NonNull<CatchPoint>> {
        self.0.as_ref()?.catching.0
    }
}

impl Call<'_, '_> {
    /// What the guest answered to [`Self::call_guest`], if it has just been called: `None` inside if
    /// it trapped.
    pub(crate) fn guest_answer(&mut self) -> Option<Option<i32>> {
        self.state.away.0.as_mut()?.answer.take()
    }

    /// Whether the guest has just been called, by this host function.
    pub(crate) fn was_away(&self) -> bool {
        self.state.away.0.as_ref().is_some_and(|parts| parts.answer.is_some())
    }

    /// Has the exported function `name` called and this host function asked again, which must then
    /// begin with [`Self::guest_answer`]. The function takes as many numbers and answers one. Traps
    /// that happen there are caught, or not.
    pub(crate) fn call_guest<T>(
        &mut self,
        name: &str,
        args: &[i32],
        catching: bool,
    ) -> Poll<Result<T, Fault>> {
        self.call_function(Named::Exported(name), args, catching)
    }

    fn call_function<T>(
        &mut self,
        named: Named<'_>,
        args: &[i32],
        catching: bool,
    ) -> Poll<Result<T, Fault>> {
        let found = match named {
            Named::Exported(name) => self.state.export(name),
            Named::InTable(place) => self.state.table_function(place),
        };
        let Some((function, ty)) = found else {
            return Poll::Ready(Err(Fault::new(match named {
                Named::Exported(name) => {
                    format!("the module exports no function \"{name}\", which this call needs")
                }
                Named::InTable(place) => {
                    format!(
                        "the module's table holds no function at {place}, which this call needs"
                    )
                }
            })));
        };
        let is_number = |ty: &Type| *ty == Type::I32;
        if ty.params().len() != args.len()
            || !ty.params().iter().all(is_number)
            || *ty.results() != [Type::I32]
        {
            return Poll::Ready(Err(Fault::new(format!(
                "{named} has the type {ty}, this call needs {} parameters and a result of the type \
                 i32",
                args.len()
            ))));
        }
        let mut two = [0; 2];
        two[..args.len()].copy_from_slice(args);
        self.state.away.parts().wanted = Some(Wanted { function, args: two, catching });
        Poll::Pending
    }
}

/// Giving the guest bytes whose number it does not know before.
impl Call<'_, '_> {
    /// Answers the address of bytes that `make` makes, once; their number is written to `len_ptr`. The
    /// guest is called for the room: its exported function `lunatic_alloc(bytes)` answers the address.
    pub(crate) fn give(
        &mut self,
        len_ptr: Ptr,
        make: impl FnOnce(&mut Self) -> Result<Vec<u8>, Fault>,
    ) -> Poll<Result<u32, Fault>> {
        let given = self.give_by(Named::Exported(ALLOCATE), len_ptr, make);
        given.map(|given| {
            let (at, len) = given?;
            self.memory.write_u32(len_ptr, len)?;
            Ok(at.0)
        })
    }

    /// The same by a function of the module's table. Answers how many bytes that are; their address is
    /// written to `address_ptr`.
    pub(crate) fn give_by_table(
        &mut self,
        place: u32,
        address_ptr: Ptr,
        make: impl FnOnce(&mut Self) -> Result<Vec<u8>, Fault>,
    ) -> Poll<Result<u32, Fault>> {
        let given = self.give_by(Named::InTable(place), address_ptr, make);
        given.map(|given| {
            let (at, len) = given?;
            self.memory.write_u32(address_ptr, at.0)?;
            Ok(len)
        })
    }

    /// Where the bytes are now, and how many. `note_ptr` is where the one or the other will be written.
    fn give_by(
        &mut self,
        allocate: Named<'_>,
        note_ptr: Ptr,
        make: impl FnOnce(&mut Self) -> Result<Vec<u8>, Fault>,
    ) -> Poll<Result<(Ptr, u32), Fault>> {
        let Some(room) = self.guest_answer() else {
            return match self.prepare_gift(allocate, note_ptr, make) {
                Ok(len) => self.call_function(allocate, &[len], false),
                Err(fault) => Poll::Ready(Err(fault)),
            };
        };
        let given =
            self.state.away.parts().given.pop().expect("prepared before the guest was called");
        Poll::Ready(self.copy_gift(allocate, room.expect("nothing is caught here"), &given.0))
    }

    fn prepare_gift(
        &mut self,
        allocate: Named<'_>,
        note_ptr: Ptr,
        make: impl FnOnce(&mut Self) -> Result<Vec<u8>, Fault>,
    ) -> Result<i32, Fault> {
        if self.state.away.parts().given.len() >= GIVEN_MAX {
            return Err(Fault::new(format!(
                "{allocate} makes calls that need it themselves, {GIVEN_MAX} inside of one another, \
                 which is the most"
            )));
        }
        self.memory.slice_mut(note_ptr, 4)?;
        let bytes = make(self)?;
        let len = i32::try_from(bytes.len())
            .map_err(|_| Fault::new(format!("{} bytes are too many for a guest", bytes.len())))?;
        self.state.away.parts().given.push(Given::new(bytes));
        Ok(len)
    }

    fn copy_gift(
        &mut self,
        allocate: Named<'_>,
        room: i32,
        bytes: &[u8],
    ) -> Result<(Ptr, u32), Fault> {
        let at = Ptr(room.cast_unsigned());
        if at == Ptr(0) && !bytes.is_empty() {
            return Err(Fault::new(format!(
                "{allocate} has no room for {} bytes: it answered 0",
                bytes.len()
            )));
        }
        self.memory.write(at, bytes)?;
        Ok((at, u32::try_from(bytes.len()).expect("an i32 before")))
    }
}

/// Calls what the process's host function wants called, and leaves the answer for it. On the
/// process's own stack; owns nothing while the guest runs.
///
/// # Safety
/// The process runs here, inside a host function that answered "pending" and wants this; `vmctx` is
/// the context of its instance.
#[cold]
#[inline(never)]
pub(crate) unsafe fn visit_guest(process: Process<ProcessState>, vmctx: VmCtx) {
    let point = CatchPoint::default();
    if (&raw const point) as usize <= process.stack().start + VISIT_ROOM {
        // SAFETY: the owner of the instance is its process's state; nothing here owns anything.
        unsafe { raise(process.program().cast(), vmctx, TrapCode::StackOverflow) }
    }
    let (wanted, outer, given) = process.on_worker(|_, state| {
        let parts = state.away.parts();
        let wanted = parts.wanted.take().expect("the shim asked before");
        let outer = parts.catching;
        if wanted.catching {
            parts.catching = Innermost(Some(NonNull::from(&point)));
        }
        (wanted, outer, parts.given.len())
    });
    let mut values = wanted.args.map(|arg| RawValue { i32: arg });
    let returned = if wanted.catching {
        // SAFETY: the instance lives as long as the process; this is its fiber, and nothing on its
        // stack needs dropping; the types were checked. The point was made known above and is taken
        // back below, and all who handle traps of this fiber ask for it.
        unsafe { wanted.function.call_catching(&mut values, &point) }
    } else {
        // SAFETY: as above.
        unsafe { wanted.function.call_back(&mut values) };
        true
    };
    // SAFETY: the function has one result, of this type; all bit patterns are valid.
    let value = unsafe { values[0].i32 };
    process.on_worker(|_, state| {
        let parts = state.away.parts();
        parts.catching = outer;
        parts.answer = Some(returned.then_some(value));
        if !returned {
            parts.job = None;
            parts.wanted = None;
            parts.given.truncate(given);
            // If it came by a signal. This fiber has not left its thread since.
            let _caught = signals::take_fault();
        }
    });
}

/// Goes to the innermost catching call of the process, if there is one.
///
/// # Safety
/// The process runs here, on its own stack, and nothing between here and the code of its guest owns
/// anything.
pub(crate) unsafe fn resume_if_caught(process: Process<ProcessState>) {
    // SAFETY: the state of the running process, which nobody else refers to now.
    let innermost = unsafe { &*process.program() }.away.innermost();
    if let Some(point) = innermost {
        // SAFETY: `visit_guest` below us on this stack made it and has not returned.
        let point = unsafe { point.as_ref() };
        // SAFETY: it is the innermost; the rest is the caller's promise.
        unsafe { point.resume() }
    }
}
