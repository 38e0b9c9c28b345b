//! `lunatic::timer`: messages that are sent later.

use std::time::{Duration, Instant};

use lunatic_scheduler::{Pid, TimerId};

use crate::bind::{Fault, host_functions};
use crate::message::Message;
use crate::warden::ENVELOPE_BYTES;

/// A century: further than any clock of ours is asked to look.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A message that waits for its time. It is the scheduler's: the process only has its number.
#[derive(Debug)]
pub(crate) struct Delayed {
    timer: TimerId,
    /// What its message takes.
    bytes: usize,
}

/// Messages that may wait for one process that sends them. By feel: far more than any program has
/// deadlines, and a part of what one worker's wheel holds.
const DELAYED_MAX: usize = 100_000;

host_functions! {
    /// Messages that are sent when their time has come. They survive the process that sends them.
    pub(crate) MODULE: "lunatic::timer";

    /// Sends the current message to a process in `delay` milliseconds, without waiting. Answers an
    /// id for `cancel_timer`. The receiver is looked up when the time has come: if it does not exist
    /// then, the message is dropped. If its mailbox has a limit and is full, what its configuration says
    /// becomes of the message; where senders are to wait, it tries again, later and later, up to once a
    /// second. Traps if the process has too many resources, pending timers among them, if 100,000
    /// messages of this process wait, or if too many wait on this node. When the node is short of memory,
    /// messages whose senders have ended are dropped first.
    fn send_after(call, process_id: u64, delay: u64) -> Result<u64, Fault> {
        let worker = call.worker;
        let resources = &mut call.state.resources;
        let mut gone = 0;
        resources.weed::<Delayed>(|delayed| {
            let is_pending = worker.is_timer_pending(delayed.timer);
            gone += if is_pending { 0 } else { delayed.bytes };
            is_pending
        });
        resources.delayed_bytes -= gone;
        if resources.count::<Delayed>() >= DELAYED_MAX {
            return Err(Fault::new(format!(
                "the process has {DELAYED_MAX} delayed messages, the most there can be; cancel some"
            )));
        }
        // Before the message is out of our hands.
        let max = call.state.config.resources_max;
        if !resources.has_room_for(1, max) {
            return Err(Fault::new(format!(
                "the process holds {max} resources, its limit (--max-resources); one more timer needs \
                 others closed"
            )));
        }
        let message = call.state.take_scratch()?;
        let bytes = ENVELOPE_BYTES + message.bytes();
        let deadline = Instant::now() + Duration::from_millis(delay).min(FAR);
        let timer = worker.send_at(deadline, Pid::from_u64(process_id), message);
        let timer = timer.map_err(|unsent| {
            Message::discard(unsent, worker);
            Fault::new("too many delayed messages wait on this node; cancel some, or send fewer")
        })?;
        let resources = &mut call.state.resources;
        resources.delayed_bytes += bytes;
        let id = resources.add(Delayed { timer, bytes }, max);
        call.state.tell_held();
        id
    }

    /// Forgets a message that was to be sent. 1: it will not be. 0: it has been, or there is no such
    /// timer of this process.
    fn cancel_timer(call, timer_id: u64) -> Result<u32, Fault> {
        let Ok(delayed) = call.state.resources.remove::<Delayed>(timer_id) else { return Ok(0) };
        call.state.resources.delayed_bytes -= delayed.bytes;
        call.state.tell_held();
        Ok(call.worker.cancel_timer(delayed.timer).into())
    }
}
