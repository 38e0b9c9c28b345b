//! Exit thunks: the first instructions of everything that compiled code calls outside of itself.
//!
//! A thunk stores the caller's frame pointer and stack pointer (aarch64: return address) in the
//! instance's header and jumps to the Rust function with all arguments untouched. From these two
//! words a backtrace starts, so that traps raised by the host know the wasm function that called,
//! without unwinding tables and whatever the Rust compiler does with the frame pointer.

/// Defines a function `$thunk` that records the exit and goes on in `$body`.
///
/// `$body` must be an `extern "C"` function whose first parameter is a [`crate::VmCtx`].
#[macro_export]
macro_rules! exit_thunk {
    ($(#[$attribute:meta])* $visibility:vis $thunk:ident => $body:path) => {
        $(#[$attribute])*
        #[cfg(target_arch = "x86_64")]
        #[unsafe(naked)]
        $visibility unsafe extern "C" fn $thunk() {
            ::core::arch::naked_asm!(
                "mov [rdi - {frame}], rbp",
                "mov [rdi - {stack}], rsp",
                "jmp {body}",
                frame = const $crate::EXIT_FRAME_POINTER_BELOW,
                stack = const $crate::EXIT_STACK_POINTER_BELOW,
                body = sym $body,
            )
        }

        $(#[$attribute])*
        #[cfg(target_arch = "aarch64")]
        #[unsafe(naked)]
        $visibility unsafe extern "C" fn $thunk() {
            ::core::arch::naked_asm!(
                "stur x29, [x0, #-{frame}]",
                "stur x30, [x0, #-{stack}]",
                "b {body}",
                frame = const $crate::EXIT_FRAME_POINTER_BELOW,
                stack = const $crate::EXIT_STACK_POINTER_BELOW,
                body = sym $body,
            )
        }
    };
}
