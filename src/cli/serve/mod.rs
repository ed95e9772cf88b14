//! `pd-lite serve`: starts a store without data, and stops it.
//!
//! The order of a start is the reference's: the command line and the configuration, the workdir (locked, read and checked),
//! the placement driver (which has to answer within [`PD_WAIT`]), the `--peer` values. Then the port is bound, and only then
//! is anything written.

mod args;
mod config;
mod peers;

use std::fmt::Write as _;
use std::time::Duration;

use self::args::{Args, COMMAND, Settings};
use super::signals::StopSignals;
use super::{Exit, Failure, Words, announce, log_lines, printable};
use crate::client::{Client, ClientOptions, Error, Refusal};
use crate::serve::{Inbox, PdLine, Running, Setup, SetupError};
use crate::server::{BindError, Server, ServerOptions};

/// How long the start waits for the placement driver. Reference: the same.
const PD_WAIT: Duration = Duration::from_secs(5);
/// How long calls of other stores that are under way may take to end when the store stops.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// gRPC's number of UNIMPLEMENTED: whoever listens there offers no `pb.PD`.
const UNIMPLEMENTED: i32 = 12;

/// Runs `pd-lite serve`.
///
/// # Errors
///
/// Any exit code but 0.
pub fn run(words: Words) -> Result<Exit, Failure> {
    COMMAND.run(words, serve)
}

fn serve(args: Args) -> Result<Exit, Failure> {
    let signals = StopSignals::install()
        .map_err(|error| Failure::new(Exit::Runtime, format!("cannot handle signals: {error}")))?;
    log_lines::begin(args.log_level);
    let settings = args.resolve()?;
    let (mut server, running, start_lines) = start(settings)?;
    let stop_signal = signals.begin_serving();
    server.start();
    announce(&start_lines);
    crossbeam_channel::select! {
        recv(stop_signal) -> _ => {
            announce("\nShutting down...\n");
            server.stop(STOP_GRACE);
            running.stop();
            Ok(Exit::Clean)
        }
        recv(running.fatal()) -> error => Err(error.map_or_else(
            |_| Failure::new(Exit::Runtime, "the store's thread has ended"),
            Failure::from,
        )),
    }
}

/// Does everything up to the first call of another store. Returns the start lines as well.
fn start(settings: Settings) -> Result<(Server, Running, String), Failure> {
    let Settings { workdir, store, addr, pd_addr, call_timeout, peers, round, regions } = settings;
    let setup = Setup::open(&workdir, store, regions)?;
    let client = pd_addr.as_deref().map(|pd_addr| dial(pd_addr, call_timeout)).transpose()?;
    let others = peers::connect(&peers, store, call_timeout).map_err(|message| Failure::new(Exit::Usage, message))?;
    let inbox = Inbox::new(store);
    let options = ServerOptions { addr, threads: 1, ..ServerOptions::default() };
    let server = Server::bind_stores(&options, inbox.door()).map_err(not_bound)?;

    let mut lines = String::new();
    let mut line = |text: String| writeln!(lines, "{}", printable(&text)).expect("a String takes everything");
    match setup.counts() {
        (0, _) => line("Manifest contains no regions; waiting for bootstrap".to_owned()),
        (regions, led) if setup.is_first_start() => {
            line(format!("Bootstrapped {regions} region(s), {led} of them led by this store"));
        }
        (regions, led) => line(format!("Manifest contains {regions} region(s), {led} of them led by this store")),
    }
    line(format!("TinyKv service listening on {} (store={store})", server.addr()));
    match &pd_addr {
        Some(pd_addr) => line(format!("Serve mode: cluster (PD enabled, addr={pd_addr})")),
        None => line("Serve mode: dev-standalone (PD disabled)".to_owned()),
    }
    if !peers.is_empty() {
        line(format!("Configured peers: {}", peers.join(", ")));
    }
    if let Some(pd_addr) = &pd_addr {
        line(format!("PD heartbeat sink enabled: {pd_addr}"));
    }
    line("Press Ctrl+C to stop".to_owned());

    let running = Running::start(setup, inbox, others, PdLine::new(store, client, round), round)?;
    Ok((server, running, lines))
}

/// A client of a placement driver that has answered. Where none does, the exit code is that of a command that asks it.
fn dial(pd_addr: &str, call_timeout: Duration) -> Result<Client, Failure> {
    let client = |timeout| Client::new(ClientOptions { timeout, ..ClientOptions::new(pd_addr) });
    let answer = client(PD_WAIT).and_then(|first| first.region_by_key(b""));
    let answer = match answer {
        // Whatever else it says, it is a placement driver, and it is there.
        Err(Error::Refused { refusal, .. }) if refusal != Refusal::Other(UNIMPLEMENTED) => Ok(()),
        answer => answer.map(drop),
    };
    answer.and_then(|()| client(call_timeout)).map_err(|error| {
        let text = format!("dial pd {pd_addr:?}: {error}");
        Failure::new(Failure::from(error).exit, text)
    })
}

/// The failure of `pd-lite pd` in this command's name.
fn not_bound(error: BindError) -> Failure {
    let text = error.to_string();
    let text = format!("serve {}", text.strip_prefix("pd ").unwrap_or(&text));
    Failure::new(Failure::from(error).exit, text)
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        match error {
            SetupError::Storage(error) => error.into(),
            other => Self::new(Exit::Usage, other),
        }
    }
}
