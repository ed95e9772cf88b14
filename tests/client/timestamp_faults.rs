//! Timestamps of a PD that does on purpose what the real one cannot: every answer is the test's.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use grpcio::RpcStatusCode;
use pd_lite::client::tso::{TsBatchFuture, TsFuture};
use pd_lite::client::{Client, ClientOptions, Error, Refusal};

use super::{HANG, hasty, patient};
use crate::support::tso_pd::TsoPd;

/// Lets a future ask.
fn begin<F: Future + Unpin>(mut future: F) -> F {
    assert!(Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    future
}

fn ask(client: &Client) -> TsFuture {
    begin(client.get_ts_async())
}

fn ask_batch(client: &Client, count: u64) -> TsBatchFuture {
    begin(client.get_ts_batch_async(count))
}

#[test]
fn who_comes_during_a_call_shares_the_next_one() {
    let pd = TsoPd::start();
    let client = patient(pd.addr());
    let first = ask(&client);
    let call = pd.next();
    assert!(call.on_stream && call.count == 1);
    let others: Vec<_> = (0..100).map(|_| ask(&client)).collect();
    let blocking = thread::spawn({
        let client = client.clone();
        move || client.get_ts_batch(7)
    });
    assert!(pd.try_next().is_none(), "one call in flight");
    call.answer(1);
    assert_eq!(pollster::block_on(first), Ok(1));
    let call = pd.next();
    assert!([100, 107].contains(&call.count), "the thread may come too late for it: {}", call.count);
    let rest = 107 - call.count;
    call.answer(50);
    for (timestamp, future) in (50..).zip(others) {
        assert_eq!(pollster::block_on(future), Ok(timestamp));
    }
    if rest > 0 {
        pd.next().answer(150);
    }
    assert_eq!(blocking.join().unwrap(), Ok(150..=156));
    assert!(pd.try_next().is_none());
}

#[test]
fn more_calls_at_once_on_request() {
    let pd = TsoPd::start();
    let options = ClientOptions { tso_calls_max: 2, timeout: HANG, ..ClientOptions::new(pd.addr()) };
    let client = Client::new(options).unwrap();
    let warm = ask(&client);
    pd.next().answer(1);
    assert_eq!(pollster::block_on(warm), Ok(1));
    let futures = [1, 2, 3, 4].map(|count| ask_batch(&client, count));
    // In any order: the second goes beside the stream where gRPC has not passed on the first yet.
    let mut calls: Vec<(u64, u64)> = (1..=3)
        .map(|call| {
            let asked = pd.next();
            let (count, first) = (asked.count, 10 * call);
            asked.answer(first);
            (count, first)
        })
        .collect();
    calls.sort_unstable();
    let [(1, first), (2, second), (7, third)] = calls[..] else {
        panic!("two calls, and one for what came while they were in flight: {calls:?}");
    };
    let ranges = futures.map(|future| pollster::block_on(future).unwrap());
    assert_eq!(ranges, [first..=first, second..=second + 1, third..=third + 2, third + 3..=third + 6]);
}

#[test]
fn a_pd_that_does_not_answer_ends_in_time_outs_and_the_next_call_gets_through() {
    let pd = TsoPd::start();
    let timeout = Duration::from_millis(100);
    let client = hasty(pd.addr(), timeout);
    let timed_out = |result: Result<u64, Error>| matches!(result, Err(Error::TimedOut { .. }));
    let futures = [ask(&client), ask(&client)];
    let call = pd.next();
    assert!(timed_out(client.get_ts()), "a blocking caller behind it");
    for future in futures {
        assert!(timed_out(pollster::block_on(future)));
    }
    let answering = thread::spawn({
        let client = client.clone();
        move || loop {
            match client.get_ts() {
                Ok(timestamp) => return timestamp,
                Err(error) => assert!(error.retryable(), "{error}"),
            }
        }
    });
    let mut next = 100;
    while !answering.is_finished() {
        if let Some(call) = pd.try_next() {
            let first = next;
            next += call.count;
            call.answer(first);
        }
        thread::yield_now();
    }
    call.answer(1);
    let timestamp = answering.join().unwrap();
    assert!((100..next).contains(&timestamp), "{timestamp} is what was answered in time");
}

#[test]
fn without_a_pd_every_caller_is_told_so() {
    let client = hasty("127.79.1.3:1", Duration::from_millis(100));
    let unreachable = |result: Result<u64, Error>| matches!(result, Err(Error::Unreachable { .. }));
    let futures: Vec<_> = (0..10).map(|_| ask(&client)).collect();
    assert!(unreachable(client.get_ts()));
    for future in futures {
        assert!(unreachable(pollster::block_on(future)));
    }
}

#[test]
fn a_timestamp_that_goes_back_is_given_to_nobody() {
    for lie in [5, 9, 10, 0] {
        let pd = TsoPd::start();
        let client = patient(pd.addr());
        let first = ask_batch(&client, 2);
        pd.next().answer(9);
        assert_eq!(pollster::block_on(first), Ok(9..=10));
        let (second, waiting) = (ask(&client), ask(&client));
        pd.next().answer(lie);
        if lie == 0 {
            assert!(matches!(pollster::block_on(second), Err(Error::Malformed { .. })));
            pd.next().answer(11);
            assert_eq!(pollster::block_on(waiting), Ok(11), "no timestamp at all is not one that went back");
            continue;
        }
        let went_back = Err(Error::TimestampWentBack { highest: 10, got: lie });
        assert_eq!([pollster::block_on(second), pollster::block_on(waiting)], [went_back.clone(), went_back.clone()]);
        assert_eq!(client.get_ts(), went_back);
        assert!(pd.try_next().is_none(), "it asks no more");
    }
}

#[test]
fn an_answer_with_another_count_is_malformed() {
    let pd = TsoPd::start();
    let client = patient(pd.addr());
    for count in [0, 1, 3] {
        let future = ask_batch(&client, 2);
        pd.next().answer_with(7, count);
        assert!(matches!(pollster::block_on(future), Err(Error::Malformed { .. })));
    }
}

#[test]
fn a_full_queue_refuses_until_a_caller_leaves() {
    let pd = TsoPd::start();
    let client =
        Client::new(ClientOptions { tso_queue_max: 2, timeout: HANG, ..ClientOptions::new(pd.addr()) }).unwrap();
    let first = ask(&client);
    let call = pd.next();
    let (second, third) = (ask_batch(&client, 5), ask(&client));
    assert_eq!(client.get_ts(), Err(Error::QueueFull { max: 2 }));
    drop(second);
    let fourth = ask_batch(&client, 3);
    call.answer(1);
    assert_eq!(pollster::block_on(first), Ok(1));
    let call = pd.next();
    assert_eq!(call.count, 9, "what the one that left would have got is skipped");
    call.answer(10);
    assert_eq!((pollster::block_on(third), pollster::block_on(fourth)), (Ok(15), Ok(16..=18)));
}

#[test]
fn callers_that_leave_take_nothing_from_the_others() {
    let pd = TsoPd::start();
    let client = patient(pd.addr());
    let sent = ask(&client);
    let call = pd.next();
    let mut others: Vec<_> = (0..10).map(|_| Some(ask(&client))).collect();
    others.iter_mut().step_by(2).for_each(|future| *future = None);
    // The one whose request is under way leaves as well: who sent a call owes nobody to stay.
    drop(sent);
    call.answer(1);
    let call = pd.next();
    others[1] = None;
    call.answer(100);
    let got: Vec<_> = others.into_iter().flatten().map(|future| pollster::block_on(future).unwrap()).collect();
    assert_eq!(got, [103, 105, 107, 109]);
}

#[test]
fn a_future_outlives_the_clients_handles() {
    let pd = TsoPd::start();
    let client = patient(pd.addr());
    let future = ask(&client);
    drop(client);
    pd.next().answer(1);
    assert_eq!(pollster::block_on(future), Ok(1));
}

#[test]
fn a_stream_that_breaks_is_opened_again_and_the_request_is_made_again() {
    let pd = TsoPd::start();
    let client = patient(pd.addr());
    let codes = [RpcStatusCode::UNAVAILABLE, RpcStatusCode::INTERNAL, RpcStatusCode::RESOURCE_EXHAUSTED];
    for (code, first) in codes.into_iter().zip((10..).step_by(10)) {
        let future = ask_batch(&client, 3);
        pd.next().fail(code);
        pd.next().fail(code);
        let call = pd.next();
        assert!(call.on_stream && call.count == 3);
        call.answer(first);
        assert_eq!(pollster::block_on(future), Ok(first..=first + 2));
    }
}

#[test]
fn a_refusal_ends_the_call_and_not_the_next_one() {
    let pd = TsoPd::start();
    let client = patient(pd.addr());
    let future = ask(&client);
    pd.next().fail(RpcStatusCode::INVALID_ARGUMENT);
    let refused = Error::Refused { refusal: Refusal::InvalidArgument, message: "as the test wants".into() };
    assert_eq!(pollster::block_on(future), Err(refused));
    let future = ask(&client);
    pd.next().answer(1);
    assert_eq!(pollster::block_on(future), Ok(1));
}

#[test]
fn a_request_that_a_killed_server_has_not_answered_is_made_again_to_the_next() {
    let pd = TsoPd::on("127.79.1.4:0", true);
    let addr = pd.addr().to_owned();
    let client = patient(&addr);
    let futures = [ask(&client), ask(&client)];
    let call = pd.next();
    drop(pd);
    drop(call);
    // The next one speaks `pb.PD` alone, as another PD on the same port may.
    let pd = TsoPd::on(&addr, false);
    let call = pd.next();
    assert!(!call.on_stream);
    call.answer(1);
    pd.next().answer(2);
    assert_eq!(futures.map(pollster::block_on), [Ok(1), Ok(2)]);
    // The ones after that have the stream again. The client looks for it once it has seen the connection break, which gRPC
    // may mend before.
    let begun = Instant::now();
    let mut pd = Some(pd);
    for timestamp in 3.. {
        drop(pd.take());
        let future = ask(&client);
        let next = TsoPd::on(&addr, true);
        let call = next.next();
        let on_stream = call.on_stream;
        call.answer(timestamp);
        assert_eq!(pollster::block_on(future), Ok(timestamp));
        if on_stream {
            break;
        }
        assert!(begun.elapsed() < HANG, "the stream is never looked for again");
        pd = Some(next);
    }
}

#[test]
fn a_future_that_is_polled_for_nothing_wakes_whom_it_was_given_last() {
    let pd = TsoPd::start();
    let client = patient(pd.addr());
    let mut future = ask(&client);
    let call = pd.next();
    for _ in 0..3 {
        assert!(matches!(Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
    }
    // Another waker from here on: this thread's.
    let answer = thread::spawn(move || call.answer(1));
    assert_eq!(pollster::block_on(future), Ok(1));
    answer.join().unwrap();
}
