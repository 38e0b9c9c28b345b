//! What the models use of loom, on threads of the system: for sanitizers, which watch what happens
//! and not what might.

pub use std::thread;

pub mod sync {
    pub use std::sync::{Arc, Condvar, Mutex, atomic};
}

pub mod cell {
    /// Loom's shape; who looks for two owners at once is the sanitizer.
    pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}
