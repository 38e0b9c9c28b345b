//! A channel's messages: a lock-free queue, or under loom, which cannot look into crossbeam, a
//! locked one.
//!
//! Parties: any number on both ends. Protocol: `push` makes the message visible to every `pop` and
//! `is_empty` that comes after it in the order the channel's fences make.

#[cfg(not(loom))]
pub(super) use crossbeam_queue::SegQueue as Queue;

#[cfg(loom)]
pub(super) use twin::Queue;

#[cfg(loom)]
mod twin {
    use crate::sync::Mutex;
    use std::collections::VecDeque;

    pub(in super::super) struct Queue<M>(Mutex<VecDeque<M>>);

    impl<M> Queue<M> {
        pub(in super::super) fn new() -> Self {
            Self(Mutex::new(VecDeque::new()))
        }
        pub(in super::super) fn push(&self, message: M) {
            self.0.lock().push_back(message);
        }
        pub(in super::super) fn pop(&self) -> Option<M> {
            self.0.lock().pop_front()
        }
        pub(in super::super) fn is_empty(&self) -> bool {
            self.0.lock().is_empty()
        }
        pub(in super::super) fn len(&self) -> usize {
            self.0.lock().len()
        }
    }
}
