//! Hardware faults of compiled code become traps; every other fault stays what it was.
//!
//! One handler serves SIGSEGV, SIGBUS, SIGILL and SIGFPE. It asks (through a hook) which fiber the
//! thread was running. If there is one, and the fault is either in compiled code with an entry in
//! its trap table or at an address in the fiber's guard pages, the thread leaves the fiber through
//! corosensei's trap handler: the interrupted context is pointed at it and the handler returns.
//! An access to linear memory has such an entry, but it is the guest's fault only if the address is
//! one that the access can mean: in what belongs to the process's guarded memory, on the fence of its
//! dense one, or the null page, where dense code looks for a memory without pages. A marked page inside
//! of the memory is none of these: the mark is lifted and the access repeated (`memory/pages.rs`).
//! The trap waits in a thread-local for the worker to pick it up ([`take_fault`]). Anything else is
//! a bug of ours (or of somebody else in this program) and goes to the handler that was installed
//! before: it must crash loudly.
//!
//! The handler allocates nothing. It takes two read locks (of hooks and wasmer's frame tables), which
//! is sound because a thread that is inside a fiber holds neither.

#![allow(clippy::multiple_unsafe_ops_per_block)] // Raw signal contexts: each line is one.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::OnceLock;

use corosensei::trap::TrapHandlerRegs;
use parking_lot::RwLock;
use wasmer::sys::vm::TrapCode;
use wasmer_compiler::FRAME_INFO;

use crate::os::OS_PAGE_BYTES;
use crate::traps::{MachinePoint, RawBacktrace, Trap, walk};
use crate::{code_map, memory, preempt};

/// The fiber that a thread is running, as its owner describes it.
pub struct FiberAtFault {
    /// Its usable stack.
    pub stack: Range<usize>,
    /// The pages below the stack that fault when touched.
    pub guard: Range<usize>,
    /// What its code may touch beyond its memory: [`crate::Instance::reach`].
    pub reach: Range<usize>,
    /// Handed to `redirect`.
    pub data: *mut (),
    /// Registers that make the thread leave the fiber; called at most once, in the signal handler.
    ///
    /// # Safety
    /// `data` must be the value beside it, and the fiber must still be the one that runs.
    pub redirect: unsafe fn(data: *mut ()) -> TrapHandlerRegs,
}

/// Tells which fiber runs on the calling thread. Must be async-signal-safe.
pub type FiberHook = fn() -> Option<FiberAtFault>;

const SIGNALS: [libc::c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// Room for the handler and for the largest register frame (AVX-512 takes about 3 KB).
const ALTERNATE_STACK_BYTES: usize = 64 * 1024;

static HOOKS: RwLock<Vec<FiberHook>> = RwLock::new(Vec::new());
static PREVIOUS: OnceLock<[libc::sigaction; 4]> = OnceLock::new();

thread_local! {
    /// Constant and without a destructor, so that the handler may touch it at any time.
    static FAULT: Cell<Option<Trap>> = const { Cell::new(None) };
    static ALTERNATE_STACK: Cell<Option<AlternateStack>> = const { Cell::new(None) };
}

/// Installs the handlers (once in a program) and adds `hook` to those that know fibers.
pub fn install(hook: FiberHook) {
    let mut hooks = HOOKS.write();
    if !hooks.iter().any(|known| std::ptr::fn_addr_eq(*known, hook)) {
        hooks.push(hook);
    }
    drop(hooks);
    PREVIOUS.get_or_init(|| SIGNALS.map(install_one));
}

fn install_one(signal: libc::c_int) -> libc::sigaction {
    let mut previous = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: both structures are valid for the call; the handler below has the signature that
    // SA_SIGINFO asks for and runs on the alternate stack, as the interrupted one may be full.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        action.sa_sigaction = on_fault as *const () as usize;
        libc::sigemptyset(&raw mut action.sa_mask);
        // A handler is no place to be preempted: the signal waits until it has returned.
        libc::sigaddset(&raw mut action.sa_mask, preempt::SIGNAL);
        let result = libc::sigaction(signal, &raw const action, previous.as_mut_ptr());
        assert_eq!(result, 0, "installing the handler of signal {signal} cannot fail");
        previous.assume_init()
    }
}

