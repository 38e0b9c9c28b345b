//! Makes the calls of WASI that stdin asks for, one a line, and prints what they answer.
//!
//! A line is a function's name and its arguments: numbers, and texts in which `%` and two digits are
//! a byte and `@100` is a hundred times the letter a. Where memory is handed over, the program has
//! some. The answer is `0` and what came with it, or the error's number. `repeat N` in front makes the
//! call N times and prints each different answer once, with how often it came.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::io::BufRead;

#[link(wasm_import_module = "wasi_snapshot_preview1")]
extern "C" {
    fn fd_advise(fd: u32, offset: u64, len: u64, advice: u32) -> u32;
    fn fd_allocate(fd: u32, offset: u64, len: u64) -> u32;
    fn fd_close(fd: u32) -> u32;
    fn fd_datasync(fd: u32) -> u32;
    fn fd_fdstat_get(fd: u32, stat: *mut u8) -> u32;
    fn fd_fdstat_set_flags(fd: u32, flags: u32) -> u32;
    fn fd_fdstat_set_rights(fd: u32, base: u64, inheriting: u64) -> u32;
    fn fd_filestat_get(fd: u32, buf: *mut u8) -> u32;
    fn fd_filestat_set_size(fd: u32, size: u64) -> u32;
    fn fd_filestat_set_times(fd: u32, atim: u64, mtim: u64, flags: u32) -> u32;
    fn fd_pread(fd: u32, iovs: *const Iovec, len: u32, offset: u64, count: *mut u32) -> u32;
    fn fd_prestat_get(fd: u32, buf: *mut u8) -> u32;
    fn fd_prestat_dir_name(fd: u32, path: *mut u8, len: u32) -> u32;
    fn fd_pwrite(fd: u32, iovs: *const Iovec, len: u32, offset: u64, count: *mut u32) -> u32;
    fn fd_read(fd: u32, iovs: *const Iovec, len: u32, count: *mut u32) -> u32;
    fn fd_readdir(fd: u32, buf: *mut u8, len: u32, cookie: u64, used: *mut u32) -> u32;
    fn fd_renumber(fd: u32, to: u32) -> u32;
    fn fd_seek(fd: u32, offset: i64, whence: u32, new: *mut u64) -> u32;
    fn fd_sync(fd: u32) -> u32;
    fn fd_tell(fd: u32, offset: *mut u64) -> u32;
    fn fd_write(fd: u32, iovs: *const Iovec, len: u32, count: *mut u32) -> u32;
    fn path_create_directory(fd: u32, path: *const u8, len: u32) -> u32;
    fn path_filestat_get(fd: u32, flags: u32, path: *const u8, len: u32, buf: *mut u8) -> u32;
    fn path_filestat_set_times(
        fd: u32,
        flags: u32,
        path: *const u8,
        len: u32,
        atim: u64,
        mtim: u64,
        fst: u32,
    ) -> u32;
    fn path_link(
        fd: u32,
        flags: u32,
        old: *const u8,
        old_len: u32,
        to: u32,
        new: *const u8,
        new_len: u32,
    ) -> u32;
    fn path_open(
        fd: u32,
        dirflags: u32,
        path: *const u8,
        len: u32,
        oflags: u32,
        base: u64,
        inheriting: u64,
        fdflags: u32,
        opened: *mut u32,
    ) -> u32;
    fn path_readlink(
        fd: u32,
        path: *const u8,
        len: u32,
        buf: *mut u8,
        buf_len: u32,
        used: *mut u32,
    ) -> u32;
    fn path_remove_directory(fd: u32, path: *const u8, len: u32) -> u32;
    fn path_rename(
        fd: u32,
        old: *const u8,
        old_len: u32,
        to: u32,
        new: *const u8,
        new_len: u32,
    ) -> u32;
    fn path_symlink(old: *const u8, old_len: u32, fd: u32, new: *const u8, new_len: u32) -> u32;
    fn path_unlink_file(fd: u32, path: *const u8, len: u32) -> u32;
    fn poll_oneoff(input: *const u8, output: *mut u8, count: u32, events: *mut u32) -> u32;
    fn sock_accept(fd: u32, flags: u32, accepted: *mut u32) -> u32;
    fn sock_recv(
        fd: u32,
        iovs: *const Iovec,
        len: u32,
        flags: u32,
        count: *mut u32,
        out: *mut u16,
    ) -> u32;
    fn sock_send(fd: u32, iovs: *const Iovec, len: u32, flags: u32, count: *mut u32) -> u32;
    fn sock_shutdown(fd: u32, how: u32) -> u32;
}

