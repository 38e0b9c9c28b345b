//! The harness of this crate's tests: a native program whose body is a closure, and a count of
//! every end.
//!
//! Closures are boxed and live in the program, not on the fiber's stack, so an abandoned fiber
//! leaks nothing.
#![allow(dead_code)] // Each test file uses its part.

use lunatic_scheduler::{Builder, End, Handle, Pid, Process, Program, Runtime, Settled, Worker};
use std::{ptr::NonNull, sync::mpsc};

pub(crate) type Body = Box<dyn FnOnce(Process<Native>) + Send>;
/// The end of a process that is watched has so many more parts, each a turn later.
pub(crate) const PARTS_OF_A_WATCHED_END: u32 = 3;

pub(crate) type OnEnd = Box<dyn FnOnce(&Worker<'_, Native>, Pid, End) + Send>;

pub(crate) struct Native {
    pid: Pid,
    body: Option<Body>,
    on_end: Option<OnEnd>,
    parts_left: u32,
}

// SAFETY: the tests' bodies hold only numbers, pids, channel ends and reference counts across
// suspensions; what an abandoned one leaks is memory, and all of it may move between threads.
unsafe impl Program for Native {
    type Message = u64;
    fn run(process: Process<Self>) {
        let body = process.on_worker(|_, native| native.body.take());
        body.expect("a body runs once")(process);
    }
    fn ended(&mut self, worker: &Worker<'_, Self>, how: End, watched: bool) -> Settled {
        if watched {
            self.parts_left = PARTS_OF_A_WATCHED_END;
        } else if let Some(on_end) = self.on_end.take() {
            on_end(worker, self.pid, how);
        }
        self.settle(worker)
    }
    fn settle(&mut self, worker: &Worker<'_, Self>) -> Settled {
        if self.parts_left > 0 {
            self.parts_left -= 1;
            return Settled::More;
        }
        if let Some(on_end) = self.on_end.take() {
            on_end(worker, self.pid, End::Returned);
        }
        Settled::Done
    }
}

pub(crate) fn runtime(workers: usize) -> Runtime<Native> {
    start(&Builder::new().workers(workers).processes_max(10_000))
}

pub(crate) fn start(builder: &Builder) -> Runtime<Native> {
    Runtime::start(builder).unwrap()
}

pub(crate) fn native(
    body: impl FnOnce(Process<Native>) + Send + 'static,
    on_end: Option<OnEnd>,
) -> impl FnOnce(Pid, Process<Native>, NonNull<u8>) -> Native {
    move |pid, _, _| Native { pid, body: Some(Box::new(body)), on_end, parts_left: 0 }
}

/// A process whose end comes through the receiver.
pub(crate) fn spawn(
    handle: &Handle<Native>,
    body: impl FnOnce(Process<Native>) + Send + 'static,
) -> (Pid, mpsc::Receiver<End>) {
    let (sender, ends) = mpsc::channel();
    let on_end: OnEnd = Box::new(move |_, _, how| {
        let _ = sender.send(how);
    });
    (handle.spawn(0, None, native(body, Some(on_end))).unwrap(), ends)
}

/// Runs a body to its end.
pub(crate) fn run(
    runtime: &Runtime<Native>,
    body: impl FnOnce(Process<Native>) + Send + 'static,
) -> End {
    spawn(runtime.handle(), body).1.recv().unwrap()
}

pub(crate) fn receive(process: Process<Native>, mut filter: impl FnMut(&u64) -> bool) -> u64 {
    loop {
        if let Some(m) = process.on_worker(|worker, _| worker.receive(process, &mut filter)) {
            return m.into_inner();
        }
        process.park();
    }
}

pub(crate) fn park_for_ever(process: Process<Native>) {
    loop {
        process.park();
    }
}
