//! `lunatic::metrics`: what a program measures about itself.

use crate::bind::{Call, Fault, host_functions};
use crate::guest_type::{In, Text};
use crate::memory::Ptr;
use crate::metrics::NAME_BYTES_MAX;

host_functions! {
    /// Counters, gauges and histograms by name. All processes of a run share them; `--stats` shows
    /// them when it is over. A name has at most 256 bytes, else the call traps; beyond 1,000 names
    /// of a kind new ones are ignored.
    pub(crate) MODULE: "lunatic::metrics";

    /// Adds `value` to the counter of this name, which begins at 0.
    fn counter(call, name_ptr: In<Text>, name_len: u32, value: u64) -> Result<(), Fault> {
        let name = name(call, name_ptr, name_len)?;
        call.state.node.metrics.count(name, value);
        Ok(())
    }

    /// Adds 1 to the counter of this name, which begins at 0.
    fn increment_counter(call, name_ptr: In<Text>, name_len: u32) -> Result<(), Fault> {
        let name = name(call, name_ptr, name_len)?;
        call.state.node.metrics.count(name, 1);
        Ok(())
    }

    /// Sets the gauge of this name to a value.
    fn gauge(call, name_ptr: In<Text>, name_len: u32, value: f64) -> Result<(), Fault> {
        let name = name(call, name_ptr, name_len)?;
        call.state.node.metrics.set_gauge(name, value);
        Ok(())
    }

    /// Adds `value` to the gauge of this name, which begins at 0.
    fn increment_gauge(call, name_ptr: In<Text>, name_len: u32, value: f64) -> Result<(), Fault> {
        let name = name(call, name_ptr, name_len)?;
        call.state.node.metrics.add_to_gauge(name, value);
        Ok(())
    }

    /// Takes `value` from the gauge of this name, which begins at 0.
    fn decrement_gauge(call, name_ptr: In<Text>, name_len: u32, value: f64) -> Result<(), Fault> {
        let name = name(call, name_ptr, name_len)?;
        call.state.node.metrics.add_to_gauge(name, -value);
        Ok(())
    }

    /// Adds a value to a histogram. One that is no number is ignored.
    fn histogram(call, name_ptr: In<Text>, name_len: u32, value: f64) -> Result<(), Fault> {
        let name = name(call, name_ptr, name_len)?;
        call.state.node.metrics.record(name, value);
        Ok(())
    }
}

fn name<'a>(call: &Call<'a, '_>, at: Ptr, len: u32) -> Result<&'a str, Fault> {
    if len > NAME_BYTES_MAX {
        return Err(Fault::new(format!(
            "a metric's name of {len} bytes; it may have {NAME_BYTES_MAX}"
        )));
    }
    let name = call.memory.slice(at, len)?;
    std::str::from_utf8(name).map_err(|_| {
        Fault::new(format!("the metric's name \"{}\" is not UTF-8", name.escape_ascii()))
    })
}