#[repr(C)]
struct Iovec {
    at: *const u8,
    len: u32,
}

fn main() {
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("the test writes text");
        let mut words: Vec<&str> = line.split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        if words[0] == "repeat" {
            let times: u64 = words[1].parse().expect("a number");
            words.drain(..2);
            let mut answers = BTreeMap::new();
            for _ in 0..times {
                *answers.entry(call(&words)).or_insert(0) += 1;
            }
            let all: Vec<String> =
                answers.iter().map(|(answer, count)| format!("{count}x {answer}")).collect();
            println!("{}", all.join(", "));
        } else {
            println!("{}", call(&words));
        }
    }
}

fn bytes(word: &str) -> Vec<u8> {
    if let Some(count) = word.strip_prefix('@') {
        return vec![b'a'; count.parse().expect("a number")];
    }
    let mut result = Vec::new();
    let mut rest = word.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().expect("a digit"), rest.next().expect("a digit")];
            let digits = std::str::from_utf8(&digits).expect("digits");
            result.push(u8::from_str_radix(digits, 16).expect("digits"));
        } else {
            result.push(byte);
        }
    }
    result
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "%00")
}

fn u64_at(record: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(record[at..at + 8].try_into().expect("eight bytes"))
}

/// The type, the links, the size, and the last two times.
fn stat(errno: u32, record: &[u8]) -> (u32, String) {
    let [links, size, mtim] = [24, 32, 48].map(|at| u64_at(record, at));
    (errno, format!("type {} links {links} size {size} mtim {mtim}", record[16]))
}

