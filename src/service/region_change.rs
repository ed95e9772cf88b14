//! RegionHeartbeat and RemoveRegion, and what each region of RegionHeartbeats goes through: in memory at once under the
//! lock; on disk through the writer, but for what needs no record.
//!
//! The fast path of a durable placement driver answers on the caller's thread, and only when no edit of the region is on
//! its way: an unchanged heartbeat is accepted, a stale one refused, and removing an unknown region changes nothing.
//! Everything else is judged by the writer, in queue order: an overlap seen here may be gone when its turn comes.

use std::sync::Arc;

use futures::channel::oneshot;

use super::{Answer, Error, Pd, Reply};
use crate::core::{Cluster, Epoch, KeyRange, Region, RegionId, Verdict};
use crate::proto::pd as pb;
use crate::storage::writer::Writer;
use crate::storage::{Edit, EditError, EditOutcome, State};

/// What a look at the catalog made of a reported region.
pub(super) enum Look<'a> {
    /// It is in the catalog.
    Accepted,
    /// The writer has to judge it; `begin_edit` was called.
    ForWriter(&'a Writer),
}

/// A reported region that the writer judges.
pub(super) struct Queued {
    state: Arc<State>,
    region: Arc<Region>,
    outcome: oneshot::Receiver<Result<EditOutcome, EditError>>,
}

/// Judges a reported region, whose limits are checked. Without a `writer` it is stored at once if it changes anything.
pub(super) fn look<'a>(
    cluster: &mut Cluster,
    writer: Option<&'a Writer>,
    meta: &pb::RegionMeta,
) -> Result<Look<'a>, Error> {
    let id = RegionId(meta.id);
    if !cluster.is_being_edited(id) {
        let epoch = Epoch { version: meta.epoch_version, conf_version: meta.epoch_conf_version };
        let range = KeyRange { start: &meta.start_key, end: &meta.end_key };
        let current = cluster.replaced_by(id, epoch).map_err(|stale| Error::refused(stale, range, cluster))?;
        if current.is_some_and(|current| *current == *meta) {
            return Ok(Look::Accepted);
        }
    }
    if let Some(writer) = writer {
        cluster.begin_edit(id);
        return Ok(Look::ForWriter(writer));
    }
    let region = Region::from(meta);
    match cluster.judge(&region) {
        Ok(Verdict::Unchanged) => {}
        Ok(Verdict::Changed) => cluster.put(region),
        Err(refusal) => return Err(Error::refused(refusal, region.range(), cluster)),
    }
    Ok(Look::Accepted)
}

impl Queued {
    /// Waits for the writer.
    pub(super) async fn verdict(self) -> Result<(), Error> {
        match self.outcome.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(EditError::Refused(refusal))) => {
                let cluster = self.state.cluster.lock().map_err(|_| Error::Broken)?;
                Err(Error::refused(refusal, self.region.range(), &cluster))
            }
            Ok(Err(error)) => Err(not_written(error)),
            Err(oneshot::Canceled) => Err(Error::OutcomeUnknown),
        }
    }
}

impl Pd {
    pub(super) fn put(&self, meta: &pb::RegionMeta) -> Answer<pb::RegionHeartbeatResponse> {
        self.limits.check_region(meta)?;
        let writer = self.writer()?;
        let look = look(&mut *self.cluster()?, writer, meta)?;
        match look {
            Look::Accepted => Ok(Reply::Now(accepted())),
            Look::ForWriter(writer) => {
                let queued = self.queue(writer, meta)?;
                Ok(Reply::Later(Box::pin(async move { queued.verdict().await.map(|()| accepted()) })))
            }
        }
    }

    /// Hands a region to the writer.
    pub(super) fn queue(&self, writer: &Writer, meta: &pb::RegionMeta) -> Result<Queued, Error> {
        let region = Arc::new(Region::from(meta));
        let outcome = self.submit(writer, Edit::Put(Arc::clone(&region)))?;
        Ok(Queued { state: Arc::clone(&self.state), region, outcome })
    }

    pub(super) fn remove_in_memory(&self, id: RegionId) -> Answer<pb::RemoveRegionResponse> {
        let existed = self.cluster()?.remove(id);
        Ok(Reply::Now(removed(existed)))
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
