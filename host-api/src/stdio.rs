//! Standard streams (being written).
use std::sync::Arc;
/// Where output goes.
#[derive(Debug, Clone, Default)]
pub struct StdioSink(Option<Arc<()>>);
/// The three streams.
#[derive(Debug, Clone, Default)]
pub struct Stdio { _sink: StdioSink }
impl Stdio {
    /// Flush.
    pub fn flush(&self) {}
}
