//! A server inside the bench's own process: pd-lite over a disk of the bench's choice, or a bare grpcio handler as the floor.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use grpcio::{ChannelBuilder, EnvBuilder, Method, ServerCredentials, ServiceBuilder};
use pd_lite::core::{Allocators, Cluster, Limits, Region, Regions};
use pd_lite::server::{Server, ServerOptions};
use pd_lite::service::{Pd, RequestLimits};
use pd_lite::storage::fs::Fs;
use pd_lite::storage::{Opened, State};

use super::Result;

/// A serving placement driver.
pub struct InProcess {
    server: Server,
    pd: Arc<Pd>,
}

impl InProcess {
    /// Serves `regions` (ascending ids) from memory.
    pub fn in_memory(regions: Vec<Arc<Region>>) -> Result<Self> {
        let state = Arc::new(State {
            cluster: Mutex::new(restore(regions)?),
            allocators: Mutex::new(Allocators::unbounded(Limits::default())),
        });
        let pd = Arc::new(Pd::in_memory(state, RequestLimits::default()));
        let mut server = bind(&pd)?;
        server.start();
        Ok(Self { server, pd })
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
        pd.attach(opened.start(state, fatal).map_err(|error| error.to_string())?);
        server.start();
        Ok(Self { server, pd })
    }

    pub fn addr(&self) -> &str {
        self.server.addr()
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

fn bind(pd: &Arc<Pd>) -> Result<Server> {
    let options = ServerOptions { addr: "127.0.0.1:0".into(), ..ServerOptions::default() };
    Ok(Server::bind(&options, Arc::clone(pd)).map_err(|error| error.to_string())?)
}

/// A grpcio server whose one method answers every call with the same message: what gRPC itself costs.
pub struct BareHandler {
    addr: String,
    /// Serves until it is dropped.
    _server: grpcio::Server,
}

impl BareHandler {
    /// Serves `method` with `answer`.
    pub fn start<Q, S>(method: &Method<Q, S>, answer: S) -> Result<Self>
    where
        Q: 'static,
        S: Clone + Send + 'static,
    {
        let threads = ServerOptions::default().threads;
        let environment = Arc::new(EnvBuilder::new().cq_count(threads).name_prefix("bare-").build());
        let service = ServiceBuilder::new()
            .add_unary_handler(method, move |ctx, _: Q, sink| {
                let sent = sink.success(answer.clone());
                // A caller that has gone needs no answer.
                ctx.spawn(async move { drop(sent.await) });
            })
            .build();
        let arguments = ChannelBuilder::new(Arc::clone(&environment)).reuse_port(false).build_args();
        let mut server =
            grpcio::ServerBuilder::new(environment).channel_args(arguments).register_service(service).build()?;
        let port = server.add_listening_port("127.0.0.1:0", ServerCredentials::insecure())?;
        server.start();
        Ok(Self { addr: format!("127.0.0.1:{port}"), _server: server })
    }

    pub fn addr(&self) -> &str {
        &self.addr
    }
}
