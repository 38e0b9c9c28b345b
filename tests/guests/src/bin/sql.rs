//! Makes the calls of `lunatic::sqlite` that stdin asks for, one a line, and prints what they answer.
//!
//! A line is a command and its arguments; the last one may have spaces, `\0` in it is a zero byte. `apart`
//! in front has a process of its own make the call and says whether it lived to tell. Errors of `exec` come
//! with what `last_error` says.
#![allow(unsafe_code)]

use lunatic::{Channel, Process};
use std::io::BufRead;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

#[link(wasm_import_module = "lunatic::sqlite")]
extern "C" {
    fn open(path: *const u8, len: usize, id: *mut u64) -> u64;
    fn query_prepare(connection: u64, sql: *const u8, len: usize) -> u64;
    fn execute(connection: u64, sql: *const u8, len: usize) -> u32;
    fn bind_value(statement: u64, data: *const u8, len: usize);
    fn sqlite3_changes(connection: u64) -> u32;
    fn statement_reset(statement: u64);
    fn sqlite3_step(statement: u64) -> u32;
    fn sqlite3_finalize(statement: u64);
    fn column_count(statement: u64) -> u32;
    fn last_error(connection: u64, len: *mut u32) -> *mut u8;
    fn read_column(statement: u64, column: u32, len: *mut u32) -> *mut u8;
    fn read_row(statement: u64, len: *mut u32) -> *mut u8;
    fn column_name(statement: u64, column: u32, len: *mut u32) -> *mut u8;
    fn column_names(statement: u64, len: *mut u32) -> *mut u8;
}

#[link(wasm_import_module = "lunatic::error")]
extern "C" {
    fn string_size(error: u64) -> u32;
    fn to_string(error: u64, text: *mut u8);
}

/// What `lunatic_alloc` does, and the statement that it does it with.
static MODE: AtomicU32 = AtomicU32::new(0);
static VICTIM: AtomicU32 = AtomicU32::new(0);

#[no_mangle]
extern "C" fn lunatic_alloc(len: u32) -> *mut u8 {
    let room = || std::mem::ManuallyDrop::new(Vec::<u8>::with_capacity(len as usize)).as_mut_ptr();
    let victim = u64::from(VICTIM.load(Relaxed));
    match MODE.load(Relaxed) {
        0 => room(),
        1 => panic!("no room today"),
        2 => std::ptr::null_mut(),
        3 => usize::MAX as *mut u8,
        // Just beyond what fits.
        4 => (memory_bytes() - len as usize + 1) as *mut u8,
        5 => {
            std::thread::sleep(Duration::from_millis(5));
            room()
        }
        // Again and again.
        6 => {
            let mut len = 0;
            unsafe { read_row(victim, &mut len) }
        }
        // Once more inside, then room for both.
        7 => {
            MODE.store(0, Relaxed);
            println!("inside: {}", row(victim));
            unsafe { sqlite3_step(victim) };
            room()
        }
        _ => {
            MODE.store(0, Relaxed);
            unsafe { sqlite3_finalize(victim) };
            room()
        }
    }
}

#[cfg(target_arch = "wasm32")]
fn memory_bytes() -> usize {
    core::arch::wasm32::memory_size(0) * 65536
}

/// Compiled for others by clippy only.
#[cfg(not(target_arch = "wasm32"))]
fn memory_bytes() -> usize {
    0
}

fn main() {
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("text").replace("\\0", "\0");
        println!("{}", answer(&line));
    }
}

fn answer(line: &str) -> String {
    let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (first, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let id = || first.parse::<u64>().expect("an id");
    let number = || text.parse::<u32>().expect("a number");
    match command {
        "apart" => apart(rest),
        "endless" => endless(id(), text),
        "views" => views(id()),
        // Shortens a file, or overwrites it, behind the back of who has it open.
        "cut" => match std::fs::OpenOptions::new().write(true).open(text) {
            Ok(file) => format!("cut {}", file.set_len(id()).is_ok()),
            Err(error) => format!("{error}"),
        },
        "scribble" => {
            let bytes: Vec<u8> = (0..id()).map(|at| (at * 131 + 7) as u8).collect();
            format!("scribbled {}", std::fs::write(text, bytes).is_ok())
        }
        "together" => rest.split(" | ").map(answer).collect::<Vec<_>>().join(" | "),
        "alloc" => {
            MODE.store(first.parse().expect("a mode"), Relaxed);
            VICTIM.store(text.parse().unwrap_or(0), Relaxed);
            "set".to_string()
        }
        "open" => {
            let mut id = 77;
            match unsafe { open(rest.as_ptr(), rest.len(), &mut id) } {
                0 => format!("connection {id}"),
                _ => error(id),
            }
        }
        "exec" => match unsafe { execute(id(), text.as_ptr(), text.len()) } {
            0 => "done".to_string(),
            code => format!("{code}: {}", failure(id())),
        },
        "fail" => failure(id()),
        "query" => {
            let statement = unsafe { query_prepare(id(), text.as_ptr(), text.len()) };
            let mut rows = Vec::new();
            while unsafe { sqlite3_step(statement) } == 100 {
                rows.push(row(statement));
            }
            unsafe { sqlite3_finalize(statement) };
            rows.join(" ")
        }
        "prepare" => unsafe { query_prepare(id(), text.as_ptr(), text.len()) }.to_string(),
        "bind" => {
            let bytes = hex(text);
            unsafe { bind_value(id(), bytes.as_ptr(), bytes.len()) };
            "bound".to_string()
        }
        "step" => unsafe { sqlite3_step(id()) }.to_string(),
        "row" => row(id()),
        "column" => Reader(&taken(|len| unsafe { read_column(id(), number(), len) })).value(),
        "name" => String::from_utf8(taken(|len| unsafe { column_name(id(), number(), len) }))
            .expect("UTF-8"),
        "names" => {
            let bytes = taken(|len| unsafe { column_names(id(), len) });
            let mut reader = Reader(&bytes);
            let count = reader.u64();
            format!("{:?}", (0..count).map(|_| reader.text()).collect::<Vec<_>>())
        }
        "count" => unsafe { column_count(id()) }.to_string(),
        "changes" => unsafe { sqlite3_changes(id()) }.to_string(),
        "reset" => {
            unsafe { statement_reset(id()) };
            "reset".to_string()
        }
        "finalize" => {
            unsafe { sqlite3_finalize(id()) };
            "closed".to_string()
        }
        // Where the guest has no memory.
        "wild" => {
            unsafe { execute(id(), (usize::MAX - 8) as *const u8, 4) };
            "read".to_string()
        }
        "nested" => {
            let (depth, kind) = text.split_once(' ').expect("a depth and a kind");
            let depth = depth.parse().expect("a number");
            let sql = match kind {
                "brackets" => format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth)),
                "not" => format!("SELECT {}1", "NOT ".repeat(depth)),
                "and" => format!("SELECT 1{}", " AND 1".repeat(depth)),
                _ => {
                    let (open, close) = ("SELECT * FROM (".repeat(depth), ")".repeat(depth));
                    format!("{open}SELECT 1{close}")
                }
            };
            let code = unsafe { execute(id(), sql.as_ptr(), sql.len()) };
            if code == 0 {
                "done".to_string()
            } else {
                "refused".to_string()
            }
        }
        other => panic!("no command {other:?}"),
    }
}

