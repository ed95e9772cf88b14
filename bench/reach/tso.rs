//! Timestamps through the client: what batching adds to a lone caller, and what the network takes from many.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::LocalPool;
use futures::task::LocalSpawnExt;
use pd_lite::client::tso::{Batcher, BatcherOptions};
use pd_lite::client::{Client, ClientOptions, Error};
use pd_lite::proto::{pd, pd_methods};

use crate::Setting;
use crate::support::Result;
use crate::support::figures::{Median, PAIRS, Target, float64, in_turns, micros, short};
use crate::support::load::LoadClient;
use crate::support::process::{PdProcess, cpu_of_this_process};
use crate::support::report::Report;
use crate::support::transports::Counter;

const LONE_CALLS: usize = 1000;
const THREADS: usize = 64;
const TASKS: usize = 10_000;
const CORRECTIONS: usize = 10;
const RESTARTS: u32 = 20;
const DOWN: Duration = Duration::from_millis(300);
const DOWN_STEP: Duration = Duration::from_millis(7);
/// Longer than a server takes to start.
const HANG: Duration = Duration::from_secs(60);
const RUN: Duration = Duration::from_millis(500);

/// Measures them all.
pub fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let server = PdProcess::in_memory()?;
    let client = Client::connect(server.addr())?;
    let round_trip = lone_caller(report, &server, &client)?;
    threads(report, &client, round_trip)?;
    tasks(report, &server, &client)?;
    server.stop()?;
    restarts(report, setting)
}

fn options() -> BatcherOptions {
    BatcherOptions::from(&ClientOptions::new("a:1"))
}

/// A lone caller beside bare gRPC. Returns the median of its calls.
fn lone_caller(report: &mut Report, server: &PdProcess, client: &Client) -> Result<Duration> {
    let bare = LoadClient::connect(server.addr())?;
    let request = pd::TsoRequest { count: 1, ..Default::default() };
    let by_client = || latency(|| client.get_ts().map(drop).map_err(Into::into));
    let by_grpc = || latency(|| bare.call(&pd_methods::TSO, &request).map(drop));
    by_client()?;
    by_grpc()?;
    let pairs = in_turns(PAIRS, by_client, by_grpc)?;
    let ratios: Vec<f64> = pairs.iter().map(|(client, bare)| client / bare).collect();
    let (client, bare): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
    let round_trip = Median::of(&client).value;
    report.add(
        "lone caller: time of a timestamp",
        format!("get_ts, {} µs", short(round_trip)),
        format!("a bare unary Tso, {} µs", short(Median::of(&bare).value)),
        &Median::of(&ratios),
        Target::AtMost(1.0),
    );
    Ok(Duration::from_secs_f64(round_trip / 1e6))
}

/// The median time of a call, in µs.
fn latency(call: impl Fn() -> Result<()>) -> Result<f64> {
    let mut times = Vec::with_capacity(LONE_CALLS);
    for _ in 0..LONE_CALLS {
        let begun = Instant::now();
        call()?;
        times.push(micros(begun.elapsed()));
    }
    Ok(Median::of(&times).value)
}

/// Blocking threads over the server beside the same batcher over a fake round trip of `length`.
fn threads(report: &mut Report, client: &Client, length: Duration) -> Result<()> {
    let counter = Counter::without_network();
    let fake = Batcher::new(counter.clone(), options());
    let lone = || latency(|| fake.get().map(drop).map_err(Into::into));
    // As long for a lone caller as the real one: what waking up takes is taken off the wait.
    let mut wait = length.as_secs_f64();
    for _ in 0..CORRECTIONS {
        counter.set_wait(Duration::from_secs_f64(wait));
        wait = (wait + (micros(length) - lone()?) / 2e6).clamp(0.0, length.as_secs_f64());
    }
    let fake_length = lone()?;
    let over_server = || in_threads(|| client.get_ts());
    let over_fake = || in_threads(|| fake.get());
    over_server()?;
    over_fake()?;
    let pairs = in_turns(PAIRS, over_server, over_fake)?;
    let ratios: Vec<f64> = pairs.iter().map(|(server, fake)| server / fake).collect();
    let (server, fake): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
    report.add(
        &format!("{THREADS} blocking threads: rate"),
        format!("{} timestamps/s", short(Median::of(&server).value)),
        format!("{}/s over a fake round trip of {} µs", short(Median::of(&fake).value), short(fake_length)),
        &Median::of(&ratios),
        Target::AtLeast(0.7),
    );
    Ok(())
}

/// Timestamps a second that all threads together get.
fn in_threads(get: impl Fn() -> std::result::Result<u64, Error> + Sync) -> Result<f64> {
    let (start, over) = (Barrier::new(THREADS + 1), AtomicBool::new(false));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    let (mut got, mut last) = (0, 0);
                    while !over.load(Ordering::Relaxed) {
                        let timestamp = get()?;
                        if timestamp <= last {
                            return Err(Error::TimestampWentBack { highest: last, got: timestamp });
                        }
                        (got, last) = (got + 1, timestamp);
                    }
                    Ok(got)
                })
            })
            .collect();
        start.wait();
        let begun = Instant::now();
        thread::sleep(RUN);
        over.store(true, Ordering::Relaxed);
        let mut sum = 0;
        for thread in threads {
            sum += thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok(float64(sum) / begun.elapsed().as_secs_f64())
    })
}

