//! Puts a placement driver together, for the program and for who embeds one.
//!
//! The order: lock, read and check the workdir, bind what is to be bound, and only then write to the workdir. What is wrong
//! is found before anything is changed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crossbeam_channel::Receiver;

use super::EmbedError;
use crate::core::{Allocators, Cluster, Limits};
use crate::server::BindError;
use crate::service::{Clock, Pd, RequestLimits};
use crate::storage::fs::OsFs;
use crate::storage::{Opened, State, StorageError};

/// What a placement driver is made of.
#[derive(Clone, Default)]
pub(crate) struct Parts {
    /// `None`: in memory.
    pub(crate) workdir: Option<PathBuf>,
    /// Values at most this high are not given out, whatever the workdir says.
    pub(crate) issued_min: Limits,
    pub(crate) limits: RequestLimits,
    /// `None`: the machine's.
    pub(crate) clock: Option<Arc<dyn Clock>>,
}

/// A placement driver that is ready to serve.
pub(crate) struct Assembled<T> {
    pub(crate) pd: Arc<Pd>,
    /// What was bound.
    pub(crate) front: T,
    /// `None`: in memory.
    pub(crate) restored: Option<Restored>,
    /// The error that ends the persistence thread. Nothing ever comes in memory.
    pub(crate) fatal: Receiver<StorageError>,
}

/// What was found in a workdir.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restored {
    pub(crate) regions: usize,
    /// The highest values that may have been given out (0: none).
    pub(crate) issued: Limits,
}

/// The highest value that is not given out when the first one is to be `start`. A start of 0 is taken as 1.
pub(crate) fn issued_before(start: u64) -> u64 {
    start.saturating_sub(1)
}

impl Parts {
    /// Does everything up to the first answer; `bind` comes after the checks and before the first write.
    ///
    /// # Errors
    ///
    /// `Bind` or `Storage`.
    pub(crate) fn assemble<T>(
        &self,
        bind: impl FnOnce(&Arc<Pd>) -> Result<T, BindError>,
    ) -> Result<Assembled<T>, EmbedError> {
        match &self.workdir {
            None => {
                let pd = self.in_memory();
                let front = bind(&pd)?;
                Ok(Assembled { pd, front, restored: None, fatal: crossbeam_channel::never() })
            }
            Some(workdir) => self.assemble_durable(workdir, bind),
        }
    }

    /// A placement driver that keeps everything in memory.
    pub(crate) fn in_memory(&self) -> Arc<Pd> {
        let allocators = Allocators::unbounded(self.issued_min);
        let state = State { cluster: Mutex::new(Cluster::default()), allocators: Mutex::new(allocators) };
        self.with_clock(Pd::in_memory(Arc::new(state), self.limits))
    }

    fn with_clock(&self, pd: Pd) -> Arc<Pd> {
        Arc::new(match &self.clock {
            None => pd,
            Some(clock) => pd.with_clock(Arc::clone(clock)),
        })
    }

    fn assemble_durable<T>(
        &self,
        workdir: &Path,
        bind: impl FnOnce(&Arc<Pd>) -> Result<T, BindError>,
    ) -> Result<Assembled<T>, EmbedError> {
        let mut opened = Opened::open(Arc::new(OsFs), workdir)?;
        opened.check_is_no_store_s()?;
        let snapshot = opened.take_snapshot();
        let issued = Limits {
            ids: snapshot.issued.ids.max(self.issued_min.ids),
            timestamps: snapshot.issued.timestamps.max(self.issued_min.timestamps),
        };
        let restored = Restored { regions: snapshot.regions.len(), issued };
        // Reference: an overlap ends the start.
        let cluster = Cluster::restore(snapshot.regions).map_err(|overlap| opened.overlap(overlap))?;
        let state =
            Arc::new(State { cluster: Mutex::new(cluster), allocators: Mutex::new(Allocators::durable(issued)) });
        let pd = self.with_clock(Pd::durable(Arc::clone(&state), self.limits));
        let front = bind(&pd)?;
        let (fatal_sender, fatal) = crossbeam_channel::bounded(1);
        pd.attach(opened.start(state, fatal_sender)?);
        Ok(Assembled { pd, front, restored: Some(restored), fatal })
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workdir, issued_min, limits, clock: _ } = self;
        let mut text = f.debug_struct("Parts");
        text.field("workdir", workdir).field("issued_min", issued_min).field("limits", limits).finish_non_exhaustive()
    }
}
