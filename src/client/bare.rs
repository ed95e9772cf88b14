//! Calls as bare as gRPC has them, to measure a PD by: each is made once, when a connection stands, and shares nothing with
//! another. Every answer is told as it is; whether it is right is for the caller to say.
//!
//! Without the wait for a connection a PD that is down would be called as fast as calls can fail.

use std::future::Future;
use std::ops::RangeInclusive;
use std::time::Duration;

use grpcio::Method;

use super::batch::{Batch, batched};
use super::connections::Connections;
use super::retry::{Request, Span};
use super::{ClientOptions, Error};
use crate::core::Region;
use crate::proto::{pd, pd_methods, pdlite, pdlite_methods};

/// A connection with a poll thread of its own, on which its tasks run as well.
pub(crate) struct BareClient {
    connections: Connections,
    /// Of a call, the wait for a connection included.
    timeout: Duration,
}

impl BareClient {
    /// A connection that [`BareClient::connect`] or the first call makes.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`], naming the option.
    pub(crate) fn new(options: &ClientOptions) -> Result<Self, Error> {
        options.check()?;
        Ok(Self { connections: Connections::new(options), timeout: options.timeout })
    }

    /// Waits for the connection, at most a call's timeout.
    ///
    /// # Errors
    ///
    /// `Unreachable`.
    pub(crate) fn connect(&self) -> Result<(), Error> {
        let deadline = Span::new(self.timeout).deadline;
        pollster::block_on(self.connections.ready(deadline)).map(drop)
    }

    /// Runs a task on the poll thread, which takes in the answers too: a task that computes delays all others.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.connections.current().grpc().spawn(task);
    }

    /// Takes `count` timestamps, at least 1.
    ///
    /// # Errors
    ///
    /// Those of [`BareClient::call`]; `Malformed` for an answer of another count.
    pub(crate) async fn timestamps(&self, count: u64) -> Result<RangeInclusive<u64>, Error> {
        let answer = self.call(&pd_methods::TSO, &pd::TsoRequest { count, ..Default::default() }).await?;
        let last = answer.count.checked_sub(1).and_then(|behind| answer.timestamp.checked_add(behind));
        match last {
            Some(last) if answer.count == count => Ok(answer.timestamp..=last),
            _ => Err(self
                .malformed(format!("{} timestamps from {} on, in place of {count}", answer.count, answer.timestamp))),
        }
    }

    /// Looks a key up in `pb.PD`.
    ///
    /// # Errors
    ///
    /// Those of [`BareClient::call`]; `Malformed` for both a region and none, or neither.
    pub(crate) async fn region_by_key(&self, key: Vec<u8>) -> Result<Option<Region>, Error> {
        let request = pd::GetRegionByKeyRequest { key, ..Default::default() };
        self.found(&self.call(&pd_methods::GET_REGION_BY_KEY, &request).await?)
    }

    /// Looks keys up in one call of `pdlite.v1`. The PD may answer only the first of them.
    ///
    /// # Errors
    ///
    /// Those of [`BareClient::region_by_key`]; `Unsupported`; `Malformed` for no answer, or more than were asked for.
    pub(crate) async fn regions_by_keys(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Region>>, Error> {
        let asked = keys.len();
        let request = pdlite::GetRegionsByKeysRequest { keys, ..Default::default() };
        let answer = self.call(&pdlite_methods::GET_REGIONS_BY_KEYS, &request).await?;
        if !(1..=asked).contains(&answer.results.len()) {
            return Err(self.malformed(format!("{} results for {asked} keys", answer.results.len())));
        }
        answer.results.iter().map(|result| self.found(result)).collect()
    }

    /// Reports a region to `pb.PD`.
    ///
    /// # Errors
    ///
    /// Those of [`BareClient::call`]; `Malformed` when it is neither accepted nor refused.
    pub(crate) async fn region_heartbeat(&self, region: &Region) -> Result<(), Error> {
        let answer = self.call(&batched(&pd_methods::REGION_HEARTBEAT), &message([region])).await?;
        if answer.accepted {
            return Ok(());
        }
        Err(self.malformed("a region heartbeat was neither accepted nor refused".into()))
    }

    /// Reports regions in one call of `pdlite.v1`.
    ///
    /// # Errors
    ///
    /// Those of [`BareClient::call`]; `Unsupported`; the first region's `Refused`; `Malformed` for another number of verdicts.
    pub(crate) async fn region_heartbeats(&self, regions: &[Region]) -> Result<(), Error> {
        let answer = self.call(&batched(&pdlite_methods::REGION_HEARTBEATS), &message(regions)).await?;
        if answer.verdicts.len() != regions.len() {
            return Err(self.malformed(format!("{} verdicts on {} regions", answer.verdicts.len(), regions.len())));
        }
        match answer.verdicts.into_iter().find(|verdict| verdict.code != 0) {
            Some(refused) => Err(Error::of_verdict(refused.code, refused.message)),
            None => Ok(()),
        }
    }

    /// # Errors
    ///
    /// `Unreachable`, `TimedOut`, `Lost`, `Refused`, `Malformed`.
    async fn call<Q, A: Unpin>(&self, method: &Method<Q, A>, request: &Q) -> Result<A, Error> {
        let span = Span::new(self.timeout);
        let connection = self.connections.ready(span.deadline).await?;
        let answer = connection.call(method, request, span).await;
        if matches!(answer, Err(Error::TimedOut { .. })) {
            self.connections.note_silent(connection);
        }
        answer
    }

    fn found(&self, answer: &pd::GetRegionByKeyResponse) -> Result<Option<Region>, Error> {
        if answer.region.is_some() == answer.not_found {
            return Err(self.malformed("a lookup found both a region and none, or neither".into()));
        }
        Ok(answer.region.as_ref().map(Region::from))
    }

    fn malformed(&self, reason: String) -> Error {
        Error::Malformed { addr: self.connections.current().addr().to_owned(), reason }
    }
}

/// The bytes of the message that reports `regions` to `pdlite.v1`.
pub(crate) fn heartbeats_len(regions: &[Region]) -> usize {
    message(regions).len()
}

fn message<'a>(regions: impl IntoIterator<Item = &'a Region>) -> Batch {
    let mut batch = Batch::new(usize::MAX);
    batch.fill_with_regions(regions);
    batch
}
