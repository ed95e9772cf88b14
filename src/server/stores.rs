//! The service that the stores of `pd-lite serve` offer each other, as [`super::Server::bind_stores`] registers it.

use std::sync::Arc;

use futures::future::BoxFuture;
use grpcio::{Method, RpcStatus, RpcStatusCode, Service, ServiceBuilder};

use super::calls::Calls;
use super::request::{Reader, unread};
use crate::proto::{serve as pb, serve_methods as methods};

/// What a call of another store ends with, once the disk has what it asks for.
pub type StoreAnswer<T> = BoxFuture<'static, Result<T, StoreCallError>>;

/// A store as the others may call it. A call never waits.
pub trait StoreCalls: Send + Sync + 'static {
    fn take_lead(&self, request: &pb::TakeLeadRequest) -> StoreAnswer<pb::TakeLeadResponse>;
    fn share_leads(&self, request: &pb::ShareLeadsRequest) -> StoreAnswer<pb::ShareLeadsResponse>;
}

/// Why a call of another store fails. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreCallError {
    /// The call is for another store: FAILED_PRECONDITION.
    WrongStore { called: u64, this: u64 },
    /// The store stops, has no space on its disk or too much to do: UNAVAILABLE.
    NotNow,
}

impl From<StoreCallError> for RpcStatus {
    fn from(error: StoreCallError) -> Self {
        match error {
            StoreCallError::WrongStore { called, this } => {
                let message = format!("this is store {this}, not {called}: check the --peer addresses");
                Self::with_message(RpcStatusCode::FAILED_PRECONDITION, message)
            }
            StoreCallError::NotNow => {
                Self::with_message(RpcStatusCode::UNAVAILABLE, "the store cannot answer now; try again".into())
            }
        }
    }
}

/// The service `pdlite.serve.v1.Stores`.
pub(super) fn service(store: &Arc<dyn StoreCalls>, calls: &Arc<Calls>, request_bytes_max: usize) -> Service {
    let (mut builder, max) = (ServiceBuilder::new(), request_bytes_max);
    builder = add(builder, &methods::TAKE_LEAD, max, store, calls, |store, request| store.take_lead(request));
    builder = add(builder, &methods::SHARE_LEADS, max, store, calls, |store, request| store.share_leads(request));
    builder.build()
}

fn add<Q: 'static, A: Send + 'static>(
    builder: ServiceBuilder,
    method: &Method<Q, A>,
    request_bytes_max: usize,
    store: &Arc<dyn StoreCalls>,
    calls: &Arc<Calls>,
    handle: fn(&dyn StoreCalls, &Q) -> StoreAnswer<A>,
) -> ServiceBuilder {
    let (store, calls) = (Arc::clone(store), Arc::clone(calls));
    let reader = Reader::new(method, request_bytes_max);
    builder.add_unary_handler(&unread(method), move |ctx, bytes, sink| {
        let call = calls.begin();
        let answer = match reader.read(bytes) {
            Ok(_) if calls.are_refused() => Err(StoreCallError::NotNow.into()),
            Ok(request) => Ok(handle(&*store, &request)),
            Err(status) => Err(status),
        };
        ctx.spawn(async move {
            let answer = match answer {
                Ok(answer) => answer.await.map_err(RpcStatus::from),
                Err(status) => Err(status),
            };
            // An error means that the caller has gone: there is nobody to tell.
            let _ = match answer {
                Ok(answer) => sink.success(answer).await,
                Err(status) => sink.fail(status).await,
            };
            drop(call);
        });
    })
}
