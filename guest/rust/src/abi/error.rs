//! Errors of the runtime, and its version: a part of [`abi`](super), under its rules.

mod host {
    super::super::imports! { "lunatic::error";
        string_size(id: u64) -> u32;
        code(id: u64) -> u32;
        to_string(id: u64, text: *mut u8);
        drop(id: u64);
    }
    super::super::imports! { "lunatic::version";
        major() -> u32;
        minor() -> u32;
        patch() -> u32;
    }
}

/// WASI's number for an error of the runtime; 0 if there is none.
pub(super) fn error_code(id: u64) -> u16 {
    // SAFETY: takes no pointer.
    unsafe { host::code(id) as u16 }
}

/// Fetches the text of an error of the runtime and frees the error.
pub(super) fn take_error_text(id: u64) -> String {
    // SAFETY: takes no pointer.
    let size = unsafe { host::string_size(id) };
    let mut text = vec![0; size as usize];
    // SAFETY: the buffer is writable for the size the runtime has just given, and nobody else uses this error.
    unsafe { host::to_string(id, text.as_mut_ptr()) };
    // SAFETY: takes no pointer; the id is not used again.
    unsafe { host::drop(id) };
    String::from_utf8_lossy(&text).into_owned()
}

pub(crate) fn version() -> (u32, u32, u32) {
    // SAFETY: takes no pointer.
    let major = unsafe { host::major() };
    // SAFETY: takes no pointer.
    let minor = unsafe { host::minor() };
    // SAFETY: takes no pointer.
    let patch = unsafe { host::patch() };
    (major, minor, patch)
}
