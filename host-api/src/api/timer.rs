//! `lunatic::timer`: messages that are sent later.

use std::time::{Duration, Instant};

use lunatic_scheduler::{Pid, TimerId};

use crate::bind::{Fault, host_functions};
use crate::message::Message;

/// A century: further than any clock of ours is asked to look.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A message that waits for its time. It is the scheduler's: the process only has its number.
#[derive(Debug)]
pub(crate) struct Delayed(TimerId);

host_functions! {
    /// Messages that are sent when their time has come. They survive the process that sends them.
    pub(crate) MODULE: "lunatic::timer";

    /// Sends the current message to a process in `delay` milliseconds, without waiting. Answers an
    /// id for `cancel_timer`. The receiver is looked up when the time has come: if it does not exist
    /// then, the message is dropped. Traps if the process has too many resources, pending timers
    /// among them, or if too many messages wait on this node.
    fn send_after(call, process_id: u64, delay: u64) -> Result<u64, Fault> {
        let worker = call.worker;
        let resources = &mut call.state.resources;
        resources.weed::<Delayed>(|timer| worker.is_timer_pending(timer.0));
        // Before the message is out of our hands.
        let max = call.state.config.resources_max;
        if !resources.has_room_for(1, max) {
            return Err(Fault::new(format!(
                "the process holds {max} resources, its limit; one more timer needs others closed"
            )));
        }
        let message = call.state.take_scratch()?;
        let deadline = Instant::now() + Duration::from_millis(delay).min(FAR);
        let timer = worker.send_at(deadline, Pid::from_u64(process_id), message);
        let timer = timer.map_err(|unsent| {
            Message::discard(unsent, worker);
            Fault::new("too many delayed messages wait on this node; cancel some, or send fewer")
        })?;
        call.state.resources.add(Delayed(timer), max)
    }

    /// Forgets a message that was to be sent. 1: it will not be. 0: it has been, or there is no such
    /// timer of this process.
    fn cancel_timer(call, timer_id: u64) -> Result<u32, Fault> {
        let timer = call.state.resources.remove::<Delayed>(timer_id);
        Ok(timer.is_ok_and(|timer| call.worker.cancel_timer(timer.0)).into())
    }
}
