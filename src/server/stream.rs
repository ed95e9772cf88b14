//! Streams of requests: each is answered, in order, before the next one is read.
//!
//! A stream is one future on its poll thread; gRPC holds the client back while it works or its answers are not taken. It
//! is a call under way while it has a request to answer, and while its status is sent. In between it waits for a request,
//! and ends when the server stops.

use std::sync::Arc;

use futures::future::{Either, select};
use futures::{SinkExt, StreamExt};
use grpcio::{DuplexSink, MessageReader, RequestStream, WriteFlags};

use super::adapter::{begin, end};
use super::calls::Calls;
use super::request::Reader;
use super::status::status;
use crate::service::{Answer, Error, Pd, Reply};

/// Serves one stream until its client ends it or goes, a request is refused, or the server stops.
pub(super) async fn serve<Q, A>(
    pd: Arc<Pd>,
    calls: Arc<Calls>,
    handle: impl Fn(&Pd, &Q) -> Answer<A>,
    reader: Reader<Q>,
    mut requests: RequestStream<MessageReader>,
    mut sink: DuplexSink<A>,
) {
    let mut refused = calls.refused();
    let (call, status) = loop {
        let next = match select(requests.next(), &mut refused).await {
            Either::Left((next, _)) => next,
            Either::Right(_) => break (calls.begin(), status(&Error::Stopped)),
        };
        let call = calls.begin();
        let request = match next.map(|bytes| bytes.map(|bytes| reader.read(bytes))) {
            Some(Ok(Ok(request))) => request,
            Some(Ok(Err(status))) => break (call, status),
            // The client has gone: there is nobody to tell.
            Some(Err(_)) => return,
            None => {
                let _ = sink.close().await;
                return;
            }
        };
        let answer = match begin(&pd, &calls, || handle(&pd, &request)) {
            Ok(Reply::Now(reply)) => Ok(reply),
            Ok(Reply::Later(reply)) => end(&pd, reply).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(reply) => {
                if sink.send((reply, WriteFlags::default())).await.is_err() {
                    return;
                }
            }
            Err(error) => break (call, status(&error)),
        }
    };
    // The requests outlive the status: dropping them cancels the call.
    let _ = sink.fail(status).await;
    drop((call, requests));
}
