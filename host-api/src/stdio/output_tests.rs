//! Sinks and standard input against real pipes, without a runtime.

use std::io::{Read, pipe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use lunatic_scheduler::{BlockingError, Job, Pid};

use super::super::{Input, Stdin};
use super::*;

/// Notes who is woken.
struct TestHost {
    woken: Mutex<mpsc::Sender<Pid>>,
    stopped: AtomicBool,
}

impl TestHost {
    fn new() -> (Arc<Self>, mpsc::Receiver<Pid>) {
        let (woken, receiver) = mpsc::channel();
        (Arc::new(Self { woken: Mutex::new(woken), stopped: AtomicBool::new(false) }), receiver)
    }
}

impl Host for TestHost {
    fn wake(&self, pid: Pid) {
        // The test may be over.
        let _ = self.woken.lock().send(pid);
    }

    fn run_blocking(&self, job: Job) -> Result<(), BlockingError> {
        thread::spawn(job);
        Ok(())
    }

    fn shut_down(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }
}

fn waiter(host: &Arc<TestHost>, number: u64) -> Waiter<'_, TestHost> {
    Waiter { host, pid: Pid::from_u64(number) }
}

/// Writes until the sink is full; how many bytes it took.
fn fill(sink: &StdioSink, host: &Arc<TestHost>) -> usize {
    let chunk = [b'x'; 4096];
    let mut taken = 0;
    let mut ticket = Ticket::default();
    loop {
        match sink.try_write([&chunk, &[]], waiter(host, 1), &mut ticket) {
            Wrote::All => taken += chunk.len(),
            Wrote::Full => return taken,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_pipe_nobody_reads_fills_the_buffer_and_then_makes_writers_wait() {
    let (mut reader, writer) = pipe().expect("a pipe");
    let sink = StdioSink::file(writer);
    let (host, woken) = TestHost::new();
    let taken = fill(&sink, &host);
    assert!((BUFFER_BYTES_MAX - 4096..BUFFER_BYTES_MAX + (1 << 20)).contains(&taken), "{taken}");

    // Queued once, however often it asks; a later one queues behind it.
    let mut late = Ticket::default();
    assert_eq!(sink.try_write([b"late", b""], waiter(&host, 2), &mut late), Wrote::Full);
    let ticket = late;
    assert_eq!(sink.try_write([b"late", b""], waiter(&host, 2), &mut late), Wrote::Full);
    assert_eq!(ticket, late);
    assert_eq!(sink.0.state.lock().queue.len(), 2);

    // The first one is called and never comes, as if it had died. The second is called all the same.
    let mut rest = vec![0; taken];
    reader.read_exact(&mut rest).expect("what was taken comes out");
    assert!(rest.iter().all(|&byte| byte == b'x'));
    assert_eq!(woken.recv().map(Pid::as_u64), Ok(1));
    assert_eq!(woken.recv().map(Pid::as_u64), Ok(2));
    assert_eq!(sink.try_write([b"la", b"te"], waiter(&host, 2), &mut late), Wrote::All);
    sink.flush(None);
    drop(sink);
    let mut rest = [0; 4];
    reader.read_exact(&mut rest).expect("there is more");
    assert_eq!(&rest, b"late");
}

#[test]
fn writes_of_many_threads_are_whole_and_complete() {
    const THREADS: usize = 4;
    const LINES: usize = 20_000;
    let (mut reader, writer) = pipe().expect("a pipe");
    let sink = StdioSink::file(writer);
    let writers: Vec<_> = (0..THREADS)
        .map(|number| {
            let sink = sink.clone();
            thread::spawn(move || {
                let (host, woken) = TestHost::new();
                let mut ticket = Ticket::default();
                for line in 0..LINES {
                    let line = format!("{number} {line} {}\n", "abcdefghij".repeat(number * 4));
                    let (first, second) = line.as_bytes().split_at(line.len() / 2);
                    let parts = [first, second];
                    loop {
                        match sink.try_write(parts, waiter(&host, 1), &mut ticket) {
                            Wrote::All => break,
                            Wrote::Full => drop(woken.recv()),
                            other => panic!("{other:?}"),
                        }
                    }
                }
            })
        })
        .collect();
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        text
    });
    writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
    sink.flush(None);
    drop(sink);
    let text = reading.join().expect("no panic");
    let mut next = [0; THREADS];
    for line in text.lines() {
        let mut words = line.split(' ');
        let number: usize = words.next().expect("a word").parse().expect("a number");
        assert_eq!(words.next(), Some(next[number].to_string().as_str()), "{line:?}");
        assert_eq!(words.next(), Some("abcdefghij".repeat(number * 4).as_str()));
        next[number] += 1;
    }
    assert_eq!(next, [LINES; THREADS]);
}

#[test]
fn a_reader_that_goes_away_ends_the_run() {
    let (reader, writer) = pipe().expect("a pipe");
    let sink = StdioSink::file(writer);
    let (host, _woken) = TestHost::new();
    drop(reader);
    let mut ticket = Ticket::default();
    assert_eq!(sink.try_write([b"x", b""], waiter(&host, 1), &mut ticket), Wrote::BrokenPipe);
    assert!(sink.broken_pipe() && host.stopped.load(Ordering::SeqCst));
}

#[test]
fn a_reader_that_goes_away_later_ends_the_run_too() {
    let (reader, writer) = pipe().expect("a pipe");
    let sink = StdioSink::file(writer);
    let (host, woken) = TestHost::new();
    fill(&sink, &host);
    drop(reader);
    assert!(woken.recv().is_ok());
    sink.flush(None);
    assert!(sink.broken_pipe() && host.stopped.load(Ordering::SeqCst));
}

#[test]
fn standard_error_without_a_reader_swallows() {
    let (reader, writer) = pipe().expect("a pipe");
    let sink = StdioSink::new(Target::File(File::from(OwnedFd::from(writer))), false);
    let (host, _woken) = TestHost::new();
    drop(reader);
    let mut ticket = Ticket::default();
    assert_eq!(sink.try_write([b"x", b""], waiter(&host, 1), &mut ticket), Wrote::All);
    assert!(!host.stopped.load(Ordering::SeqCst));
}

#[test]
fn a_flush_with_a_limit_gives_up() {
    let (_reader, writer) = pipe().expect("a pipe");
    let sink = StdioSink::file(writer);
    let (host, _woken) = TestHost::new();
    fill(&sink, &host);
    sink.flush(Some(Duration::from_millis(10)));
    assert!(sink.0.state.lock().buffered() > 0);
}

#[test]
fn input_wakes_all_who_wait_and_is_kept_for_whoever_comes() {
    let (reader, mut writer) = pipe().expect("a pipe");
    let stdin = Stdin::file(File::from(OwnedFd::from(reader)));
    let (host, woken) = TestHost::new();
    let mut tickets = [Ticket::default(); 2];
    for (number, ticket) in (1..).zip(&mut tickets) {
        for _ in 0..3 {
            assert_eq!(stdin.ready(waiter(&host, number), ticket), Input::Wait);
        }
    }
    writer.write_all(b"hello").expect("room");
    // The first "dies": it never reads. Nothing is lost.
    assert_eq!([woken.recv().map(Pid::as_u64), woken.recv().map(Pid::as_u64)], [Ok(1), Ok(2)]);
    let [_, second] = &mut tickets;
    assert_eq!(stdin.ready(waiter(&host, 2), second), Input::Bytes(5));
    let take = |bytes: &[u8]| {
        assert_eq!(bytes, b"hello");
        3
    };
    assert_eq!(stdin.try_read(waiter(&host, 2), second, take), Input::Bytes(3));
    let take = |bytes: &[u8]| {
        assert_eq!(bytes, b"lo");
        2
    };
    assert_eq!(stdin.try_read(waiter(&host, 2), second, take), Input::Bytes(2));
    drop(writer);
    assert_eq!(stdin.ready(waiter(&host, 2), second), Input::Wait);
    assert_eq!(woken.recv().map(Pid::as_u64), Ok(2));
    assert_eq!(stdin.ready(waiter(&host, 2), second), Input::EndOfFile);
    assert_eq!(stdin.ready(waiter(&host, 1), second), Input::EndOfFile);
}
