//! A load generator: unary calls over one connection, a fixed number of them in flight.
//!
//! Each caller is a future on the connection's one poll thread; it sends its next call as soon as its last one is answered.
//! Every answer is checked. What the poll thread itself used is measured, because a generator at its own limit measures
//! itself.

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use grpcio::{CallOption, ChannelBuilder, Client, EnvBuilder, Method};

use super::process::cpu_of_thread;
use super::{Result, machine};

/// When callers stop sending.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    Calls(u64),
    Time(Duration),
}

/// What one run of load did.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub calls: u64,
    /// From the first call sent to the last one answered.
    pub elapsed: Duration,
    /// CPU time of the generator's own thread.
    pub generator: Duration,
}

impl Load {
    /// Calls a second.
    pub fn rate(&self) -> f64 {
        super::figures::float64(self.calls) / self.elapsed.as_secs_f64()
    }

    /// How busy the generator's thread was, 0 to 1. Near 1 the generator is what was measured.
    pub fn generator_share(&self) -> f64 {
        self.generator.as_secs_f64() / self.elapsed.as_secs_f64()
    }
}

/// One connection with a poll thread of its own.
pub struct LoadClient {
    client: Client,
    thread: PathBuf,
}

impl LoadClient {
    /// Connects to `addr`, which has to be served already.
    pub fn connect(addr: &str) -> Result<Self> {
        let (report, started) = mpsc::channel();
        let environment = EnvBuilder::new()
            .cq_count(1)
            .name_prefix("load-")
            .after_start(move || drop(report.send(machine::this_thread())))
            .build();
        let thread = started.recv()??;
        let channel = ChannelBuilder::new(Arc::new(environment))
            .enable_http_proxy(false)
            .enable_retry(false)
            .use_local_subchannel_pool(true)
            .connect(addr);
        Ok(Self { client: Client::new(channel), thread })
    }

    /// The connection.
    pub fn grpc(&self) -> &Client {
        &self.client
    }

    /// One call, awaited.
    pub fn call<Q, S: Unpin>(&self, method: &Method<Q, S>, request: &Q) -> Result<S> {
        Ok(self.client.unary_call(method, request, CallOption::default())?)
    }

    /// Makes calls with `in_flight` of them under way. `request` builds the call of a number, counted from 0; `is_right`
    /// says whether an answer is what that call must get.
    ///
    /// # Errors
    ///
    /// The first failed call or wrong answer.
    pub fn run<Q, S>(
        &self,
        method: &'static Method<Q, S>,
        in_flight: usize,
        until: Until,
        request: impl Fn(u64) -> Q + Send + Sync + 'static,
        is_right: impl Fn(u64, &S) -> bool + Send + Sync + 'static,
    ) -> Result<Load>
    where
        Q: Send + 'static,
        S: Send + Unpin + 'static,
    {
        let generator_before = cpu_of_thread(&self.thread)?;
        let started = Instant::now();
        let shared = Arc::new(Shared { next: AtomicU64::new(0), until, started, request, is_right });
        let (report, reports) = mpsc::channel();
        for _ in 0..in_flight {
            let (client, shared, report) = (self.client.clone(), Arc::clone(&shared), report.clone());
            let caller = async move { drop(report.send(shared.calls(&client, method).await)) };
            self.client.spawn(caller);
        }
        drop(report);
        let mut calls = 0;
        for made in reports {
            calls += made?;
        }
        let elapsed = started.elapsed();
        let generator = cpu_of_thread(&self.thread)?.saturating_sub(generator_before);
        Ok(Load { calls, elapsed, generator })
    }
}

/// What the callers of one run have in common.
struct Shared<R, C> {
    next: AtomicU64,
    until: Until,
    started: Instant,
    request: R,
    is_right: C,
}

impl<R, C> Shared<R, C> {
    /// One caller: returns how many calls it made.
    fn calls<Q, S>(
        self: Arc<Self>,
        client: &Client,
        method: &'static Method<Q, S>,
    ) -> impl Future<Output = std::result::Result<u64, String>> + Send
    where
        Q: Send + 'static,
        S: Send + Unpin + 'static,
        R: Fn(u64) -> Q + Send + Sync,
        C: Fn(u64, &S) -> bool + Send + Sync,
    {
        let client = client.clone();
        async move {
            let mut made = 0;
            while let Some(number) = self.next_call() {
                let request = (self.request)(number);
                let sent = client.unary_call_async(method, &request, CallOption::default());
                let answer = match sent {
                    Ok(receiver) => receiver.await,
                    Err(error) => Err(error),
                };
                match answer {
                    Ok(answer) if (self.is_right)(number, &answer) => made += 1,
                    Ok(_) => return Err(format!("{}: a wrong answer to call {number}", method.name)),
                    Err(error) => return Err(format!("{}: call {number} failed: {error}", method.name)),
                }
            }
            Ok(made)
        }
    }

    fn next_call(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        match self.until {
            Until::Calls(calls) => (number < calls).then_some(number),
            Until::Time(time) => (self.started.elapsed() < time).then_some(number),
        }
    }
}
