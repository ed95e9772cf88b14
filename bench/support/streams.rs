//! A load over streams: each sends its next request as soon as its last one is answered. The streams stay open from one run
//! to the next.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use grpcio::{CallOption, ClientDuplexReceiver, ClientDuplexSender, Method, WriteFlags};

use super::Result;
use super::load::LoadClient;

/// Open streams of one connection.
pub struct Streams<Q, S> {
    client: LoadClient,
    name: &'static str,
    open: Vec<Stream<Q, S>>,
}

struct Stream<Q, S> {
    requests: ClientDuplexSender<Q>,
    answers: ClientDuplexReceiver<S>,
}

impl<Q, S> Streams<Q, S>
where
    Q: Send + 'static,
    S: Send + 'static,
{
    /// Opens `count` streams at `addr`.
    pub fn open(addr: &str, method: &Method<Q, S>, count: usize) -> Result<Self> {
        let client = LoadClient::connect(addr)?;
        let open = || {
            let (requests, answers) = client.grpc().duplex_streaming(method, CallOption::default())?;
            Ok(Stream { requests, answers })
        };
        let open: Result<Vec<_>> = (0..count).map(|_| open()).collect();
        Ok(Self { open: open?, client, name: method.name })
    }

    /// Sends `count` requests in all, and waits for their answers.
    ///
    /// # Errors
    ///
    /// The first stream that ends, or wrong answer.
    pub fn run(
        &mut self,
        count: u64,
        request: impl Fn() -> Q + Send + Sync + 'static,
        is_right: impl Fn(&S) -> bool + Send + Sync + 'static,
    ) -> Result<Duration> {
        let started = Instant::now();
        let shared = Arc::new((AtomicU64::new(0), request, is_right));
        let (report, reports) = mpsc::channel();
        for mut stream in self.open.drain(..) {
            let (shared, report, name) = (Arc::clone(&shared), report.clone(), self.name);
            self.client.grpc().spawn(async move {
                let (sent, request, is_right) = &*shared;
                while sent.fetch_add(1, Ordering::Relaxed) < count {
                    let made = stream.make(request()).await;
                    let failed = match made {
                        Ok(answer) if is_right(&answer) => continue,
                        Ok(_) => "a wrong answer".to_owned(),
                        Err(error) => error,
                    };
                    drop(report.send(Err(format!("{name}: {failed}"))));
                    return;
                }
                drop(report.send(Ok(stream)));
            });
        }
        drop(report);
        for stream in reports {
            self.open.push(stream?);
        }
        Ok(started.elapsed())
    }
}

impl<Q, S> Stream<Q, S> {
    async fn make(&mut self, request: Q) -> std::result::Result<S, String> {
        self.requests.send((request, WriteFlags::default())).await.map_err(|error| error.to_string())?;
        match self.answers.next().await {
            Some(answer) => answer.map_err(|error| error.to_string()),
            None => Err("the server has ended the stream".to_owned()),
        }
    }
}