/// Gives the calling thread an alternate signal stack; without it a fault on a full fiber stack
/// would kill the program. Call it on each thread that runs fibers.
///
/// # Errors
/// When there is no memory for the stack.
pub fn prepare_thread() -> io::Result<()> {
    ALTERNATE_STACK.with(|slot| {
        let stack = slot.take().map_or_else(AlternateStack::install, Ok)?;
        slot.set(Some(stack));
        Ok(())
    })
}

/// The trap that made the last fiber of this thread end, if a fault did.
pub fn take_fault() -> Option<Trap> {
    FAULT.take()
}

/// An alternate signal stack, in use while it lives.
struct AlternateStack {
    memory: *mut libc::c_void,
}

impl AlternateStack {
    fn install() -> io::Result<Self> {
        // SAFETY: a fresh private mapping, handed to the kernel as this thread's signal stack; it
        // stays mapped until `drop` has withdrawn it.
        unsafe {
            let memory = libc::mmap(
                std::ptr::null_mut(),
                ALTERNATE_STACK_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if memory == libc::MAP_FAILED {
                let error = io::Error::last_os_error();
                return Err(io::Error::new(error.kind(), format!("no signal stack: {error}")));
            }
            let stack =
                libc::stack_t { ss_sp: memory, ss_flags: 0, ss_size: ALTERNATE_STACK_BYTES };
            let result = libc::sigaltstack(&raw const stack, std::ptr::null_mut());
            assert_eq!(result, 0, "a mapped 64 KiB signal stack is always accepted");
            Ok(Self { memory })
        }
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        // SAFETY: the stack is withdrawn before its memory goes; no handler runs on it, as this is
        // not a handler.
        unsafe {
            let mut off: libc::stack_t = std::mem::zeroed();
            off.ss_flags = libc::SS_DISABLE;
            libc::sigaltstack(&raw const off, std::ptr::null_mut());
            libc::munmap(self.memory, ALTERNATE_STACK_BYTES);
        }
    }
}

/// The signal handler.
unsafe extern "C" fn on_fault(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let errno = Errno::save();
    // SAFETY: the kernel passes valid pointers to the signal's information and context.
    let handled = unsafe { handle(signal, &*info, &mut *context.cast::<libc::ucontext_t>()) };
    if !handled {
        // SAFETY: forwards exactly what the kernel passed.
        unsafe { forward(signal, info, context) };
    }
    errno.restore();
}

/// The interrupted code's `errno`, which system calls of the handler may change.
struct Errno(libc::c_int);

impl Errno {
    fn save() -> Self {
        // SAFETY: the calling thread's own word.
        Self(unsafe { *libc::__errno_location() })
    }

