//! The Tso stream of a real server: order, limits, restarts, and ends.

use std::collections::BTreeSet;
use std::thread;

use futures::{SinkExt, StreamExt};
use grpcio::{CallOption, ClientDuplexReceiver, ClientDuplexSender, Method, MethodType, RpcStatusCode, WriteFlags};
use pd_lite::proto::pd::{TsoRequest, TsoResponse};
use pd_lite::proto::pdlite_methods as methods;

use crate::support::client::HANG;
use crate::support::relay::raw;
use crate::support::{Client, Launch};

/// A stream at its client's end.
struct Stream<Q, A> {
    requests: ClientDuplexSender<Q>,
    answers: ClientDuplexReceiver<A>,
}

impl<Q, A> Stream<Q, A> {
    fn open(client: &Client, method: &Method<Q, A>) -> Self {
        let option = CallOption::default().timeout(HANG);
        let (requests, answers) = client.raw().duplex_streaming(method, option).unwrap();
        Self { requests, answers }
    }

    /// A stream that has ended takes nothing more; its answers tell why.
    fn send(&mut self, request: Q) {
        let _ = pollster::block_on(self.requests.send((request, WriteFlags::default())));
    }

    /// The next answer, or what the stream has ended with: grpcio drops answers that have not been read when it learns of a
    /// status other than OK.
    fn answer(&mut self) -> Result<A, RpcStatusCode> {
        match pollster::block_on(self.answers.next()) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(grpcio::Error::RpcFailure(status) | grpcio::Error::RpcFinished(Some(status)))) => {
                Err(status.code())
            }
            Some(Err(error)) => panic!("{error}"),
            None => Err(RpcStatusCode::OK),
        }
    }

    fn close(&mut self) {
        pollster::block_on(self.requests.close()).unwrap();
    }
}

fn open(client: &Client) -> Stream<TsoRequest, TsoResponse> {
    Stream::open(client, &methods::TSO)
}

fn request(count: u64) -> TsoRequest {
    TsoRequest { count, ..Default::default() }
}

impl Stream<TsoRequest, TsoResponse> {
    /// The first timestamp and how many.
    fn tso(&mut self, count: u64) -> Result<(u64, u64), RpcStatusCode> {
        self.send(request(count));
        self.answer().map(|answer| (answer.timestamp, answer.count))
    }
}

#[test]
fn requests_are_answered_in_order_and_as_by_tso() {
    let workdir = tempfile::tempdir().unwrap();
    for launch in [Launch::in_memory(), Launch::durable(workdir.path())] {
        let server = launch.start();
        let client = server.client();
        let mut stream = open(&client);
        assert_eq!(stream.tso(3), Ok((1, 3)));
        assert_eq!(client.tso(2).unwrap(), 4);
        assert_eq!(stream.tso(0), Ok((6, 1)), "0 is taken as 1");
        // Sent ahead of their answers.
        (1..=100).for_each(|count| stream.send(request(count)));
        stream.close();
        let mut next = 7;
        for count in 1..=100 {
            let answer = stream.answer().unwrap();
            assert_eq!((answer.timestamp, answer.count), (next, count));
            next += count;
        }
        assert_eq!(stream.answer().map(drop), Err(RpcStatusCode::OK));
        assert_eq!(client.tso(1).unwrap(), next);
        server.stop();
    }
}

#[test]
fn streams_and_calls_never_get_the_same_timestamp() {
    let workdir = tempfile::tempdir().unwrap();
    let server = Launch::durable(workdir.path()).start();
    let addr = server.addr();
    let given: Vec<Vec<(u64, u64)>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                scope.spawn(move || {
                    let client = Client::connect(addr);
                    let mut stream = open(&client);
                    let counts = (0..300).map(|n| 1 + (n * 31 + worker) % 50);
                    let take = |count| match worker % 4 {
                        0 => (client.tso(count).unwrap(), count),
                        _ => stream.tso(count).unwrap(),
                    };
                    counts.map(take).collect()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    for own in &given {
        assert!(own.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "they rise");
    }
    let all: BTreeSet<(u64, u64)> = given.iter().flatten().copied().collect();
    assert_eq!(all.len(), 8 * 300);
    let mut next = 1;
    for (first, count) in all {
        assert_eq!(first, next, "none twice and none left out");
        next += count;
    }
    server.stop();
}

#[test]
fn a_refused_request_ends_the_stream_and_uses_nothing_up() {
    let server = Launch::in_memory().args(["--max-count", "100"]).start();
    let client = server.client();
    let mut stream = open(&client);
    assert_eq!(stream.tso(100), Ok((1, 100)));
    stream.send(request(101));
    stream.send(request(1));
    assert_eq!(stream.answer().map(drop), Err(RpcStatusCode::INVALID_ARGUMENT));
    assert_eq!(open(&client).tso(1), Ok((101, 1)));
    server.stop();
}

#[test]
fn a_message_that_is_too_long_or_malformed_ends_its_stream_alone() {
    let server = Launch::in_memory().start();
    let client = server.client();
    let mut other = open(&client);
    assert_eq!(other.tso(1), Ok((1, 1)));
    let method = Method { ty: MethodType::Duplex, ..raw("/pdlite.v1.PdLite/Tso") };
    let unknown_field = |len: usize| [&b"\x4a\xfc\xff\x03"[..], &vec![b'x'; len - 4]].concat();
    for (body, code) in [
        (unknown_field(65_536), None),
        (unknown_field(65_537), Some(RpcStatusCode::RESOURCE_EXHAUSTED)),
        (vec![b'x'; 8 << 20], Some(RpcStatusCode::RESOURCE_EXHAUSTED)),
        (b"\xff\xff\xff\xff".to_vec(), Some(RpcStatusCode::INTERNAL)),
        (b"\x08".to_vec(), Some(RpcStatusCode::INTERNAL)),
    ] {
        let len = body.len();
        let mut stream = Stream::open(&client, &method);
        stream.send(body);
        assert_eq!(stream.answer().err(), code, "{len} bytes");
    }
    assert_eq!(other.tso(1), Ok((3, 1)));
    server.stop();
}

#[test]
fn a_server_that_ends_ends_its_streams() {
    let workdir = tempfile::tempdir().unwrap();
    let launch = Launch::durable(workdir.path());
    let mut last = 0;
    for clean in [true, false, true] {
        let server = launch.start();
        let client = server.client();
        let mut streams: Vec<_> = (0..50).map(|_| open(&client)).collect();
        for stream in &mut streams {
            let (first, count) = stream.tso(7).unwrap();
            assert!(first > last, "above all before the restart");
            last = first + count - 1;
        }
        if clean {
            let exit = server.term();
            assert_eq!(exit.code, Some(0), "{exit:?}");
            assert!(!exit.stderr.contains("cancelled"), "idle streams are no calls under way: {exit:?}");
        } else {
            server.kill();
        }
        for stream in &mut streams {
            assert_eq!(stream.answer().map(drop), Err(RpcStatusCode::UNAVAILABLE));
        }
    }
}
