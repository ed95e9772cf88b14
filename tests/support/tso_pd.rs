//! A PD of timestamps alone, whose every answer is the test's: each request waits until the test answers it.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use futures::channel::oneshot;
use futures::{FutureExt, SinkExt, TryStreamExt};
use grpcio::{
    ChannelBuilder, RpcStatus, RpcStatusCode, Server, ServerBuilder, ServerCredentials, ServiceBuilder, WriteFlags,
};
use pd_lite::proto::pd::{TsoRequest, TsoResponse};
use pd_lite::proto::{pd_methods, pdlite_methods};

use super::client::environment;

/// Only a client that hangs takes this long to ask.
const HANG: Duration = Duration::from_secs(60);

/// The server. It ends with the handle, and every request that was not answered with it.
pub struct TsoPd {
    server: Server,
    addr: String,
    asked: Receiver<Asked>,
}

/// A request that waits for its answer.
pub struct Asked {
    pub count: u64,
    /// Whether it came on the stream of `pdlite.v1`, not as a call of `pb.PD`.
    pub on_stream: bool,
    answer: oneshot::Sender<Result<TsoResponse, RpcStatus>>,
}

impl Asked {
    pub fn answer(self, timestamp: u64) {
        let count = self.count;
        self.answer_with(timestamp, count);
    }

    pub fn answer_with(self, timestamp: u64, count: u64) {
        // Who asked may have gone.
        let _ = self.answer.send(Ok(TsoResponse { timestamp, count, ..Default::default() }));
    }

    /// Refuses it; on a stream that is its end.
    pub fn fail(self, code: RpcStatusCode) {
        let _ = self.answer.send(Err(RpcStatus::with_message(code, "as the test wants".into())));
    }
}

impl TsoPd {
    /// With the stream of `pdlite.v1`, on a free port.
    pub fn start() -> Self {
        Self::on("127.0.0.1:0", true)
    }

    pub fn on(addr: &str, has_stream: bool) -> Self {
        let (sender, asked) = crossbeam_channel::unbounded();
        let unary = sender.clone();
        let mut service = ServiceBuilder::new().add_unary_handler(&pd_methods::TSO, move |ctx, request, sink| {
            let answer = ask(&unary, &request, false);
            ctx.spawn(async move {
                let _ = match answer.await {
                    Ok(Ok(answer)) => sink.success(answer).await,
                    Ok(Err(status)) => sink.fail(status).await,
                    Err(_) => sink.fail(RpcStatus::new(RpcStatusCode::UNAVAILABLE)).await,
                };
            });
        });
        if has_stream {
            service = service.add_duplex_streaming_handler(&pdlite_methods::TSO, move |ctx, mut requests, mut sink| {
                let sender = sender.clone();
                let answers = async move {
                    while let Some(request) = requests.try_next().await? {
                        match ask(&sender, &request, true).await {
                            Ok(Ok(answer)) => sink.send((answer, WriteFlags::default())).await?,
                            Ok(Err(status)) => return sink.fail(status).await,
                            Err(_) => return sink.fail(RpcStatus::new(RpcStatusCode::UNAVAILABLE)).await,
                        }
                    }
                    sink.close().await
                };
                ctx.spawn(answers.map(drop));
            });
        }
        let args = ChannelBuilder::new(environment()).reuse_port(false).build_args();
        let builder = ServerBuilder::new(environment()).register_service(service.build()).channel_args(args);
        let mut server = builder.build().unwrap();
        let port = server.add_listening_port(addr, ServerCredentials::insecure()).expect("the port is free");
        server.start();
        let (host, _) = addr.rsplit_once(':').unwrap();
        Self { server, addr: format!("{host}:{port}"), asked }
    }

    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// The next request.
    pub fn next(&self) -> Asked {
        self.asked.recv_timeout(HANG).expect("a client asks")
    }

    /// The next request, if one has come.
    pub fn try_next(&self) -> Option<Asked> {
        self.asked.try_recv().ok()
    }
}

fn ask(
    asked: &Sender<Asked>,
    request: &TsoRequest,
    on_stream: bool,
) -> oneshot::Receiver<Result<TsoResponse, RpcStatus>> {
    let (answer, receiver) = oneshot::channel();
    // Where the test has gone, the answer's sender goes with it, and the request fails.
    let _ = asked.send(Asked { count: request.count, on_stream, answer });
    receiver
}

impl Drop for TsoPd {
    fn drop(&mut self) {
        let stopped = self.server.shutdown();
        self.server.cancel_all_calls();
        while self.try_next().is_some() {}
        let _ = pollster::block_on(stopped);
    }
}
