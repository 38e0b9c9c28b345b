//! Work that may block: on the pool's threads, with the process parked.
//!
//! Parties: the process, and a job of its own. Protocol:
//!
//! 1. The first poll of a call checks its arguments, copies what it needs out of the guest's memory
//!    and submits a job with a place for its result. The process parks.
//! 2. The job runs on some thread, puts its result into the place and wakes the process. It knows
//!    nothing of the guest's memory, which may be gone by then.
//! 3. The next poll finds the result, copies it into the guest's memory, and the call is over. One
//!    that comes too early parks again.
//!
//! A process makes one call at a time, so it has at most one job: a thousand that read share the pool
//! in the order in which they came, and none can fill it alone. One that is killed leaves its job
//! alone; the job's result, an open file perhaps, is dropped with the place that nobody else knows.
//! A job that the pool drops or that panics leaves an I/O error.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use lunatic_scheduler::{BlockingError, Pid};
use parking_lot::Mutex;

use super::errno::Errno;
use crate::bind::Call;
use crate::node::NodeInner;
use crate::stdio::Host;

/// Where a job puts its result.
type Place<T> = Mutex<Option<Result<T, Errno>>>;

/// A job that was submitted: the place of its result, whose type the call knows.
pub(super) struct Job(Arc<dyn Any + Send + Sync>);

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
}

/// The duty to leave a result and to wake the process.
struct Turn<T> {
    place: Arc<Place<T>>,
    host: Arc<NodeInner>,
    pid: Pid,
}

impl<T> Drop for Turn<T> {
    fn drop(&mut self) {
        self.place.lock().get_or_insert(Err(Errno::Io));
        self.host.wake(self.pid);
    }
}

/// Runs on the pool what `prepare` makes of the call, once; its result, or `None` until it is there.
pub(in crate::api) fn on_pool<T, W>(
    call: &mut Call<'_, '_>,
    prepare: impl FnOnce(&mut Call<'_, '_>) -> Result<W, Errno>,
) -> Result<Option<T>, Errno>
where
    T: Send + 'static,
    W: FnOnce() -> Result<T, Errno> + Send + 'static,
{
    if let Some(result) = take_result(call) {
        return result;
    }
    let work = prepare(call)?;
    let place = Arc::new(Place::<T>::default());
    let turn = Turn {
        place: Arc::clone(&place),
        host: Arc::clone(&call.state.node),
        pid: call.state.pid(),
    };
    let job = Box::new(move || {
        let result = work();
        *turn.place.lock() = Some(result);
    });
    match call.state.node.handle().spawn_blocking(job) {
        // At the end of a run the process will not come to ask again.
        Ok(()) | Err(BlockingError::ShuttingDown) => {}
        Err(_) => return Err(Errno::Again),
    }
    call.files().job = Some(Job(place));
    Ok(None)
}

/// The result of the job that this call has submitted before, or `None` until it is there.
pub(super) fn result<T: Send + 'static>(call: &mut Call<'_, '_>) -> Result<Option<T>, Errno> {
    take_result(call).unwrap_or(Ok(None))
}

/// What has become of this call's job; `None` if there is none.
fn take_result<T: Send + 'static>(call: &mut Call<'_, '_>) -> Option<Result<Option<T>, Errno>> {
    let files = call.state.wasi.files.as_mut()?;
    let job = files.job.as_ref()?;
    let place = Arc::clone(&job.0)
        .downcast::<Place<T>>()
        .expect("a process makes one call at a time, and a call has jobs of one type");
    let result = place.lock().take();
    match result {
        None => Some(Ok(None)),
        Some(result) => {
            files.job = None;
            Some(result.map(Some))
        }
    }
}

/// Whether this call has submitted a job already.
pub(super) fn is_running(call: &Call<'_, '_>) -> bool {
    call.state.wasi.files.as_ref().is_some_and(|files| files.job.is_some())
}
