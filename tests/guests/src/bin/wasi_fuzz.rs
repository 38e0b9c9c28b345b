//! Calls every function of WASI with arguments near all edges, at random; prints how many calls it
//! made. Whatever comes back is a number of the specification, and nothing but what was handed over
//! is written to: the rest of the memory keeps its pattern.
//!
//! Arguments: a seed and a number of calls.
#![allow(unsafe_code)]

macro_rules! imports {
    ($($name:ident($($arg:ident: $ty:ty),*);)*) => {
        #[link(wasm_import_module = "wasi_snapshot_preview1")]
        extern "C" {
            $(fn $name($($arg: $ty),*) -> u32;)*
        }

        const COUNT: u32 = [$(stringify!($name)),*].len() as u32;

        fn call(which: u32, random: &mut Random) -> (&'static str, u32) {
            let functions: [fn(&mut Random) -> (&'static str, u32); COUNT as usize] = [$(
                |random: &mut Random| {
                    $(let $arg = <$ty as Any>::any(random);)*
                    // SAFETY: not kept, that is the point: the host has to. What it may write to lies
                    // in the memory that `main` has set aside, or nowhere.
                    (stringify!($name), unsafe { $name($($arg),*) })
                }
            ),*];
            functions[which as usize](random)
        }
    };
}

imports! {
    args_get(a: P, b: P);
    args_sizes_get(a: P, b: P);
    environ_get(a: P, b: P);
    environ_sizes_get(a: P, b: P);
    clock_res_get(id: u32, a: P);
    clock_time_get(id: u32, precision: u64, a: P);
    fd_advise(fd: u32, offset: u64, len: u64, advice: u32);
    fd_allocate(fd: u32, offset: Small, len: Small);
    fd_close(fd: File);
    fd_datasync(fd: u32);
    fd_fdstat_get(fd: u32, a: P);
    fd_fdstat_set_flags(fd: u32, flags: u32);
    fd_fdstat_set_rights(fd: u32, a: u64, b: u64);
    fd_filestat_get(fd: u32, a: P);
    fd_filestat_set_size(fd: u32, size: Small);
    fd_filestat_set_times(fd: u32, a: u64, b: u64, flags: u32);
    fd_pread(fd: File, iovs: P, len: u32, offset: u64, n: P);
    fd_prestat_get(fd: u32, a: P);
    fd_prestat_dir_name(fd: u32, a: P, len: u32);
    fd_pwrite(fd: File, iovs: P, len: u32, offset: Small, n: P);
    fd_read(fd: File, iovs: P, len: u32, n: P);
    fd_readdir(fd: u32, a: P, len: u32, cookie: u64, n: P);
    fd_renumber(from: File, to: File);
    fd_seek(fd: u32, offset: u64, whence: u32, a: P);
    fd_sync(fd: u32);
    fd_tell(fd: u32, a: P);
    fd_write(fd: File, iovs: P, len: u32, n: P);
    path_create_directory(fd: u32, path: P, len: u32);
    path_filestat_get(fd: u32, flags: u32, path: P, len: u32, a: P);
    path_filestat_set_times(fd: u32, flags: u32, path: P, len: u32, a: u64, b: u64, f: u32);
    path_link(fd: u32, flags: u32, old: P, old_len: u32, to: u32, new: P, new_len: u32);
    path_open(
        fd: u32, dirflags: u32, path: P, len: u32, oflags: u32, base: u64, inheriting: u64,
        fdflags: u32, opened: P
    );
    path_readlink(fd: u32, path: P, len: u32, a: P, a_len: u32, n: P);
    path_remove_directory(fd: u32, path: P, len: u32);
    path_rename(fd: u32, old: P, old_len: u32, to: u32, new: P, new_len: u32);
    path_symlink(old: P, old_len: u32, fd: u32, new: P, new_len: u32);
    path_unlink_file(fd: u32, path: P, len: u32);
    proc_raise(signal: u32);
    random_get(a: P, len: u32);
    sock_accept(fd: u32, flags: u32, a: P);
    sock_recv(fd: u32, iovs: P, len: u32, flags: u32, n: P, out: P);
    sock_send(fd: u32, iovs: P, len: u32, flags: u32, n: P);
    sock_shutdown(fd: u32, how: u32);
}

/// An address: inside the memory that is set aside, around its end, or beyond all memory.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct P(u32);

/// A descriptor that is none of the standard streams: they would wait, or write.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct File(u32);

/// A place in a file that does not fill the disk, or one that no file has.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Small(u64);

