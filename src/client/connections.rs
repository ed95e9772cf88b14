//! The connections to a PD's addresses, and which of them is in use.
//!
//! One address is used at a time: the current one, until it cannot be connected to. Whoever finds that out moves on to the
//! next; a comparison keeps a crowd that finds it out together from skipping addresses. gRPC itself connects again, with
//! its own back-off, so callers that wait for a connection make none of their own.
//!
//! Threads: one poll thread a client, on which spawned futures run as well; it ends with the last handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use grpcio::{ChannelBuilder, Client, ConnectivityState, EnvBuilder};

use super::{ClientOptions, Error};

/// gRPC's first pause between two connects to an address that refuses ...
const RECONNECT_BACKOFF_FIRST: Duration = Duration::from_millis(20);
/// ... and its longest, but for a jitter of a fifth: a PD that is back is found by then.
const RECONNECT_BACKOFF_MAX: Duration = Duration::from_millis(100);

/// How long callers wait for an address that refuses when there are others to try.
const FAILED_WAIT: Duration = Duration::from_millis(50);

/// The connections of one client.
pub(super) struct Connections {
    all: Vec<Arc<Connection>>,
    current: AtomicUsize,
}

/// The connection to one address.
pub(super) struct Connection {
    addr: String,
    grpc: Client,
    /// The PD has answered that it does not know `pdlite.v1`.
    lacks_pdlite: AtomicBool,
}

impl Connections {
    /// Connections that are made when they are needed. `options` are checked.
    pub(super) fn new(options: &ClientOptions) -> Self {
        let environment = Arc::new(EnvBuilder::new().cq_count(1).name_prefix("pd-client").build());
        let connect_ms = i32::try_from(options.connect_timeout.as_millis()).unwrap_or(i32::MAX).max(1);
        let connect = |addr: &String| {
            let channel = ChannelBuilder::new(Arc::clone(&environment))
                // Retries are ours: gRPC's own do not know which calls change something.
                .enable_retry(false)
                .enable_http_proxy(options.use_http_proxy)
                .use_local_subchannel_pool(true)
                .initial_reconnect_backoff(RECONNECT_BACKOFF_FIRST)
                .max_reconnect_backoff(RECONNECT_BACKOFF_MAX)
                // In gRPC this is also how long one attempt to connect may take.
                .raw_cfg_int(c"grpc.min_reconnect_backoff_ms".into(), connect_ms)
                .connect(addr);
            Arc::new(Connection {
                addr: addr.clone(),
                grpc: Client::new(channel),
                lacks_pdlite: AtomicBool::new(false),
            })
        };
        Self { all: options.addrs.iter().map(connect).collect(), current: AtomicUsize::new(0) }
    }

    /// The connection in use, whatever its state.
    pub(super) fn current(&self) -> &Arc<Connection> {
        &self.all[self.current.load(Ordering::Relaxed)]
    }

    /// A connection that stands. Everything else happens before anything is sent.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] once `deadline` has passed.
    pub(super) async fn ready(&self, deadline: Instant) -> Result<&Arc<Connection>, Error> {
        let begun = Instant::now();
        let mut failed = 0;
        loop {
            let at = self.current.load(Ordering::Relaxed);
            let connection = &self.all[at];
            let channel = connection.grpc.channel();
            let state = channel.check_connectivity_state(true);
            if state == ConnectivityState::GRPC_CHANNEL_READY {
                return Ok(connection);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Unreachable { addrs: self.addrs(), waited: begun.elapsed() });
            }
            let mut wait = left;
            if state == ConnectivityState::GRPC_CHANNEL_TRANSIENT_FAILURE && self.all.len() > 1 {
                let next = (at + 1) % self.all.len();
                let _ = self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
                failed += 1;
                if failed % self.all.len() != 0 {
                    continue;
                }
                wait = left.min(FAILED_WAIT);
            }
            channel.wait_for_state_change(state, wait).await;
        }
    }

    /// All addresses, with commas.
    pub(super) fn addrs(&self) -> String {
        self.all.iter().map(|connection| connection.addr.as_str()).collect::<Vec<_>>().join(",")
    }
}

impl Connection {
    pub(super) fn addr(&self) -> &str {
        &self.addr
    }

    pub(super) fn grpc(&self) -> &Client {
        &self.grpc
    }

    /// Whether `pdlite.v1` is worth a try.
    pub(super) fn may_offer_pdlite(&self) -> bool {
        !self.lacks_pdlite.load(Ordering::Relaxed)
    }

    /// Notes that the PD has answered UNIMPLEMENTED to a call of `pdlite.v1`.
    pub(super) fn note_lacks_pdlite(&self) {
        self.lacks_pdlite.store(true, Ordering::Relaxed);
    }

    /// Notes that the connection broke: the next PD there may be another one.
    pub(super) fn note_lost(&self) {
        self.lacks_pdlite.store(false, Ordering::Relaxed);
    }
}
