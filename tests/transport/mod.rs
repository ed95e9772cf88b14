//! The server as a gRPC client meets it: codes of calls that never reach the service, addresses, start and stop.
//!
//! Runs inside the test process, over real sockets.

mod addresses;
mod calls;
mod lifecycle;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pd_lite::core::{Allocators, Cluster, Limits};
use pd_lite::server::{Server, ServerOptions};
use pd_lite::service::{Pd, RequestLimits};
use pd_lite::storage::State;

/// Ends a test that hangs; no verdict depends on it.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

fn state() -> Arc<State> {
    Arc::new(State {
        cluster: Mutex::new(Cluster::default()),
        allocators: Mutex::new(Allocators::unbounded(Limits::default())),
    })
}

fn options(addr: &str) -> ServerOptions {
    ServerOptions { addr: addr.into(), threads: 1, ..ServerOptions::default() }
}

/// An in-memory server on a free port.
fn serve() -> Server {
    let pd = Arc::new(Pd::in_memory(state(), RequestLimits::default()));
    let mut server = Server::bind(&options("127.0.0.1:0"), pd).expect("a free port");
    server.start();
    server
}
