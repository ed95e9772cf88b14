//! The one adapter between grpcio and the service: every method is registered by [`Adapter::add`].
//!
//! It runs on grpcio's poll threads and never waits. The future that sends an answer is always driven by `ctx.spawn`:
//! dropping it early can cancel the call. A panic of a call is INTERNAL for that call and poisons the [`Pd`]; without that
//! it would end the poll thread and leave an open port that nobody serves.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures::FutureExt;
use grpcio::{Method, Service, ServiceBuilder, UnarySink, UnarySinkResult};

use super::calls::{Call, Calls};
use super::status::status;
use crate::proto::pd_methods as methods;
use crate::service::{Answer, Error, Pd, Reply};

/// Registers methods that all work on one placement driver.
pub(super) struct Adapter {
    pd: Arc<Pd>,
    calls: Arc<Calls>,
    builder: ServiceBuilder,
}

/// The service `pb.PD`.
pub(super) fn service(pd: &Arc<Pd>, calls: &Arc<Calls>) -> Service {
    Adapter::new(pd, calls)
        .add(&methods::STORE_HEARTBEAT, Pd::store_heartbeat)
        .add(&methods::REGION_HEARTBEAT, Pd::region_heartbeat)
        .add(&methods::REMOVE_REGION, Pd::remove_region)
        .add(&methods::GET_REGION_BY_KEY, Pd::get_region_by_key)
        .add(&methods::ALLOC_ID, Pd::alloc_id)
        .add(&methods::TSO, Pd::tso)
        .build()
}

impl Adapter {
    pub(super) fn new(pd: &Arc<Pd>, calls: &Arc<Calls>) -> Self {
        Self { pd: Arc::clone(pd), calls: Arc::clone(calls), builder: ServiceBuilder::new() }
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
        self.builder = self.builder.add_unary_handler(method, move |ctx, request, sink| {
            let call = calls.begin();
            let answer = if calls.are_refused() {
                Err(Error::Stopped)
            } else {
                catch_unwind(AssertUnwindSafe(|| handle(&pd, &request))).unwrap_or_else(|_| panicked(&pd))
            };
            match answer {
                Ok(Reply::Now(reply)) => ctx.spawn(finish(call, send(sink, Ok(reply)))),
                Err(error) => ctx.spawn(finish(call, send(sink, Err(error)))),
                Ok(Reply::Later(reply)) => {
                    let pd = Arc::clone(&pd);
                    ctx.spawn(async move {
                        let result = AssertUnwindSafe(reply).catch_unwind().await.unwrap_or_else(|_| panicked(&pd));
                        finish(call, send(sink, result)).await;
                    });
                }
            }
        });
        self
    }

    pub(super) fn build(self) -> Service {
        self.builder.build()
    }
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