/// Has another process answer.
fn apart(line: &str) -> String {
    let answers: Channel<String> = Channel::new(0);
    Process::spawn((line.to_string(), answers.clone()), |(line, answers)| {
        answers.send(answer(&line));
    })
    .expect("a process");
    // Closed when the other has ended: then nobody is left who could send.
    answers.checked_receive().unwrap_or_else(|_| "ended".to_string())
}

/// A view of a view of a view, each used twice by the next one: compiling it takes for ever.
fn views(depth: u64) -> String {
    answer("open :memory:");
    answer("exec 0 CREATE VIEW v0 AS SELECT 1 AS a");
    for this in 1..=depth {
        let below = this - 1;
        answer(&format!(
            "exec 0 CREATE VIEW v{this} AS SELECT DISTINCT a + 1 AS a FROM (SELECT a, count(*) OVER () \
             FROM v{below} WHERE a IN (SELECT max(a) FROM v{below} LIMIT 1) LIMIT 5)"
        ));
    }
    answer(&format!("exec 0 SELECT a FROM v{depth}"))
}

/// Has processes run queries that never end, and kills them. Writes a file meanwhile.
fn endless(count: u64, path: &str) -> String {
    let ready: Channel<()> = Channel::new(0);
    let processes: Vec<Process<()>> = (0..count)
        .map(|_| {
            Process::spawn(ready.clone(), |ready| {
                ready.send(());
                answer("open :memory:");
                answer(
                    "query 0 WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) \
                     SELECT count(*) FROM n",
                );
            })
            .expect("a process")
        })
        .collect();
    for _ in 0..count {
        ready.receive();
    }
    std::thread::sleep(Duration::from_millis(20));
    std::fs::write(path, "written").expect("files are served");
    processes.iter().for_each(Process::kill);
    "killed".to_string()
}

fn error(id: u64) -> String {
    let mut text = vec![0; unsafe { string_size(id) } as usize];
    unsafe { to_string(id, text.as_mut_ptr()) };
    String::from_utf8(text).expect("UTF-8")
}

/// Bytes that the host has made room for.
fn taken(call: impl FnOnce(*mut u32) -> *mut u8) -> Vec<u8> {
    // What lies behind the length must stay.
    let mut len = [0, 0x5555_5555];
    let at = call(len.as_mut_ptr());
    assert_eq!(len[1], 0x5555_5555);
    unsafe { Vec::from_raw_parts(at, len[0] as usize, len[0] as usize) }
}

fn row(statement: u64) -> String {
    let bytes = taken(|len| unsafe { read_row(statement, len) });
    let mut reader = Reader(&bytes);
    let count = reader.u64();
    format!("[{}]", (0..count).map(|_| reader.value()).collect::<Vec<_>>().join(", "))
}

fn failure(connection: u64) -> String {
    let bytes = taken(|len| unsafe { last_error(connection, len) });
    let mut reader = Reader(&bytes);
    let code = (reader.bytes(1) == [1]).then(|| reader.u32());
    let message = (reader.bytes(1) == [1]).then(|| reader.text());
    match (code, message) {
        (Some(code), Some(message)) => format!("{message} ({code})"),
        other => format!("{other:?}"),
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken.to_vec()
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes(4).try_into().expect("four"))
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes(8).try_into().expect("eight"))
    }

    fn text(&mut self) -> String {
        let len = self.u64() as usize;
        String::from_utf8(self.bytes(len)).expect("UTF-8")
    }

    fn value(&mut self) -> String {
        match self.u32() {
            0 => "NULL".to_string(),
            1 => {
                let len = self.u64() as usize;
                format!("x{:?}", self.bytes(len))
            }
            2 => format!("{:?}", self.text()),
            3 => format!("{:?}", f64::from_bits(self.u64())),
            4 | 5 => (self.u64() as i64).to_string(),
            kind => panic!("no kind {kind}"),
        }
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    digits
        .chunks(2)
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).expect("ASCII"), 16).expect("hex"))
        .collect()
}
