//! Region heartbeats: many in a message where the PD offers that, else one after the other.
//!
//! One message is under way at a time: what a region may be depends on those before it (a split's parent shrinks first). For
//! the same reason nothing more is sent once a message has failed.

use std::borrow::Borrow;

use super::batch::{Batch, batched};
use super::retry::{Repeat, Request, Span};
use super::{Error, Inner};
use crate::core::Region;
use crate::proto::{pd_methods, pdlite, pdlite_methods};

/// The most regions that `pdlite.v1` takes in one message.
const REGIONS_MAX: usize = 1 << 20;

impl Inner {
    /// Reports one region.
    ///
    /// # Errors
    ///
    /// Those of [`Inner::call`]; `Malformed` when the PD neither accepts nor refuses.
    pub(super) fn region_heartbeat(&self, region: &Region, repeat: Repeat) -> Result<(), Error> {
        let mut request = Batch::new(usize::MAX);
        request.fill_with_regions([region]);
        if self.call(&batched(&pd_methods::REGION_HEARTBEAT), &request, repeat)?.accepted {
            return Ok(());
        }
        Err(self.malformed("a region heartbeat was neither accepted nor refused".into()))
    }

    /// Reports `regions`, and returns as many verdicts.
    pub(super) fn region_heartbeats<R: Borrow<Region>>(&self, regions: &[R]) -> Vec<Result<(), Error>> {
        let mut verdicts = Vec::with_capacity(regions.len());
        let mut bytes_max = usize::MAX;
        while verdicts.len() < regions.len() {
            let rest = &regions[verdicts.len()..];
            if let Err(error) = self.heartbeats_of_front(rest, &mut bytes_max, &mut verdicts) {
                verdicts.resize(regions.len(), Err(error.of_rest()));
            }
        }
        verdicts
    }

    /// Reports the regions at the front of `rest` that one message of `bytes_max` or less has room for, and appends their
    /// verdicts.
    ///
    /// # Errors
    ///
    /// Why nothing more can be sent. What was sent has a verdict, the failed message's regions the same error.
    fn heartbeats_of_front<R: Borrow<Region>>(
        &self,
        rest: &[R],
        bytes_max: &mut usize,
        verdicts: &mut Vec<Result<(), Error>>,
    ) -> Result<(), Error> {
        let span = Span::new(self.options.timeout);
        *bytes_max = self.request_bytes_max(span)?.min(*bytes_max);
        let mut request = Batch::new(*bytes_max);
        request.fill_with_regions(rest.iter().take(REGIONS_MAX).map(Borrow::borrow));
        let front = &rest[..request.count()];
        if front.is_empty() {
            verdicts.push(Err(Error::Invalid(format!(
                "region {} takes more than the {bytes_max} bytes that a message may have",
                rest[0].borrow().id()
            ))));
            return Ok(());
        }
        match self.call_within(span, &batched(&pdlite_methods::REGION_HEARTBEATS), &request, Repeat::UnlessSent) {
            Ok(answer) if answer.verdicts.len() == front.len() => {
                verdicts.extend(answer.verdicts.into_iter().map(|verdict| self.verdict(verdict)));
                Ok(())
            }
            Ok(answer) => {
                let reason = format!("{} verdicts on {} regions", answer.verdicts.len(), front.len());
                fail(verdicts, front.len(), self.malformed(reason))
            }
            Err(Error::Unsupported { .. }) => self.one_by_one(front, verdicts),
            Err(Error::Invalid(_)) => {
                // Too long after all, for the PD in use is another one by now: a shorter one will do.
                *bytes_max = request.len() - 1;
                Ok(())
            }
            Err(error) => fail(verdicts, front.len(), error),
        }
    }

    /// Reports `regions` to a PD without `pdlite.v1`. A refusal is one region's verdict; anything else ends it.
    fn one_by_one<R: Borrow<Region>>(&self, regions: &[R], verdicts: &mut Vec<Result<(), Error>>) -> Result<(), Error> {
        for region in regions {
            // As a batch does, it leaves what may pass, such as a full disk, to the caller: a region at a time would wait.
            match self.region_heartbeat(region.borrow(), Repeat::Never) {
                verdict @ (Ok(()) | Err(Error::Refused { .. } | Error::Invalid(_))) => verdicts.push(verdict),
                Err(error) => return fail(verdicts, 1, error),
            }
        }
        Ok(())
    }

    fn verdict(&self, verdict: pdlite::RegionVerdict) -> Result<(), Error> {
        if verdict.code == 0 {
            return Ok(());
        }
        Err(Error::of_verdict(verdict.code, verdict.message))
    }
}

/// Gives the next `count` regions this `error`, and ends the call with it.
fn fail(verdicts: &mut Vec<Result<(), Error>>, count: usize, error: Error) -> Result<(), Error> {
    verdicts.resize(verdicts.len() + count, Err(error.clone()));
    Err(error)
}
