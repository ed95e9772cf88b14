//! The gRPC server: a bound port, then calls, then a stop that waits for them.
//!
//! Threads: `threads` poll threads, each with its completion queue, run every call; gRPC core has a few threads of its
//! own. Between [`Server::bind`] and [`Server::start`] the kernel queues connections and nobody answers them.

mod adapter;
mod addr;
mod bind;
mod calls;
mod holder;
mod request;
mod settings;
mod status;
mod stop;
mod stores;
mod stream;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use grpcio::{EnvBuilder, ServerCredentials, Service};

use crate::service::Pd;

use self::calls::Calls;

pub use self::bind::BindError;
pub use self::stores::{StoreAnswer, StoreCallError, StoreCalls};

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// As Go users write it: `host:port`, `:2379`, `0.0.0.0:2379`, `[::1]:0`.
    pub addr: String,
    /// Completion queue threads; default: one per two cores, at least 1.
    pub threads: usize,
    /// Longest request, in bytes (`--max-request-bytes`, default 65,536); longer is RESOURCE_EXHAUSTED.
    pub request_bytes_max: usize,
}

impl Default for ServerOptions {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self { addr: "127.0.0.1:2379".into(), threads: (cores / 2).max(1), request_bytes_max: 64 << 10 }
    }
}

/// A server with a bound port.
pub struct Server {
    addr: String,
    calls: Arc<Calls>,
    /// `None` once it is stopped.
    grpc: Option<grpcio::Server>,
}

impl Server {
    /// Binds the port without serving yet.
    ///
    /// # Errors
    ///
    /// Any [`BindError`].
    pub fn bind(options: &ServerOptions, pd: Arc<Pd>) -> Result<Self, BindError> {
        grpcio::redirect_log();
        let calls = Arc::new(Calls::default());
        let service = adapter::service(&pd, &calls, options.request_bytes_max);
        Self::bind_at(bind::find(&options.addr)?, options, service, calls)
    }

    /// The same for what the stores of `pd-lite serve` offer each other.
    ///
    /// # Errors
    ///
    /// Any [`BindError`].
    pub fn bind_stores(options: &ServerOptions, store: Arc<dyn StoreCalls>) -> Result<Self, BindError> {
        grpcio::redirect_log();
        let calls = Arc::new(Calls::default());
        let service = stores::service(&store, &calls, options.request_bytes_max);
        Self::bind_at(bind::find(&options.addr)?, options, service, calls)
    }

    /// The same for calls of somebody else, under the same settings, but without a limit on the length of a message: what gRPC
    /// itself costs.
    ///
    /// # Errors
    ///
    /// Any [`BindError`].
    pub fn bind_service(options: &ServerOptions, service: Service) -> Result<Self, BindError> {
        grpcio::redirect_log();
        Self::bind_at(bind::find(&options.addr)?, options, service, Arc::default())
    }

    fn bind_at(
        endpoint: SocketAddr,
        options: &ServerOptions,
        service: Service,
        calls: Arc<Calls>,
    ) -> Result<Self, BindError> {
        let env = Arc::new(EnvBuilder::new().cq_count(options.threads.max(1)).name_prefix("grpc-poll").build());
        let mut grpc =
            settings::builder(env).register_service(service).build().expect("a new environment's queues are open");
        let port = grpc
            .add_listening_port(endpoint.to_string(), ServerCredentials::insecure())
            .map_err(|_| bind::lost(&options.addr, endpoint))?;
        let addr = SocketAddr::new(endpoint.ip(), port).to_string();
        Ok(Self { addr, calls, grpc: Some(grpc) })
    }

    /// The address that is served, resolved and with the real port, as Go's listener prints it: `127.0.0.1:41234` for
    /// `localhost:0`, `[::]:2379` for `:2379`.
    #[must_use]
    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// Begins to answer calls.
    pub fn start(&mut self) {
        if let Some(grpc) = &mut self.grpc {
            grpc.start();
        }
    }

    /// Refuses new calls, waits at most `grace` for those under way, then cancels them. Returns whether all of them ended
    /// by themselves. The placement driver has to keep answering meanwhile; a stopped server stays stopped.
    pub fn stop(&mut self, grace: Duration) -> bool {
        self.grpc.take().is_none_or(|grpc| stop::stop(grpc, &self.calls, grace))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}
