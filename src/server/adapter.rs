//! The one adapter between grpcio and the service: every method is registered by [`Adapter::add`], or [`Adapter::add_stream`].
//!
//! It runs on grpcio's poll threads and never waits. The future that sends an answer is always driven by `ctx.spawn`:
//! dropping it early can cancel the call. A panic of a call is INTERNAL for that call and poisons the [`Pd`]; without that
//! it would end the poll thread and leave an open port that nobody serves.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use grpcio::{Method, Service, ServiceBuilder, UnarySink, UnarySinkResult};

use super::calls::{Call, Calls};
use super::request::{Reader, unread};
use super::status::status;
use super::stream;
use crate::proto::{pd_methods, pdlite, pdlite_methods};
use crate::service::{Answer, Error, Pd, Reply};

/// Registers methods that all work on one placement driver.
pub(super) struct Adapter {
    pd: Arc<Pd>,
    calls: Arc<Calls>,
    request_bytes_max: usize,
    builder: ServiceBuilder,
}

/// The methods of `pb.PD` and `pdlite.v1.PdLite`.
pub(super) fn service(pd: &Arc<Pd>, calls: &Arc<Calls>, request_bytes_max: usize) -> Service {
    let limit = u64::try_from(request_bytes_max).unwrap_or(u64::MAX);
    Adapter::new(pd, calls, request_bytes_max)
        .add(&pd_methods::STORE_HEARTBEAT, Pd::store_heartbeat)
        .add(&pd_methods::REGION_HEARTBEAT, Pd::region_heartbeat)
        .add(&pd_methods::REMOVE_REGION, Pd::remove_region)
        .add(&pd_methods::GET_REGION_BY_KEY, Pd::get_region_by_key)
        .add(&pd_methods::ALLOC_ID, Pd::alloc_id)
        .add(&pd_methods::TSO, Pd::tso)
        .add(&pdlite_methods::REGION_HEARTBEATS, Pd::region_heartbeats)
        .add(&pdlite_methods::GET_REGIONS_BY_KEYS, Pd::get_regions_by_keys)
        .add(&pdlite_methods::SCAN_REGIONS, Pd::scan_regions)
        .add(&pdlite_methods::GET_STORES, Pd::get_stores)
        .add(&pdlite_methods::GET_STATUS, move |pd: &Pd, request| get_status(pd, request, limit))
        .add_stream(&pdlite_methods::TSO, Pd::tso)
        .build()
}

/// The placement driver's status with the one limit that is the server's.
fn get_status(
    pd: &Pd,
    request: &pdlite::GetStatusRequest,
    request_bytes_max: u64,
) -> Answer<pdlite::GetStatusResponse> {
    let mut answer = pd.get_status(request)?;
    if let Reply::Now(status) = &mut answer {
        status.limits.mut_or_insert_default().request_bytes = request_bytes_max;
    }
    Ok(answer)
}

impl Adapter {
    pub(super) fn new(pd: &Arc<Pd>, calls: &Arc<Calls>, request_bytes_max: usize) -> Self {
        Self { pd: Arc::clone(pd), calls: Arc::clone(calls), request_bytes_max, builder: ServiceBuilder::new() }
    }

    pub(super) fn add<Q, A>(
        mut self,
        method: &Method<Q, A>,
        handle: impl Fn(&Pd, &Q) -> Answer<A> + Clone + Send + 'static,
    ) -> Self
    where
        Q: 'static,
        A: Send + 'static,
    {
        let (pd, calls) = (Arc::clone(&self.pd), Arc::clone(&self.calls));
        let reader = Reader::new(method, self.request_bytes_max);
        self.builder = self.builder.add_unary_handler(&unread(method), move |ctx, bytes, sink| {
            let call = calls.begin();
            let request = match reader.read(bytes) {
                Ok(request) => request,
                Err(status) => return ctx.spawn(finish(call, sink.fail(status))),
            };
            match begin(&pd, &calls, || handle(&pd, &request)) {
                Ok(Reply::Now(reply)) => ctx.spawn(finish(call, send(sink, Ok(reply)))),
                Err(error) => ctx.spawn(finish(call, send(sink, Err(error)))),
                Ok(Reply::Later(reply)) => {
                    let pd = Arc::clone(&pd);
                    ctx.spawn(async move {
                        let result = end(&pd, reply).await;
                        finish(call, send(sink, result)).await;
                    });
                }
            }
        });
        self
    }

    /// Registers a method whose stream brings one request after the other.
    pub(super) fn add_stream<Q, A>(
        mut self,
        method: &Method<Q, A>,
        handle: impl Fn(&Pd, &Q) -> Answer<A> + Clone + Send + 'static,
    ) -> Self
    where
        Q: Send + 'static,
        A: Send + 'static,
    {
        let (pd, calls) = (Arc::clone(&self.pd), Arc::clone(&self.calls));
        let reader = Reader::new(method, self.request_bytes_max);
        self.builder = self.builder.add_duplex_streaming_handler(&unread(method), move |ctx, requests, sink| {
            let reader = reader.clone();
            ctx.spawn(stream::serve(Arc::clone(&pd), Arc::clone(&calls), handle.clone(), reader, requests, sink));
        });
        self
    }

    pub(super) fn build(self) -> Service {
        self.builder.build()
    }
}

/// Begins a call that is under way, unless calls are refused.
pub(super) fn begin<A>(pd: &Pd, calls: &Calls, handle: impl FnOnce() -> Answer<A>) -> Answer<A> {
    if calls.are_refused() {
        return Err(Error::Stopped);
    }
    catch_unwind(AssertUnwindSafe(handle)).unwrap_or_else(|_| panicked(pd))
}

/// Waits for the answer to a call that could not have it at once.
pub(super) async fn end<A>(pd: &Pd, reply: BoxFuture<'static, Result<A, Error>>) -> Result<A, Error> {
    AssertUnwindSafe(reply).catch_unwind().await.unwrap_or_else(|_| panicked(pd))
}

fn panicked<T>(pd: &Pd) -> Result<T, Error> {
    pd.poison();
    Err(Error::OutcomeUnknown)
}

/// Hands the answer to gRPC, which sends it while the future is driven.
fn send<A>(sink: UnarySink<A>, result: Result<A, Error>) -> UnarySinkResult {
    match result {
        Ok(reply) => sink.success(reply),
        Err(error) => sink.fail(status(&error)),
    }
}

async fn finish(call: Call, sending: UnarySinkResult) {
    // An error means that the client has gone: there is nobody to tell.
    let _ = sending.await;
    drop(call);
}
