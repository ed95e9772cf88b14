//! RegionHeartbeat and RemoveRegion: in memory at once under the lock; on disk through the writer, but for what needs no
//! record.
//!
//! The fast path of a durable placement driver answers on the caller's thread, and only when no edit of the region is on
//! its way: an unchanged heartbeat is accepted, a stale one refused, and removing an unknown region changes nothing.
//! Everything else is judged by the writer, in queue order: an overlap seen here may be gone when its turn comes.

use std::sync::Arc;

use futures::channel::oneshot;

use super::{Answer, Error, Pd, Reply};
use crate::core::{Refusal, Region, RegionId, Verdict};
use crate::proto::pd as pb;
use crate::storage::writer::Writer;
use crate::storage::{Edit, EditError, EditOutcome};

impl Pd {
    pub(super) fn put_in_memory(&self, region: Region) -> Answer<pb::RegionHeartbeatResponse> {
        let mut cluster = self.cluster()?;
        match cluster.judge(&region) {
            Ok(Verdict::Unchanged) => {}
            Ok(Verdict::Changed) => cluster.put(Arc::new(region)),
            Err(refusal) => return Err(Error::refused(refusal, &region, &cluster)),
        }
        Ok(Reply::Now(accepted()))
    }

    pub(super) fn remove_in_memory(&self, id: RegionId) -> Answer<pb::RemoveRegionResponse> {
        let existed = self.cluster()?.remove(id);
        Ok(Reply::Now(removed(existed)))
    }

    pub(super) fn put_on_disk(&self, writer: &Writer, region: Region) -> Answer<pb::RegionHeartbeatResponse> {
        let mut cluster = self.cluster()?;
        if !cluster.is_being_edited(region.id()) {
            match cluster.judge(&region) {
                Ok(Verdict::Unchanged) => return Ok(Reply::Now(accepted())),
                Err(stale @ Refusal::Stale { .. }) => return Err(Error::refused(stale, &region, &cluster)),
                Ok(Verdict::Changed) | Err(Refusal::Overlap(_)) => {}
            }
        }
        cluster.begin_edit(region.id());
        drop(cluster);

        let region = Arc::new(region);
        let outcome = self.submit(writer, Edit::Put(Arc::clone(&region)))?;
        let state = Arc::clone(&self.state);
        Ok(Reply::Later(Box::pin(async move {
            match outcome.await {
                Ok(Ok(_)) => Ok(accepted()),
                Ok(Err(EditError::Refused(refusal))) => {
                    let cluster = state.cluster.lock().map_err(|_| Error::Broken)?;
                    Err(Error::refused(refusal, &region, &cluster))
                }
                Ok(Err(error)) => Err(not_written(error)),
                Err(oneshot::Canceled) => Err(Error::OutcomeUnknown),
            }
        })))
    }

    pub(super) fn remove_on_disk(&self, writer: &Writer, id: RegionId) -> Answer<pb::RemoveRegionResponse> {
        let mut cluster = self.cluster()?;
        if !cluster.is_being_edited(id) && cluster.region(id).is_none() {
            return Ok(Reply::Now(removed(false)));
        }
        cluster.begin_edit(id);
        drop(cluster);

        let outcome = self.submit(writer, Edit::Delete(id))?;
        Ok(Reply::Later(Box::pin(async move {
            match outcome.await {
                Ok(Ok(outcome)) => Ok(removed(outcome == EditOutcome::Removed { existed: true })),
                Ok(Err(error)) => Err(not_written(error)),
                Err(oneshot::Canceled) => Err(Error::OutcomeUnknown),
            }
        })))
    }

    /// Queues an edit that `begin_edit` was called for; when it cannot be queued, it has ended.
    fn submit(&self, writer: &Writer, edit: Edit) -> Result<oneshot::Receiver<Result<EditOutcome, EditError>>, Error> {
        let id = edit.region_id();
        let (reply, outcome) = oneshot::channel();
        if let Err(error) = writer.submit(edit, reply) {
            self.cluster()?.end_edit(id);
            return Err(not_written(error));
        }
        Ok(outcome)
    }
}

fn not_written(error: EditError) -> Error {
    match error {
        EditError::Refused(_) => unreachable!("only a region can be refused, and that is told with the region"),
        EditError::NoSpace => Error::NoSpace,
        EditError::QueueFull => Error::Overloaded,
        EditError::Unknown => Error::OutcomeUnknown,
        EditError::Stopped => Error::Stopped,
    }
}

fn accepted() -> pb::RegionHeartbeatResponse {
    pb::RegionHeartbeatResponse { accepted: true, ..Default::default() }
}

fn removed(existed: bool) -> pb::RemoveRegionResponse {
    pb::RemoveRegionResponse { removed: existed, ..Default::default() }
}
