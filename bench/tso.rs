//! Timestamps: the counters alone, the calls without a network, and Tso over gRPC, unary and streamed, in memory and durable.

#[path = "support/mod.rs"]
mod support;

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pd_lite::core::allocator::{Kind, Refill, Take, WINDOW};
use pd_lite::core::{Allocators, Limits, Regions};
use pd_lite::proto::{pd, pd_methods, pdlite_methods};
use pd_lite::storage::fs::OsFs;

use support::Result;
use support::in_process::{BareHandler, InProcess};
use support::over_grpc::{Calls, Run, Sides};
use support::rows::Level;
use support::streams::Streams;
use support::suite::{Shared, Suite, What};
use support::timed::{MANY, timed, wait};

const IN_FLIGHT: [usize; 2] = [1, 64];

fn main() -> ExitCode {
    Suite::run("tso", |suite| {
        allocators(suite);
        let workdir = suite.workdir("tso");
        let memory = Shared::new(|| InProcess::in_memory(Regions::default()));
        let durable = Shared::new(|| {
            let server = InProcess::durable(Arc::new(OsFs), &workdir)?;
            // The first one waits for the disk.
            wait(server.pd().tso(&one())).map_err(|error| error.to_string())?;
            Ok(server)
        });
        for (server, kind) in [(&memory, "in memory"), (&durable, "durable")] {
            without_network(suite, server, kind);
            over_grpc(suite, server, kind);
        }
        streamed(suite, &memory);
        durable.into_made().map_or(Ok(()), InProcess::stop)
    })
}

fn allocators(suite: &mut Suite) {
    suite.alone(What::new(Level::InProcess, "take, in memory"), || {
        let mut allocators = Allocators::<()>::unbounded(Limits::default());
        let mut take = move || allocators.take(black_box(Kind::Timestamp), 1, || ());
        Ok(Box::new(move |calls| timed(MANY, calls, |_| (), |()| matches!(take(), Ok(Take::Given { .. })))))
    });
    suite.alone(What::new(Level::InProcess, "take, durable, refills included"), || {
        let mut allocators = Allocators::<()>::durable(Limits::default());
        let mut now = Duration::ZERO;
        let mut take = move || {
            let take = allocators.take(black_box(Kind::Timestamp), 1, || ());
            if let Ok(Take::Given { poke: true, .. } | Take::Parked { poke: true }) = take {
                now += WINDOW;
                if let Refill::Write(limits) = allocators.refill(now) {
                    black_box(allocators.raise(limits, now));
                }
            }
            take
        };
        Ok(Box::new(move |calls| timed(MANY, calls, |_| (), |()| take().is_ok())))
    });
}

fn one() -> pd::TsoRequest {
    pd::TsoRequest { count: 1, ..Default::default() }
}

/// What the floor answers: as long as a server's answer after a million timestamps.
fn canned() -> pd::TsoResponse {
    pd::TsoResponse { timestamp: 1 << 20, count: 1, ..Default::default() }
}

fn without_network(suite: &mut Suite, server: &Shared<'_, InProcess>, kind: &str) {
    suite.alone(What::new(Level::NoNetwork, format!("Tso, {kind}")), || {
        let pd = server.get()?.pd();
        let seen = Seen::default();
        Ok(seen.watch(Box::new({
            let seen = seen.clone();
            move |calls| timed(MANY, calls, |_| one(), |request| wait(pd.tso(request)).is_ok_and(|ts| seen.note(&ts)))
        })))
    });
}

fn over_grpc(suite: &mut Suite, server: &Shared<'_, InProcess>, kind: &str) {
    for in_flight in IN_FLIGHT {
        suite.beside_floor(What::new(Level::OverGrpc, format!("Tso, {kind}, {in_flight} in flight")), || {
            let seen = Seen::default();
            let is_right = {
                let seen = seen.clone();
                move |_, answer: &pd::TsoResponse| seen.note(answer)
            };
            let calls = Calls { method: &pd_methods::TSO, in_flight, request: |_| one(), is_right };
            let (run, floor) = calls.beside(server.get()?.addr(), BareHandler::start(&pd_methods::TSO, canned())?)?;
            Ok((seen.watch(run), floor))
        });
    }
}

fn streamed(suite: &mut Suite, server: &Shared<'_, InProcess>) {
    for count in IN_FLIGHT {
        let noun = if count == 1 { "stream" } else { "streams" };
        suite.beside_floor(
            What::new(Level::OverGrpc, format!("Tso, in memory, {count} {noun}")),
            || -> Result<Sides> {
                let method = &pdlite_methods::TSO;
                let mut streams = Streams::open(server.get()?.addr(), method, count)?;
                streams.run(1, one, |_| true)?;
                let seen = Seen::default();
                let run: Run = Box::new({
                    let seen = seen.clone();
                    move |calls| {
                        let seen = seen.clone();
                        streams.run(calls, one, move |answer| seen.note(answer))
                    }
                });
                let bare = BareHandler::start_stream(method, canned())?;
                let mut bare_streams = Streams::open(bare.addr(), method, count)?;
                bare_streams.run(1, one, |_| true)?;
                let floor: Run = Box::new(move |calls| {
                    let _serves = &bare;
                    bare_streams.run(calls, one, |_| true)
                });
                Ok((seen.watch(run), floor))
            },
        );
    }
}

/// What timestamps have come. Nobody else asks, and so they follow each other without a gap.
#[derive(Clone, Default)]
struct Seen(Arc<Timestamps>);

#[derive(Default)]
struct Timestamps {
    highest: AtomicU64,
    /// Of all of them, wrapping.
    sum: AtomicU64,
}

impl Seen {
    /// Takes in an answer, and says whether it can be right.
    fn note(&self, answer: &pd::TsoResponse) -> bool {
        self.0.highest.fetch_max(answer.timestamp, Ordering::Relaxed);
        self.0.sum.fetch_add(answer.timestamp, Ordering::Relaxed);
        answer.count == 1 && answer.timestamp > 0
    }

    /// A run that fails when its timestamps are not the next ones. Which those of the first run are is unknown.
    fn watch<'a>(&self, mut run: Run<'a>) -> Run<'a> {
        let seen = self.clone();
        Box::new(move |calls| {
            let highest = seen.0.highest.load(Ordering::Relaxed);
            seen.0.sum.store(0, Ordering::Relaxed);
            let took = run(calls)?;
            let sum = (highest + 1..=highest + calls).fold(0, u64::wrapping_add);
            let is_next = seen.0.highest.load(Ordering::Relaxed) == highest + calls;
            if highest > 0 && !(is_next && seen.0.sum.load(Ordering::Relaxed) == sum) {
                return Err(format!("the timestamps of {calls} calls were not the next {calls}").into());
            }
            Ok(took)
        })
    }
}
