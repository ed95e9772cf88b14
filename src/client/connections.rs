//! The connections to a PD's addresses, and which of them is in use.
//!
//! One address is used at a time: the current one, until it cannot be connected to or does not answer. Whoever finds that
//! out moves on to the next; a comparison keeps a crowd that finds it out together from skipping addresses.
//!
//! Connects come at one pace whatever the number of callers: gRPC makes one attempt at a time, ends it after
//! `connect_timeout`, and pauses between attempts that fail; [`Connection::begin_connect`] paces those that succeed and
//! break at once. Callers wait for a change of state and make no connects of their own. gRPC goes on trying an address that
//! has failed, at the same pace, also while another one is in use.
//!
//! Threads: one poll thread a client, on which spawned futures run as well; it ends with the last handle.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use grpcio::{CallOption, ChannelBuilder, Client, ConnectivityState, EnvBuilder, Method, RpcStatus, RpcStatusCode};

use super::retry::Span;
use super::{ClientOptions, Error};

/// The pause between two connects to one address, give or take a fifth. It is the shortest that gRPC allows, and does not
/// grow: a PD that is back is found by then.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);

/// How long callers wait for an address that refuses when there are others to try.
const REFUSED_WAIT: Duration = Duration::from_millis(50);

/// How old a host's addresses may be, in milliseconds, when none of them can be connected to.
const RESOLVE_PAUSE_MS: i32 = 1_000;

/// A connection that the PD does not acknowledge what is sent over is closed after this: its host or the way to it is gone.
const DEAD_AFTER: Duration = Duration::from_secs(3);

/// How often gRPC asks for a sign of life. Go's servers close the connections of clients that ask more often than every 5
/// minutes.
const KEEPALIVE_TIME: Duration = Duration::from_secs(6 * 60);

/// What the names of the methods of `pdlite.v1` begin with.
const PDLITE: &str = "/pdlite.v1.PdLite/";

/// The connections of one client.
pub(super) struct Connections {
    all: Vec<Arc<Connection>>,
    current: AtomicUsize,
}

/// The connection to one address.
pub(super) struct Connection {
    addr: String,
    grpc: Client,
    /// When gRPC was last told to connect.
    connect_begun: Mutex<Option<Instant>>,
    /// The PD has answered that it does not know `pdlite.v1`.
    lacks_pdlite: AtomicBool,
    /// The longest message that the PD takes, in bytes; 0: not known.
    request_bytes_max: AtomicUsize,
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
                // A region that a workdir brings along may be longer than gRPC's 4 MiB.
                .max_receive_message_len(-1)
                .enable_http_proxy(options.use_http_proxy)
                .use_local_subchannel_pool(true)
                .keepalive_time(KEEPALIVE_TIME)
                .keepalive_timeout(DEAD_AFTER)
                .initial_reconnect_backoff(CONNECT_PAUSE)
                .max_reconnect_backoff(CONNECT_PAUSE)
                // In gRPC this is how long one attempt to connect may take.
                .raw_cfg_int(c"grpc.min_reconnect_backoff_ms".into(), connect_ms)
                .raw_cfg_int(c"grpc.dns_min_time_between_resolutions_ms".into(), RESOLVE_PAUSE_MS)
                .connect(addr);
            Arc::new(Connection {
                addr: addr.clone(),
                grpc: Client::new(channel),
                connect_begun: Mutex::new(None),
                lacks_pdlite: AtomicBool::new(false),
                request_bytes_max: AtomicUsize::new(0),
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
    /// It may break before the call is under way. gRPC does not tell whether such a call was sent, so it counts as one that
    /// was.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] once `deadline` has passed.
    pub(super) async fn ready(&self, deadline: Instant) -> Result<&Arc<Connection>, Error> {
        let begun = Instant::now();
        let mut refused = 0;
        loop {
            let at = self.current.load(Ordering::Relaxed);
            let connection = &self.all[at];
            let channel = connection.grpc().channel();
            let state = channel.check_connectivity_state(false);
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Unreachable { addrs: self.addrs(), waited: begun.elapsed() });
            }
            if state == ConnectivityState::GRPC_CHANNEL_READY {
                return Ok(connection);
            }
            connection.note_lost();
            let mut wait = left;
            if state == ConnectivityState::GRPC_CHANNEL_IDLE {
                match connection.begin_connect() {
                    Ok(()) => {
                        channel.check_connectivity_state(true);
                    }
                    Err(pause) => wait = wait.min(pause),
                }
            }
            if state == ConnectivityState::GRPC_CHANNEL_TRANSIENT_FAILURE && self.all.len() > 1 {
                self.turn_from(at);
                refused += 1;
                if refused % self.all.len() != 0 {
                    continue;
                }
                wait = wait.min(REFUSED_WAIT);
            }
            channel.wait_for_state_change(state, wait).await;
        }
    }

