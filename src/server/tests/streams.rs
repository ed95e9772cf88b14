//! Streams whose requests are held open or panic, and a stop with streams open.

use futures::{SinkExt, StreamExt};
use grpcio::{ClientDuplexReceiver, ClientDuplexSender, WriteFlags};

use super::*;

/// A stream at its client's end.
struct Stream {
    requests: ClientDuplexSender<pb::TsoRequest>,
    answers: ClientDuplexReceiver<pb::TsoResponse>,
}

impl Stream {
    fn open(channel: &Channel) -> Self {
        let option = CallOption::default().timeout(FOREVER);
        let (requests, answers) = Client::new(channel.clone()).duplex_streaming(&pdlite_methods::TSO, option).unwrap();
        Self { requests, answers }
    }

    fn send(&mut self) {
        // The stream may have ended by now: its answers tell why.
        let _ = pollster::block_on(self.requests.send((pb::TsoRequest::new(), WriteFlags::default())));
    }

    /// The next answer, or what the stream has ended with: grpcio drops answers that have not been read when it learns of a
    /// status other than OK.
    fn answer(&mut self) -> Result<u64, RpcStatusCode> {
        match pollster::block_on(self.answers.next()) {
            Some(Ok(answer)) => Ok(answer.timestamp),
            Some(Err(grpcio::Error::RpcFailure(status) | grpcio::Error::RpcFinished(Some(status)))) => {
                Err(status.code())
            }
            Some(Err(error)) => panic!("{error}"),
            None => Err(RpcStatusCode::OK),
        }
    }
}

#[test]
fn streams_that_wait_for_a_request_do_not_hold_a_stop_up() {
    let mut server = serve(Pd::tso);
    let channels = [connect(server.addr()), connect(server.addr())];
    let mut streams = [&channels[0], &channels[0], &channels[1]].map(Stream::open);
    // The last one has never asked for anything, but is there: a call behind it on its connection is answered.
    assert_eq!(alloc_id(&channels[1]), RpcStatusCode::OK);
    for stream in &mut streams[..2] {
        stream.send();
        assert!(stream.answer().is_ok());
    }
    assert!(server.stop(FOREVER), "no call is under way");
    for stream in &mut streams {
        assert_eq!(stream.answer(), Err(RpcStatusCode::UNAVAILABLE));
    }
}

#[test]
fn a_stop_waits_for_the_answer_to_a_stream_s_request() {
    let (mut server, held) = serve_held();
    let channel = connect(server.addr());
    let mut stream = Stream::open(&channel);
    stream.send();
    stream.send();
    let first = held.recv().unwrap();
    let stopper = thread::spawn(move || server.stop(FOREVER));
    while alloc_id(&channel) == RpcStatusCode::OK {}
    // Longer than a stop takes that waits for nothing.
    thread::sleep(Duration::from_secs(1));
    assert!(!stopper.is_finished());
    first.send(Ok(7)).unwrap();
    // Its second request comes too late, and the refusal of that is right behind the answer.
    let ends = std::iter::from_fn(|| Some(stream.answer())).find(|answer| *answer != Ok(7));
    assert_eq!(ends, Some(Err(RpcStatusCode::UNAVAILABLE)));
    assert!(stopper.join().unwrap());
    assert!(held.recv().is_err(), "no handler has seen it");
}

#[test]
fn a_stop_cancels_a_stream_whose_answer_outlasts_its_grace() {
    let (mut server, held) = serve_held();
    let channel = connect(server.addr());
    let mut stream = Stream::open(&channel);
    stream.send();
    let _answer = held.recv().unwrap();
    assert!(!server.stop(Duration::ZERO));
    assert_eq!(stream.answer(), Err(RpcStatusCode::UNAVAILABLE));
}

#[test]
fn requests_of_one_stream_are_answered_one_after_the_other_and_others_meanwhile() {
    let (server, held) = serve_held();
    let channel = connect(server.addr());
    let mut streams = [Stream::open(&channel), Stream::open(&channel)];
    streams[0].send();
    let slow = held.recv().unwrap();
    streams[0].send();
    streams[1].send();
    held.recv().unwrap().send(Ok(2)).unwrap();
    assert_eq!(streams[1].answer(), Ok(2), "the next call is the other stream's: the first one has not read on");
    slow.send(Ok(1)).unwrap();
    assert_eq!(streams[0].answer(), Ok(1));
    held.recv().unwrap().send(Ok(3)).unwrap();
    assert_eq!(streams[0].answer(), Ok(3));
}

#[test]
fn a_refused_request_ends_its_stream_behind_the_answers_before_it() {
    let (server, held) = serve_held();
    let channel = connect(server.addr());
    let mut stream = Stream::open(&channel);
    (0..3).for_each(|_| stream.send());
    held.recv().unwrap().send(Ok(1)).unwrap();
    assert_eq!(stream.answer(), Ok(1));
    held.recv().unwrap().send(Err(Error::NoSpace)).unwrap();
    assert_eq!(stream.answer(), Err(RpcStatusCode::RESOURCE_EXHAUSTED));
    drop(server);
    assert!(held.recv().is_err(), "the third request was never begun");
}

#[test]
fn a_stream_that_panics_is_internal_and_the_last_thing_the_placement_driver_does() {
    let now = |_: &Pd, _: &pb::TsoRequest| panic!("on purpose, at once");
    let later = |_: &Pd, _: &pb::TsoRequest| -> Answer<pb::TsoResponse> {
        Ok(Reply::Later(Box::pin(async { panic!("on purpose, later") })))
    };
    for server in [serve(now), serve(later)] {
        let channel = connect(server.addr());
        let mut stream = Stream::open(&channel);
        stream.send();
        assert_eq!(stream.answer(), Err(RpcStatusCode::INTERNAL));
        assert_eq!(alloc_id(&channel), RpcStatusCode::UNAVAILABLE);
    }
}

#[test]
fn a_client_that_goes_leaves_no_call_behind() {
    let (mut server, held) = serve_held();
    let channel = connect(server.addr());
    let mut gone = Stream::open(&channel);
    gone.send();
    let answer = held.recv().unwrap();
    drop(gone);
    drop(Stream::open(&channel));
    answer.send(Ok(1)).unwrap();
    assert!(server.stop(FOREVER));
}