    fn restore(self) {
        // SAFETY: as above.
        unsafe { *libc::__errno_location() = self.0 };
    }
}

fn handle(signal: libc::c_int, info: &libc::siginfo_t, context: &mut libc::ucontext_t) -> bool {
    // A signal sent by a process (kill) says nothing about this code.
    if info.si_code <= 0 {
        return false;
    }
    if signal == libc::SIGSEGV && memory::resolve_fault(fault_address(info)) {
        return true;
    }
    let Some(fiber) = HOOKS.read().iter().find_map(|hook| hook()) else { return false };
    let at = machine_point(context);
    let address =
        if matches!(signal, libc::SIGSEGV | libc::SIGBUS) { fault_address(info) } else { 0 };
    let Some(trap) = code_map::with(|code| {
        let code_trap = if fiber.guard.contains(&address) {
            TrapCode::StackOverflow
        } else if code.contains(at.pc) {
            let code = FRAME_INFO.read().ok()?.lookup_trap_info(at.pc)?.trap_code;
            if code == TrapCode::HeapAccessOutOfBounds && !is_the_guests(address, &fiber.reach) {
                return None;
            }
            code
        } else {
            return None;
        };
        let mut backtrace = RawBacktrace::EMPTY;
        walk(code, at, &fiber.stack, &mut backtrace);
        Some(Trap { code: code_trap, backtrace })
    }) else {
        return false;
    };
    FAULT.set(Some(trap));
    // SAFETY: `data` is the hook's own, and the interrupted fiber is still the running one.
    let registers = unsafe { (fiber.redirect)(fiber.data) };
    set_registers(context, &registers);
    true
}

/// Whether code that means to access its linear memory may fault at this address (0 if the signal
/// has none: a check that traps by an illegal instruction).
fn is_the_guests(address: usize, reach: &Range<usize>) -> bool {
    address < OS_PAGE_BYTES || reach.contains(&address)
}

/// Hands the signal to whoever had it before.
///
/// # Safety
/// The arguments must be those of a signal handler.
unsafe fn forward(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let index = SIGNALS.iter().position(|&known| known == signal);
    let Some(previous) = index.and_then(|index| PREVIOUS.get().map(|all| all[index])) else {
        return;
    };
    // SAFETY: `previous` came from sigaction; a SA_SIGINFO handler takes three arguments, another
    // one takes one. Default and ignore are put back, so that the fault repeats and kills.
    unsafe {
        match previous.sa_sigaction {
            libc::SIG_DFL | libc::SIG_IGN => {
                let mut default: libc::sigaction = std::mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &raw const default, std::ptr::null_mut());
            }
            handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
                let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                    std::mem::transmute(handler);
                handler(signal, info, context);
            }
            handler => {
                let handler: extern "C" fn(libc::c_int) = std::mem::transmute(handler);
                handler(signal);
            }
        }
    }
}

fn fault_address(info: &libc::siginfo_t) -> usize {
    // SAFETY: SIGSEGV and SIGBUS carry the address.
    unsafe { info.si_addr() as usize }
}

#[cfg(target_arch = "x86_64")]
pub(crate) fn machine_point(context: &libc::ucontext_t) -> MachinePoint {
    let registers = &context.uc_mcontext.gregs;
    let register = |index: libc::c_int| registers[index as usize] as usize;
    MachinePoint {
        pc: register(libc::REG_RIP),
        sp: register(libc::REG_RSP),
        frame_pointer: register(libc::REG_RBP),
    }
}

#[cfg(target_arch = "x86_64")]
fn set_registers(context: &mut libc::ucontext_t, new: &TrapHandlerRegs) {
    let registers = &mut context.uc_mcontext.gregs;
    let mut set = |index: libc::c_int, value: u64| registers[index as usize] = value.cast_signed();
    set(libc::REG_RIP, new.rip);
    set(libc::REG_RSP, new.rsp);
    set(libc::REG_RBP, new.rbp);
    set(libc::REG_RDI, new.rdi);
    set(libc::REG_RSI, new.rsi);
}

#[cfg(target_arch = "aarch64")]
pub(crate) fn machine_point(context: &libc::ucontext_t) -> MachinePoint {
    let registers = &context.uc_mcontext;
    MachinePoint {
        pc: registers.pc as usize,
        sp: registers.sp as usize,
        frame_pointer: registers.regs[29] as usize,
    }
}

#[cfg(target_arch = "aarch64")]
fn set_registers(context: &mut libc::ucontext_t, new: &TrapHandlerRegs) {
    let registers = &mut context.uc_mcontext;
    registers.pc = new.pc;
    registers.sp = new.sp;
    registers.regs[0] = new.x0;
    registers.regs[1] = new.x1;
    registers.regs[29] = new.x29;
    registers.regs[30] = new.lr;
}