fn call(words: &[&str]) -> String {
    let n = |at: usize| -> u64 {
        let word = words[at];
        word.parse().unwrap_or_else(|_| word.parse::<i64>().expect("a number") as u64)
    };
    let w = |at: usize| n(at) as u32;
    let text = |at: usize| bytes(words[at]);
    let (mut count, mut number) = (0u32, 0u64);
    // SAFETY: all pointers lead to memory of this function, with the lengths that go with them.
    let (errno, more) = unsafe {
        match words[0] {
            "fd_advise" => (fd_advise(w(1), n(2), n(3), w(4)), String::new()),
            "fd_allocate" => (fd_allocate(w(1), n(2), n(3)), String::new()),
            "fd_close" => (fd_close(w(1)), String::new()),
            "fd_datasync" => (fd_datasync(w(1)), String::new()),
            "fd_sync" => (fd_sync(w(1)), String::new()),
            "fd_fdstat_get" => {
                let mut record = [0; 24];
                let errno = fd_fdstat_get(w(1), record.as_mut_ptr());
                let flags = u16::from_le_bytes([record[2], record[3]]);
                (errno, format!("type {} flags {flags} rights {}", record[0], u64_at(&record, 8)))
            }
            "fd_fdstat_set_flags" => (fd_fdstat_set_flags(w(1), w(2)), String::new()),
            "fd_fdstat_set_rights" => (fd_fdstat_set_rights(w(1), n(2), n(3)), String::new()),
            "fd_filestat_get" => {
                let mut record = [0; 64];
                stat(fd_filestat_get(w(1), record.as_mut_ptr()), &record)
            }
            "fd_filestat_set_size" => (fd_filestat_set_size(w(1), n(2)), String::new()),
            "fd_filestat_set_times" => {
                (fd_filestat_set_times(w(1), n(2), n(3), w(4)), String::new())
            }
            "fd_read" | "fd_pread" | "sock_recv" => {
                let mut buffer = vec![0; n(2) as usize];
                let iovec = Iovec { at: buffer.as_mut_ptr(), len: buffer.len() as u32 };
                let mut out = 0u16;
                let errno = match words[0] {
                    "fd_read" => fd_read(w(1), &iovec, 1, &mut count),
                    "fd_pread" => fd_pread(w(1), &iovec, 1, n(3), &mut count),
                    _ => sock_recv(w(1), &iovec, 1, w(3), &mut count, &mut out),
                };
                (errno, shown(&buffer[..count as usize]))
            }
            "fd_write" | "fd_pwrite" | "sock_send" => {
                let data = text(2);
                let iovec = Iovec { at: data.as_ptr(), len: data.len() as u32 };
                let errno = match words[0] {
                    "fd_write" => fd_write(w(1), &iovec, 1, &mut count),
                    "fd_pwrite" => fd_pwrite(w(1), &iovec, 1, n(3), &mut count),
                    _ => sock_send(w(1), &iovec, 1, w(3), &mut count),
                };
                (errno, count.to_string())
            }
            "fd_prestat_get" => {
                let mut record = [0; 8];
                let errno = fd_prestat_get(w(1), record.as_mut_ptr());
                (errno, format!("{} {}", record[0], record[4]))
            }
            "fd_prestat_dir_name" => {
                let mut buffer = vec![b'.'; n(2) as usize];
                let errno = fd_prestat_dir_name(w(1), buffer.as_mut_ptr(), w(2));
                (errno, shown(&buffer))
            }
            "fd_readdir" => {
                let mut buffer = vec![0; n(2) as usize];
                let len = buffer.len() as u32;
                let errno = fd_readdir(w(1), buffer.as_mut_ptr(), len, n(3), &mut count);
                (errno, count.to_string())
            }
            "list" => list(w(1), w(2)),
            "fd_renumber" => (fd_renumber(w(1), w(2)), String::new()),
            "fd_seek" => (fd_seek(w(1), n(2) as i64, w(3), &mut number), number.to_string()),
            "fd_tell" => (fd_tell(w(1), &mut number), number.to_string()),
            "path_create_directory" => {
                let path = text(2);
                (path_create_directory(w(1), path.as_ptr(), path.len() as u32), String::new())
            }
            "path_remove_directory" => {
                let path = text(2);
                (path_remove_directory(w(1), path.as_ptr(), path.len() as u32), String::new())
            }
            "path_unlink_file" => {
                let path = text(2);
                (path_unlink_file(w(1), path.as_ptr(), path.len() as u32), String::new())
            }
            "path_filestat_get" => {
                let (path, mut record) = (text(3), [0; 64]);
                let (at, len) = (path.as_ptr(), path.len() as u32);
                stat(path_filestat_get(w(1), w(2), at, len, record.as_mut_ptr()), &record)
            }
            "path_filestat_set_times" => {
                let path = text(3);
                let (at, len) = (path.as_ptr(), path.len() as u32);
                let errno = path_filestat_set_times(w(1), w(2), at, len, n(4), n(5), w(6));
                (errno, String::new())
            }
            "path_link" => {
                let (old, new) = (text(3), text(5));
                let (old_at, old_len) = (old.as_ptr(), old.len() as u32);
                let (new_at, new_len) = (new.as_ptr(), new.len() as u32);
                (path_link(w(1), w(2), old_at, old_len, w(4), new_at, new_len), String::new())
            }
            // The directory, whether to follow, the path, oflags, rights, fdflags.
            "path_open" => {
                let path = text(3);
                let (at, len) = (path.as_ptr(), path.len() as u32);
                let errno = path_open(w(1), w(2), at, len, w(4), n(5), 0, w(6), &mut count);
                (errno, count.to_string())
            }
            // The same, and what is in it.
            "cat" => {
                let path = text(3);
                let (at, len) = (path.as_ptr(), path.len() as u32);
                match path_open(w(1), w(2), at, len, 0, 2, 0, 0, &mut count) {
                    0 => {
                        let fd = count;
                        let mut buffer = [0; 100];
                        let iovec = Iovec { at: buffer.as_mut_ptr(), len: 100 };
                        let errno = fd_read(fd, &iovec, 1, &mut count);
                        assert_eq!(fd_close(fd), 0);
                        (errno, shown(&buffer[..count as usize]))
                    }
                    errno => (errno, String::new()),
                }
            }
            "path_readlink" => {
                let (path, mut buffer) = (text(2), vec![0; n(3) as usize]);
                let (at, len) = (path.as_ptr(), path.len() as u32);
                let (to, to_len) = (buffer.as_mut_ptr(), buffer.len() as u32);
                let errno = path_readlink(w(1), at, len, to, to_len, &mut count);
                (errno, shown(&buffer[..count as usize]))
            }
            "path_rename" => {
                let (old, new) = (text(2), text(4));
                let (old_at, old_len) = (old.as_ptr(), old.len() as u32);
                let (new_at, new_len) = (new.as_ptr(), new.len() as u32);
                (path_rename(w(1), old_at, old_len, w(3), new_at, new_len), String::new())
            }
            "path_symlink" => {
                let (old, new) = (text(1), text(3));
                let (old_at, old_len) = (old.as_ptr(), old.len() as u32);
                let (new_at, new_len) = (new.as_ptr(), new.len() as u32);
                (path_symlink(old_at, old_len, w(2), new_at, new_len), String::new())
            }
            // For reading (1) or writing (2) of a descriptor, or a timeout in nanoseconds.
            "poll_oneoff" => {
                let (mut input, mut output) = ([0; 96], [0; 64]);
                input[8] = n(1) as u8;
                input[16..20].copy_from_slice(&w(2).to_le_bytes());
                input[48] = 1; // the userdata of the timeout
                input[48 + 16] = 1;
                input[48 + 24..48 + 32].copy_from_slice(&n(3).to_le_bytes());
                let errno = poll_oneoff(input.as_ptr(), output.as_mut_ptr(), 2, &mut count);
                let event = |at: usize| {
                    let (userdata, error) = (output[at], output[at + 8]);
                    let (bytes, flags) = (u64_at(&output, at + 16), output[at + 24]);
                    format!("[{userdata} error {error} bytes {bytes} flags {flags}]")
                };
                let events: Vec<String> = (0..count as usize).map(|at| event(at * 32)).collect();
                (errno, events.join(" "))
            }
            "sock_accept" => (sock_accept(w(1), w(2), &mut count), count.to_string()),
            "sock_shutdown" => (sock_shutdown(w(1), w(2)), String::new()),
            other => panic!("there is no {other:?}"),
        }
    };
    if errno == 0 {
        format!("0 {more}").trim_end().to_string()
    } else {
        errno.to_string()
    }
}

/// All names of a directory, sorted, read through a buffer of so many bytes.
fn list(fd: u32, len: u32) -> (u32, String) {
    let mut names = Vec::new();
    let mut buffer = vec![0u8; len as usize];
    let (mut cookie, mut used) = (0, 0);
    loop {
        // SAFETY: the buffer has this length.
        let errno = unsafe { fd_readdir(fd, buffer.as_mut_ptr(), len, cookie, &mut used) };
        if errno != 0 {
            return (errno, String::new());
        }
        let mut rest = &buffer[..used as usize];
        let mut whole = 0;
        while rest.len() >= 24 {
            let name_len = u32::from_le_bytes(rest[16..20].try_into().expect("four")) as usize;
            if rest.len() < 24 + name_len {
                break;
            }
            names.push(shown(&rest[24..24 + name_len]));
            cookie = u64_at(rest, 0);
            rest = &rest[24 + name_len..];
            whole += 1;
        }
        if used < len {
            names.sort();
            return (0, names.join(" "));
        }
        assert!(whole > 0, "the buffer is too small for a name");
    }
}
