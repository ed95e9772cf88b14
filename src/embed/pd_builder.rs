//! What an embedded placement driver is to be like.

use std::path::PathBuf;
use std::sync::Arc;

use super::assembly::{Parts, issued_before};
use super::{EmbedError, Pd};
use crate::service::{Clock, RequestLimits};

/// How to open a [`Pd`]. Starts with the defaults: everything in memory, both counters at 1.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is opened before `open`"]
pub struct PdBuilder {
    pub(super) parts: Parts,
}

impl PdBuilder {
    /// Keeps everything in memory, which is the default.
    pub fn in_memory(mut self) -> Self {
        self.parts.workdir = None;
        self
    }

    /// Keeps everything in this directory, which is created when it is missing. What has been acknowledged survives the
    /// process and a power failure. `pd-lite pd` works on the same directories, but one at a time.
    pub fn workdir(mut self, workdir: impl Into<PathBuf>) -> Self {
        self.parts.workdir = Some(workdir.into());
        self
    }

    /// What a request may hold.
    pub fn limits(mut self, limits: RequestLimits) -> Self {
        self.parts.limits = limits;
        self
    }

    /// Dates what stores report by another clock than the machine's, for tests that move it by hand.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.parts.clock = Some(clock);
        self
    }

    /// The first id, unless the workdir is further already; 0 is taken as 1.
    pub fn id_start(mut self, start: u64) -> Self {
        self.parts.issued_min.ids = issued_before(start);
        self
    }

    /// The same for timestamps.
    pub fn ts_start(mut self, start: u64) -> Self {
        self.parts.issued_min.timestamps = issued_before(start);
        self
    }

    /// Opens it.
    ///
    /// # Errors
    ///
    /// [`EmbedError::Storage`] when the workdir cannot be used.
    pub fn open(self) -> Result<Pd, EmbedError> {
        let assembled = self.parts.assemble(|_| Ok(()))?;
        Pd::new(assembled.pd, self.parts.workdir, assembled.fatal)
    }
}
