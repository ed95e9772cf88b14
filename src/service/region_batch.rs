//! RegionHeartbeats: many regions in one call, each as if it came alone, one after the other.
//!
//! The regions are gone through once, a slice in each hold of the lock: what needs no record is judged there, and what does
//! goes to the writer, in order, before the next slice. A region whose id stands earlier in the call and is with the writer
//! follows it there, as it would from another caller.

use super::answer::ANSWER_BYTES_MAX;
use super::region_change::{Look, Queued, look};
use super::{Answer, Error, HOLD_REGIONS_MAX, Pd, Reply};
use crate::core::RegionId;
use crate::proto::{pd as pb, pdlite};
use crate::storage::writer::Writer;

/// What a verdict without a text takes of an answer: 2 bytes, and 2 more for a code.
const VERDICT_BYTES: usize = 4;
/// What a text takes beside itself, at most.
const TEXT_FRAME_BYTES: usize = 8;
/// Regions of one call. Their verdicts, without texts, fill an answer.
const REGIONS_MAX: usize = ANSWER_BYTES_MAX / VERDICT_BYTES;

impl Pd {
    /// Takes in many regions, each as `region_heartbeat` would.
    ///
    /// # Errors
    ///
    /// `TooManyRegions`; what is wrong with a region is told by its verdict.
    pub fn region_heartbeats(
        &self,
        request: &pdlite::RegionHeartbeatsRequest,
    ) -> Answer<pdlite::RegionHeartbeatsResponse> {
        self.check_serving()?;
        let writer = self.writer()?;
        let regions = request.regions.len();
        if regions > REGIONS_MAX {
            return Err(Error::TooManyRegions { regions, max: REGIONS_MAX });
        }
        let mut verdicts = Verdicts::new(regions);
        let mut queued = Vec::new();
        for (slice, regions) in request.regions.chunks(HOLD_REGIONS_MAX).enumerate() {
            self.put_slice(writer, slice * HOLD_REGIONS_MAX, regions, &mut verdicts, &mut queued);
        }
        if queued.is_empty() {
            return Ok(Reply::Now(verdicts.into_answer()));
        }
        Ok(Reply::Later(Box::pin(async move {
            for (at, region) in queued {
                verdicts.note(at, region.verdict().await);
            }
            Ok(verdicts.into_answer())
        })))
    }

    /// Takes in the regions of a call from place `first` on. Those that wait for the writer are added to `queued`.
    fn put_slice(
        &self,
        writer: Option<&Writer>,
        first: usize,
        regions: &[pb::RegionMeta],
        verdicts: &mut Verdicts,
        queued: &mut Vec<(usize, Queued)>,
    ) {
        for (at, meta) in (first..).zip(regions) {
            verdicts.note(at, self.limits.check_region(meta));
        }
        let mut for_writer = Vec::new();
        {
            let mut cluster = self.cluster();
            if let Ok(cluster) = &cluster {
                cluster.touch(regions.iter().map(|meta| RegionId(meta.id)));
            }
            for (at, meta) in (first..).zip(regions) {
                if verdicts.is_refused(at) {
                    continue;
                }
                let looked = match &mut cluster {
                    Ok(cluster) => look(cluster, writer, meta),
                    Err(error) => Err(error.clone()),
                };
                match looked {
                    Ok(Look::Accepted) => {}
                    Ok(Look::ForWriter(writer)) => for_writer.push((at, meta, writer)),
                    Err(error) => verdicts.note(at, Err(error)),
                }
            }
        }
        for (at, meta, writer) in for_writer {
            match self.queue(writer, meta) {
                Ok(region) => queued.push((at, region)),
                Err(error) => verdicts.note(at, Err(error)),
            }
        }
    }
}

/// The verdicts of a call, by the places of its regions.
struct Verdicts {
    list: Vec<pdlite::RegionVerdict>,
    /// Bytes that the answer has left for texts.
    text_bytes: usize,
}

impl Verdicts {
    /// All of them OK.
    fn new(regions: usize) -> Self {
        let list = vec![pdlite::RegionVerdict::new(); regions];
        Self { list, text_bytes: ANSWER_BYTES_MAX - VERDICT_BYTES * regions }
    }

    /// Notes what became of the region at a place. Its text is left out where the answer has no room for it.
    fn note(&mut self, at: usize, result: Result<(), Error>) {
        let Err(error) = result else { return };
        let verdict = &mut self.list[at];
        verdict.code = error.code().into();
        let text = error.to_string();
        if let Some(left) = self.text_bytes.checked_sub(text.len() + TEXT_FRAME_BYTES) {
            verdict.message = text;
            self.text_bytes = left;
        }
    }

    fn is_refused(&self, at: usize) -> bool {
        self.list[at].code != 0
    }

    fn into_answer(self) -> pdlite::RegionHeartbeatsResponse {
        pdlite::RegionHeartbeatsResponse { verdicts: self.list, ..Default::default() }
    }
}

#[cfg(test)]
mod tests {
    use protobuf::Message;

    use super::*;

    #[test]
    fn verdicts_never_make_an_answer_longer_than_clients_take() {
        for regions in [0, 1, 20_000, 100_000, REGIONS_MAX - 1, REGIONS_MAX] {
            let mut verdicts = Verdicts::new(regions);
            (0..regions).for_each(|at| verdicts.note(at, Err(Error::NoSpace)));
            assert!(regions == 0 || verdicts.is_refused(regions - 1));
            let answer = verdicts.into_answer();
            assert_eq!(answer.verdicts.len(), regions);
            let bytes = usize::try_from(answer.compute_size()).unwrap();
            assert!(bytes <= ANSWER_BYTES_MAX, "{bytes} bytes for {regions} regions");
            let told = answer.verdicts.iter().filter(|verdict| !verdict.message.is_empty()).count();
            assert!(regions > 20_000 || told == regions, "there is room for all");
            assert!(regions <= 20_000 || bytes > ANSWER_BYTES_MAX / 10 * 9, "the room is used");
        }
    }
}
