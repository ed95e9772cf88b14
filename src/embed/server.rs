//! A placement driver in this process that others can connect to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use super::{Assembled, EmbedError, Pd, PdBuilder, STOP_GRACE};
use crate::client::{Client, ClientOptions, Error};
use crate::server::{self, ServerOptions};
use crate::service::{Clock, RequestLimits};
use crate::storage::StorageError;

/// How to start a [`Server`]. Starts with the defaults: any free port of 127.0.0.1, everything in memory.
#[derive(Clone, Debug)]
#[must_use = "nothing is started before `start`"]
pub struct ServerBuilder {
    options: ServerOptions,
    pd: PdBuilder,
}

impl Default for ServerBuilder {
    fn default() -> Self {
        let options = ServerOptions { addr: "127.0.0.1:0".to_owned(), ..ServerOptions::default() };
        Self { options, pd: PdBuilder::default() }
    }
}

impl ServerBuilder {
    /// Where to listen: `HOST:PORT`; port 0 is any free one, and `:PORT` is every address of this machine.
    pub fn addr(mut self, addr: impl Into<String>) -> Self {
        self.options.addr = addr.into();
        self
    }

    /// Threads that serve calls, at least one. One for two cores, the default, is fastest.
    pub fn threads(mut self, threads: usize) -> Self {
        self.options.threads = threads;
        self
    }

    /// Longest request, in bytes (65,536).
    pub fn request_bytes_max(mut self, bytes: usize) -> Self {
        self.options.request_bytes_max = bytes;
        self
    }

    /// As [`PdBuilder::in_memory`].
    pub fn in_memory(mut self) -> Self {
        self.pd = self.pd.in_memory();
        self
    }

    /// As [`PdBuilder::workdir`].
    pub fn workdir(mut self, workdir: impl Into<PathBuf>) -> Self {
        self.pd = self.pd.workdir(workdir);
        self
    }

    /// As [`PdBuilder::limits`].
    pub fn limits(mut self, limits: RequestLimits) -> Self {
        self.pd = self.pd.limits(limits);
        self
    }

    /// As [`PdBuilder::clock`].
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.pd = self.pd.clock(clock);
        self
    }

    /// As [`PdBuilder::id_start`].
    pub fn id_start(mut self, start: u64) -> Self {
        self.pd = self.pd.id_start(start);
        self
    }

    /// As [`PdBuilder::ts_start`].
    pub fn ts_start(mut self, start: u64) -> Self {
        self.pd = self.pd.ts_start(start);
        self
    }

    /// Starts to serve. A client that connects from now on is answered.
    ///
    /// # Errors
    ///
    /// [`EmbedError::Bind`] for the address, [`EmbedError::Storage`] for the workdir; then nothing was written.
    pub fn start(self) -> Result<Server, EmbedError> {
        let Self { options, pd: PdBuilder { parts } } = self;
        let bind = |pd: &Arc<crate::service::Pd>| server::Server::bind(&options, Arc::clone(pd));
        let Assembled { pd, mut front, fatal, .. } = parts.assemble(bind)?;
        let pd = Pd::new(pd, parts.workdir, fatal)?;
        front.start();
        Ok(Server {
            front,
            pd,
            client: OnceLock::new(),
            request_bytes_max: options.request_bytes_max,
            is_stopped: false,
        })
    }
}

/// A placement driver in this process that others can connect to: what `pd-lite pd` serves, on threads of its own.
///
/// Dropping it stops it, as [`Server::stop`] does. [`crate::guide`] shows more.
///
/// ```
/// use pd_lite::Server;
///
/// let server = Server::builder().start()?;
/// println!("a PD listens on {}", server.addr());
/// let client = server.client();
/// assert!(client.get_ts()? < client.get_ts()?);
/// server.stop()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Server {
    front: server::Server,
    pd: Pd,
    client: OnceLock<Client>,
    request_bytes_max: usize,
    is_stopped: bool,
}

impl Server {
    /// A server with the default options, to be changed.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// The address that is served, resolved and with the real port: `127.0.0.1:41234`.
    #[must_use]
    pub fn addr(&self) -> &str {
        self.front.addr()
    }

    /// A client of this server, connected. All that are asked for share one connection, for which the first one waits: should
    /// it not stand within 2 s, the client's calls go on trying. For other options than the default ones, [`Client::new`] with
    /// [`Server::addr`].
    ///
    /// # Panics
    ///
    /// Never: a server's own address is one that a client takes.
    #[must_use]
    pub fn client(&self) -> Client {
        let make = || -> Result<Client, Error> {
            let options = ClientOptions::new(&reachable(self.addr()));
            Client::new(ClientOptions { request_bytes_max: self.request_bytes_max.max(1), ..options })
        };
        let connected = || {
            let client = make().expect("a resolved address, and no option is 0");
            if let Err(error) = client.wait_for_connection() {
                log::warn!("the client of the server in this process is not connected yet: {error}");
            }
            client
        };
        self.client.get_or_init(connected).clone()
    }

    /// The same placement driver without the network.
    #[must_use]
    pub fn pd(&self) -> Pd {
        self.pd.clone()
    }

    /// The error of the disk that has ended this placement driver: every later call fails. The process goes on, and so does the
    /// port, so that clients are told.
    #[must_use]
    pub fn failure(&self) -> Option<&StorageError> {
        self.pd.failure()
    }

    /// Refuses new calls, waits for those under way (5 s, then they are cancelled), and writes the exact counters. Calls of
    /// [`Server::pd`]'s handles are [`Error::Closed`] afterwards.
    ///
    /// # Errors
    ///
    /// Those of [`Pd::stop`].
    pub fn stop(mut self) -> Result<(), EmbedError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), EmbedError> {
        self.is_stopped = true;
        if !self.front.stop(STOP_GRACE) {
            log::warn!("calls that were still under way after {STOP_GRACE:?} are cancelled");
        }
        self.pd.stop()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.is_stopped
            && let Err(error) = self.end()
        {
            log::error!("{error}");
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addr", &self.addr()).field("pd", &self.pd).finish_non_exhaustive()
    }
}

/// Where a client of this process finds a server that listens on `addr`: every address is no address to connect to.
fn reachable(addr: &str) -> String {
    let Ok(mut endpoint) = addr.parse::<SocketAddr>() else { return addr.to_owned() };
    match endpoint.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => endpoint.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => endpoint.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    endpoint.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_every_address_is_reached_on_this_machine() {
        for (addr, expected) in [
            ("[::]:7", "[::1]:7"),
            ("0.0.0.0:7", "127.0.0.1:7"),
            ("192.0.2.1:7", "192.0.2.1:7"),
            ("[2001:db8::1]:7", "[2001:db8::1]:7"),
        ] {
            assert_eq!(reachable(addr), expected);
        }
    }
}
