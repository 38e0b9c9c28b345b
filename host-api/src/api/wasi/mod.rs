//! WASI preview 1 (being written).
use crate::bind::{Fault, host_functions};
use crate::stdio::Stdio;
/// State.
#[derive(Default)]
pub(crate) struct WasiState;
impl WasiState {
    pub(crate) fn flush_lines(&mut self, _stdio: &Stdio) {}
    pub(crate) fn end(&mut self, _stdio: &Stdio) {}
}
host_functions! {
    /// WASI.
    pub(crate) MODULE: "wasi_snapshot_preview1";
    /// Ends the process.
    fn proc_exit(_call, code: u32) -> Result<(), Fault> { Err(Fault::exit(code)) }
}