struct Random {
    state: u64,
    base: u32,
}

impl Random {
    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

trait Any {
    fn any(random: &mut Random) -> Self;
}

impl Any for u32 {
    fn any(random: &mut Random) -> Self {
        match random.below(8) {
            0 => random.one_of(&[u32::MAX, u32::MAX - 1, 1 << 31, (1 << 31) - 1, 1 << 16]),
            1 => random.below(1025) as u32,
            _ => random.below(9) as u32,
        }
    }
}

impl Any for u64 {
    fn any(random: &mut Random) -> Self {
        match random.below(4) {
            0 => random.one_of(&[u64::MAX, 1 << 63, (1 << 63) - 1, 1 << 32, 1 << 62]),
            1 => random.next(),
            _ => random.below(100),
        }
    }
}

impl Any for P {
    fn any(random: &mut Random) -> Self {
        // The end of the memory, which a page of this size has.
        let end = memory::pages() as u64 * 65536;
        Self(match random.below(12) {
            0 => random.one_of(&[u32::MAX, u32::MAX - 3, 1 << 31]),
            1 => (end - random.below(40)) as u32,
            _ => random.base + random.below(u64::from(AREA - 8192)) as u32,
        })
    }
}

impl Any for File {
    fn any(random: &mut Random) -> Self {
        Self(random.one_of(&[3, 4, 5, 6, 7, 8, 9, 10, 11, 1000, u32::MAX]))
    }
}

impl Any for Small {
    fn any(random: &mut Random) -> Self {
        Self(match random.below(3) {
            0 => random.one_of(&[u64::MAX, 1 << 63, u64::MAX - 4096]),
            _ => random.below(10_000),
        })
    }
}

/// Bytes that are set aside.
const AREA: u32 = 64 * 1024;

/// Bytes on both sides of them that nobody may touch. A call that is told so may write behind the
/// area, so only what lies before it is compared.
const GUARD: usize = 64 * 1024;

fn main() {
    let number = |at: usize| -> u64 {
        let text = std::env::args().nth(at).expect("a seed and a count");
        text.parse().expect("a number")
    };
    let (seed, calls) = (number(1), number(2));
    let mut memory = vec![0xa5u8; GUARD + AREA as usize];
    // What is written behind the area lands here, whatever the lengths say: up to the end.
    let pages = memory::grow(4);
    assert!(pages != usize::MAX, "there is memory");
    let mut random = Random { state: seed | 1, base: 0 };
    // The area is the last page but three: behind it is nothing of this program's.
    random.base = pages as u32 * 65536;
    let mut made = 0;
    for _ in 0..calls {
        fill(&mut random);
        let which = random.below(u64::from(COUNT)) as u32;
        let (name, errno) = call(which, &mut random);
        assert!(errno <= 76, "{name} answered {errno}");
        made += 1;
    }
    assert!(memory.iter().all(|byte| *byte == 0xa5), "memory that was not handed over has changed");
    memory.clear();
    println!("{made} calls");
}

/// Makes it likely that the area holds names, and lists of buffers inside of it.
fn fill(random: &mut Random) {
    let base = random.base;
    for _ in 0..64 {
        let at = base + random.below(u64::from(AREA - 16)) as u32;
        match random.below(4) {
            0 => {
                let name =
                    random.one_of(&["a", "b", "a/b", "..", "/", ".", "a\0b", "\u{e4}", "a/"]);
                // SAFETY: the area was made by `memory.grow` and belongs to this function.
                unsafe { std::slice::from_raw_parts_mut(at as *mut u8, name.len()) }
                    .copy_from_slice(name.as_bytes());
            }
            _ => {
                let at = at & !7;
                let buffer = base + random.below(u64::from(AREA - 4096)) as u32;
                let len = random.below(2048) as u32;
                // SAFETY: as above, and it is aligned.
                unsafe { *(at as *mut [u32; 2]) = [buffer, len] };
            }
        }
    }
}

/// The memory of this program, in pages. On another machine, where this is only linted, there is none.
mod memory {
    #[cfg(target_arch = "wasm32")]
    pub fn pages() -> usize {
        core::arch::wasm32::memory_size(0)
    }

    #[cfg(target_arch = "wasm32")]
    pub fn grow(pages: usize) -> usize {
        core::arch::wasm32::memory_grow(0, pages)
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub fn pages() -> usize {
        0
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub fn grow(_pages: usize) -> usize {
        usize::MAX
    }
}