/// Tasks of one executor over the server, beside the same batcher without a network.
fn tasks(report: &mut Report, server: &PdProcess, client: &Client) -> Result<()> {
    let counter = Batcher::new(Counter::without_network(), options());
    let over_server = || {
        let client = client.clone();
        in_tasks(Some(server), move || client.get_ts_async())
    };
    let over_counter = || {
        let counter = counter.clone();
        in_tasks(None, move || counter.get_async())
    };
    over_server()?;
    over_counter()?;
    let pairs = in_turns(PAIRS, over_server, over_counter)?;
    let ratios: Vec<f64> = pairs.iter().map(|(server, counter)| server.rate / counter.rate).collect();
    let median = |figure: fn(&Rate) -> f64| Median::of(&pairs.iter().map(|pair| figure(&pair.0)).collect::<Vec<_>>());
    let (rate, own, servers) = (median(|run| run.rate), median(|run| run.own_cpu), median(|run| run.server_cpu));
    let cpu = format!("CPU a timestamp: {} ns here, {} ns in the server", short(own.value), short(servers.value));
    let counters: Vec<f64> = pairs.iter().map(|pair| pair.1.rate).collect();
    let name = format!("{TASKS} tasks on one LocalPool");
    report.add(&format!("{name}: timestamps/s"), cpu, "two cores with the server".into(), &rate, Target::AtLeast(2e6));
    report.add(
        &format!("{name}: rate"),
        format!("{} timestamps/s", short(rate.value)),
        format!("{}/s without a network, from a counter on another thread", short(Median::of(&counters).value)),
        &Median::of(&ratios),
        Target::AtLeast(0.8),
    );
    Ok(())
}

/// What one run of the tasks did.
struct Rate {
    /// Timestamps a second.
    rate: f64,
    /// CPU a timestamp of this process and of the server, in ns.
    own_cpu: f64,
    server_cpu: f64,
}

/// What the tasks of a run share.
struct Tasks<G> {
    get: G,
    got: Cell<u64>,
    over: Cell<bool>,
    failure: Cell<Option<Error>>,
}

impl<G> Tasks<G> {
    fn fail(&self, error: Error) {
        self.over.set(true);
        self.failure.set(Some(error));
    }
}

fn in_tasks<F>(server: Option<&PdProcess>, get: impl Fn() -> F + 'static) -> Result<Rate>
where
    F: Future<Output = std::result::Result<u64, Error>> + 'static,
{
    let server_cpu = || server.map_or(Ok(Duration::ZERO), PdProcess::cpu);
    let mut pool = LocalPool::new();
    let shared = Rc::new(Tasks { get, got: Cell::new(0), over: Cell::new(false), failure: Cell::new(None) });
    let begun = Instant::now();
    let (own_before, server_before) = (cpu_of_this_process()?, server_cpu()?);
    for _ in 0..TASKS {
        let shared = Rc::clone(&shared);
        pool.spawner().spawn_local(async move {
            let mut last = 0;
            while !shared.over.get() {
                match (shared.get)().await {
                    Ok(timestamp) if timestamp > last => last = timestamp,
                    Ok(got) => return shared.fail(Error::TimestampWentBack { highest: last, got }),
                    Err(error) => return shared.fail(error),
                }
                shared.got.set(shared.got.get() + 1);
                // A look at the clock now and then is enough.
                if shared.got.get() % 64 == 0 && begun.elapsed() >= RUN {
                    shared.over.set(true);
                }
            }
        })?;
    }
    pool.run();
    let elapsed = begun.elapsed();
    if let Some(error) = shared.failure.take() {
        return Err(error.into());
    }
    let timestamps = float64(shared.got.get());
    let cpu = |before: Duration, after: Duration| 1e9 * after.saturating_sub(before).as_secs_f64() / timestamps;
    Ok(Rate {
        rate: timestamps / elapsed.as_secs_f64(),
        own_cpu: cpu(own_before, cpu_of_this_process()?),
        server_cpu: cpu(server_before, server_cpu()?),
    })
}

/// How long after a killed server serves again a caller that never stopped asking gets its first timestamp.
fn restarts(report: &mut Report, setting: &Setting) -> Result<()> {
    let workdir = setting.workdir("tso-restarts");
    let mut server = PdProcess::durable(&workdir)?;
    let addr = server.addr().to_owned();
    let client = Client::new(ClientOptions { timeout: HANG, ..ClientOptions::new(&addr) })?;
    let mut waits = Vec::new();
    for round in 0..RESTARTS {
        client.get_ts()?;
        drop(server);
        let asking = thread::spawn({
            let client = client.clone();
            move || client.get_ts().map(|_| Instant::now())
        });
        // Different lengths, so that the client is met at any point of its pauses.
        thread::sleep(DOWN + round * DOWN_STEP);
        server = PdProcess::durable_on(&addr, &workdir)?;
        let serves = Instant::now();
        let answered = asking.join().map_err(|_| "a caller panicked")??;
        waits.push(1e3 * answered.saturating_duration_since(serves).as_secs_f64());
    }
    server.stop()?;
    let worst = waits.iter().copied().fold(0.0, f64::max);
    report.add(
        "restart: first timestamp after it serves again, ms",
        format!("the longest of {RESTARTS}"),
        format!("median {} ms", short(Median::of(&waits).value)),
        &Median::exact(worst),
        Target::AtMost(200.0),
    );
    Ok(())
}
