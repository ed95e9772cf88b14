//! A server inside the bench's own process: pd-lite over a disk of the bench's choice, or a bare grpcio handler as the floor.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use grpcio::{Method, RequestStream, ServiceBuilder, WriteFlags};
use pd_lite::core::{Allocators, Cluster, Limits, Regions};
use pd_lite::server::{Server, ServerOptions};
use pd_lite::service::{Pd, RequestLimits};
use pd_lite::storage::fs::Fs;
use pd_lite::storage::{Opened, State};

use super::Result;

/// A serving placement driver.
pub struct InProcess {
    server: Server,
    pd: Arc<Pd>,
    state: Arc<State>,
}

impl InProcess {
    /// Serves `regions` from memory.
    pub fn in_memory(regions: impl Into<Regions>) -> Result<Self> {
        let state = Arc::new(State {
            cluster: Mutex::new(restore(regions)?),
            allocators: Mutex::new(Allocators::unbounded(Limits::default())),
        });
        let pd = Arc::new(Pd::in_memory(Arc::clone(&state), RequestLimits::default()));
        let mut server = bind(&pd)?;
        server.start();
        Ok(Self { server, pd, state })
    }

    /// Serves a workdir on `fs`.
    pub fn durable(fs: Arc<dyn Fs>, workdir: &Path) -> Result<Self> {
        let mut opened = Opened::open(fs, workdir).map_err(|error| error.to_string())?;
        let snapshot = opened.take_snapshot();
        let state = Arc::new(State {
            cluster: Mutex::new(restore(snapshot.regions)?),
            allocators: Mutex::new(Allocators::durable(snapshot.issued)),
        });
        let pd = Arc::new(Pd::durable(Arc::clone(&state), RequestLimits::default()));
        let mut server = bind(&pd)?;
        // Nobody listens for the disk's failure: every call that follows one fails, and so does the bench.
        let (fatal, _) = crossbeam_channel::bounded(1);
        pd.attach(opened.start(Arc::clone(&state), fatal).map_err(|error| error.to_string())?);
        server.start();
        Ok(Self { server, pd, state })
    }

    pub fn addr(&self) -> &str {
        self.server.addr()
    }

    /// The calls that it serves, without the network.
    pub fn pd(&self) -> &Pd {
        &self.pd
    }

    /// What the calls work on.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Ends the server and writes what is left.
    pub fn stop(mut self) -> Result<()> {
        self.server.stop(Duration::from_secs(5));
        Ok(self.pd.stop().map_err(|error| error.to_string())?)
    }
}

fn restore(regions: impl Into<Regions>) -> Result<Cluster> {
    Ok(Cluster::restore(regions).map_err(|overlap| format!("the regions of a bench overlap: {overlap:?}"))?)
}

fn options() -> ServerOptions {
    ServerOptions { addr: "127.0.0.1:0".into(), ..ServerOptions::default() }
}

fn bind(pd: &Arc<Pd>) -> Result<Server> {
    Ok(Server::bind(&options(), Arc::clone(pd)).map_err(|error| error.to_string())?)
}

/// A server with pd-lite's own settings and threads whose one method answers every request with the same message: what gRPC
/// itself costs, and the reading and writing of the messages.
pub struct BareHandler {
    /// Serves until it is dropped.
    server: Server,
}

impl BareHandler {
    /// Serves a unary `method` with `answer`.
    pub fn start<Q, S>(method: &Method<Q, S>, answer: S) -> Result<Self>
    where
        Q: 'static,
        S: Clone + Send + 'static,
    {
        Self::serve(ServiceBuilder::new().add_unary_handler(method, move |ctx, _: Q, sink| {
            let sent = sink.success(answer.clone());
            // A caller that has gone needs no answer.
            ctx.spawn(async move { drop(sent.await) });
        }))
    }

    /// Serves a `method` with streams both ways: each request is answered with `answer`.
    pub fn start_stream<Q, S>(method: &Method<Q, S>, answer: S) -> Result<Self>
    where
        Q: Send + 'static,
        S: Clone + Send + 'static,
    {
        Self::serve(ServiceBuilder::new().add_duplex_streaming_handler(
            method,
            move |ctx, mut requests: RequestStream<Q>, mut sink| {
                let answer = answer.clone();
                ctx.spawn(async move {
                    while let Some(Ok(_)) = requests.next().await {
                        if sink.send((answer.clone(), WriteFlags::default())).await.is_err() {
                            return;
                        }
                    }
                    drop(sink.close().await);
                });
            },
        ))
    }

    fn serve(service: ServiceBuilder) -> Result<Self> {
        let mut server = Server::bind_service(&options(), service.build()).map_err(|error| error.to_string())?;
        server.start();
        Ok(Self { server })
    }

    pub fn addr(&self) -> &str {
        self.server.addr()
    }
}
