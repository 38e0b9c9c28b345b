//! What a configuration that a process has made counts as: from when it is weighed until the last
//! process that was spawned with it has ended.

use crate::held;

/// So many bytes, counted as held by the host for as long as this lives. A clone counts as well.
#[derive(Debug, Default)]
pub(super) struct Weight(usize);

impl Weight {
    pub(super) fn bytes(&self) -> usize {
        self.0
    }

    pub(super) fn set(&mut self, bytes: usize) {
        held::add(bytes);
        held::sub(self.0);
        self.0 = bytes;
    }
}

impl Clone for Weight {
    fn clone(&self) -> Self {
        held::add(self.0);
        Self(self.0)
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        held::sub(self.0);
    }
}