    /// Notes that the PD did not answer in time over `connection`. Behind the next address it may.
    pub(super) fn note_silent(&self, connection: &Arc<Connection>) {
        if let Some(at) = self.all.iter().position(|other| Arc::ptr_eq(other, connection)) {
            self.turn_from(at);
        }
    }

    /// All addresses, with commas.
    pub(super) fn addrs(&self) -> String {
        self.all.iter().map(|connection| connection.addr.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Makes the address behind the one `at` the current one, unless another caller has done so.
    fn turn_from(&self, at: usize) {
        let _ = self.current.compare_exchange(at, (at + 1) % self.all.len(), Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Connection {
    pub(super) fn addr(&self) -> &str {
        &self.addr
    }

    pub(super) fn grpc(&self) -> &Client {
        &self.grpc
    }

    /// Makes one call, once, over this connection.
    ///
    /// # Errors
    ///
    /// `Unsupported` when it is a call of `pdlite.v1` and the PD does not know that, `TimedOut`, `Lost`, `Refused`,
    /// `Malformed`.
    pub(super) async fn call<Q, A: Unpin>(&self, method: &Method<Q, A>, request: &Q, span: Span) -> Result<A, Error> {
        let pdlite_call = method.name.strip_prefix(PDLITE);
        let unsupported = |call| Error::Unsupported { addr: self.addr.clone(), call };
        if let Some(call) = pdlite_call
            && !self.may_offer_pdlite()
        {
            return Err(unsupported(call));
        }
        let answer = match self.grpc().unary_call_async(method, request, CallOption::default().timeout(span.left())) {
            Ok(answer) => AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| Err(without_answer())),
            Err(error) => Err(error),
        };
        let error = match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => Error::of_call(error, &self.addr, span.begun.elapsed()),
        };
        match pdlite_call {
            Some(call) if error.is_unimplemented() => {
                self.note_lacks_pdlite();
                return Err(unsupported(call));
            }
            _ => {}
        }
        if matches!(error, Error::Lost { .. }) {
            self.note_lost();
        }
        Err(error)
    }

    /// Whether `pdlite.v1` is worth a try.
    pub(super) fn may_offer_pdlite(&self) -> bool {
        !self.lacks_pdlite.load(Ordering::Relaxed)
    }

    /// Notes that the PD has answered UNIMPLEMENTED to a call of `pdlite.v1`.
    pub(super) fn note_lacks_pdlite(&self) {
        self.lacks_pdlite.store(true, Ordering::Relaxed);
    }

    /// The longest message that the PD takes, in bytes, if it is known.
    pub(super) fn request_bytes_max(&self) -> Option<usize> {
        let max = self.request_bytes_max.load(Ordering::Relaxed);
        (max > 0).then_some(max)
    }

    pub(super) fn note_request_bytes_max(&self, max: usize) {
        self.request_bytes_max.store(max, Ordering::Relaxed);
    }

    /// Notes that the connection broke: the next PD there may be another one.
    pub(super) fn note_lost(&self) {
        self.lacks_pdlite.store(false, Ordering::Relaxed);
        self.forget_request_bytes_max();
    }

    pub(super) fn forget_request_bytes_max(&self) {
        self.request_bytes_max.store(0, Ordering::Relaxed);
    }

    /// Whether gRPC may be told to connect now; if not, when it may. gRPC itself connects at once after a connection that
    /// stood, however short.
    fn begin_connect(&self) -> Result<(), Duration> {
        let mut begun = self.connect_begun.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = begun.map_or(Duration::ZERO, |begun| CONNECT_PAUSE.saturating_sub(begun.elapsed()));
        if !pause.is_zero() {
            return Err(pause);
        }
        *begun = Some(Instant::now());
        Ok(())
    }
}

/// What becomes of a call that ends with OK and without a message, as one may that crosses its deadline. grpcio panics over it,
/// which must not end a poll thread, nor that of a caller.
fn without_answer() -> grpcio::Error {
    let reason = "the call ended without an answer".to_owned();
    grpcio::Error::RpcFailure(RpcStatus::with_message(RpcStatusCode::UNAVAILABLE, reason))
}
