//! Arguments and environment, as the process's configuration has them.

use super::errno::Errno;
use crate::bind::Call;
use crate::memory::{GuestMemory, Ptr};

pub(super) fn args_sizes_get(call: &mut Call<'_, '_>, count: Ptr, bytes: Ptr) -> Result<(), Errno> {
    let config = call.state.config.clone();
    write_sizes(&mut call.memory, config.args.iter().map(Vec::len), count, bytes)
}

pub(super) fn args_get(call: &mut Call<'_, '_>, list: Ptr, text: Ptr) -> Result<(), Errno> {
    let config = call.state.config.clone();
    write_texts(&mut call.memory, config.args.iter().map(|arg| [arg, &b""[..], b""]), list, text)
}

pub(super) fn environ_sizes_get(
    call: &mut Call<'_, '_>,
    count: Ptr,
    bytes: Ptr,
) -> Result<(), Errno> {
    let config = call.state.config.clone();
    let lens = config.env.iter().map(|(key, value)| key.len() + 1 + value.len());
    write_sizes(&mut call.memory, lens, count, bytes)
}

pub(super) fn environ_get(call: &mut Call<'_, '_>, list: Ptr, text: Ptr) -> Result<(), Errno> {
    let config = call.state.config.clone();
    let texts = config.env.iter().map(|(key, value)| [key, &b"="[..], value]);
    write_texts(&mut call.memory, texts, list, text)
}

fn write_sizes(
    memory: &mut GuestMemory<'_>,
    lens: impl ExactSizeIterator<Item = usize>,
    count_at: Ptr,
    bytes_at: Ptr,
) -> Result<(), Errno> {
    let count = u32::try_from(lens.len()).map_err(|_| Errno::Overflow)?;
    let bytes: usize = lens.map(|len| len + 1).sum();
    let bytes = u32::try_from(bytes).map_err(|_| Errno::Overflow)?;
    memory.slice_mut(bytes_at, 4)?;
    memory.write_u32(count_at, count)?;
    memory.write_u32(bytes_at, bytes)?;
    Ok(())
}

/// Each text is given in parts. Texts and list are written as far as they fit the memory.
fn write_texts<'t>(
    memory: &mut GuestMemory<'_>,
    texts: impl Iterator<Item = [&'t [u8]; 3]>,
    mut list: Ptr,
    mut at: Ptr,
) -> Result<(), Errno> {
    for text in texts {
        memory.write_u32(list, at.0)?;
        list = list.offset(4)?;
        for part in text.into_iter().chain([&b"\0"[..]]) {
            memory.write(at, part)?;
            at = at.offset(u32::try_from(part.len()).map_err(|_| Errno::Overflow)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_lie_one_after_the_other_with_terminators() {
        let mut bytes = [0xff; 32];
        let mut memory = GuestMemory::over(&mut bytes);
        let texts: [[&[u8]; 3]; 2] = [[b"a", b"=", b"\xff\xfe"], [b"", b"=", b""]];
        write_texts(&mut memory, texts.into_iter(), Ptr(0), Ptr(8)).expect("it fits");
        assert_eq!(&bytes[..15], b"\x08\0\0\0\x0d\0\0\0a=\xff\xfe\0=\0");
        assert_eq!(bytes[15], 0xff);
    }

    #[test]
    fn no_room_is_an_error() {
        let mut bytes = [0; 16];
        let mut memory = GuestMemory::over(&mut bytes);
        let texts: [[&[u8]; 3]; 1] = [[b"ab", b"", b""]];
        for (list, text) in [(16, 0), (13, 0), (u32::MAX, 0), (0, 14), (0, u32::MAX)] {
            let result = write_texts(&mut memory, texts.into_iter(), Ptr(list), Ptr(text));
            assert_eq!(result, Err(Errno::Fault), "list {list}, text {text}");
        }
    }
}
