//! Calls that are held open or panic: a stop with calls under way, and a placement driver that breaks.

mod streams;

use std::net::TcpListener;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use futures::channel::oneshot;
use grpcio::{
    CallOption, Channel, ChannelBuilder, Client, ClientUnaryReceiver, EnvBuilder, RpcStatusCode, ServiceBuilder,
};

use super::adapter::Adapter;
use super::calls::Calls;
use super::{BindError, Server, ServerOptions};
use crate::core::{Allocators, Cluster, Limits};
use crate::proto::{pd as pb, pd_methods as methods, pdlite_methods};
use crate::service::{Answer, Error, Pd, Reply, RequestLimits};
use crate::storage::State;

/// Ends a test that hangs; no verdict depends on it.
const FOREVER: Duration = Duration::from_secs(30);

fn pd() -> Arc<Pd> {
    let state = State {
        cluster: Mutex::new(Cluster::default()),
        allocators: Mutex::new(Allocators::unbounded(Limits::default())),
    };
    Arc::new(Pd::in_memory(Arc::new(state), RequestLimits::default()))
}

fn options() -> ServerOptions {
    ServerOptions { addr: "127.0.0.1:0".into(), threads: 1, ..ServerOptions::default() }
}

/// A server whose Tso is `tso`, as a call and as a stream; AllocID is the real one.
fn serve(tso: impl Fn(&Pd, &pb::TsoRequest) -> Answer<pb::TsoResponse> + Clone + Send + 'static) -> Server {
    let calls = Arc::new(Calls::default());
    let service = Adapter::new(&pd(), &calls)
        .add(&methods::ALLOC_ID, Pd::alloc_id)
        .add(&methods::TSO, tso.clone())
        .add_stream(&pdlite_methods::TSO, tso)
        .build();
    let mut server = Server::bind_at("127.0.0.1:0".parse().unwrap(), &options(), service, calls).unwrap();
    server.start();
    server
}

type Held = mpsc::Receiver<oneshot::Sender<Result<u64, Error>>>;

/// A server whose Tso calls stay open until the test answers them.
fn serve_held() -> (Server, Held) {
    let (held, calls) = mpsc::channel();
    let server = serve(move |_, _| {
        let (sender, receiver) = oneshot::channel();
        held.send(sender).unwrap();
        Ok(Reply::Later(Box::pin(async move {
            let timestamp = receiver.await.unwrap_or(Err(Error::OutcomeUnknown))?;
            Ok(pb::TsoResponse { timestamp, count: 1, ..Default::default() })
        })))
    });
    (server, calls)
}

fn connect(addr: &str) -> Channel {
    let env = Arc::new(EnvBuilder::new().cq_count(1).build());
    ChannelBuilder::new(env).enable_retry(false).enable_http_proxy(false).use_local_subchannel_pool(true).connect(addr)
}

fn tso(channel: &Channel) -> ClientUnaryReceiver<pb::TsoResponse> {
    let option = CallOption::default().timeout(FOREVER);
    Client::new(channel.clone()).unary_call_async(&methods::TSO, &pb::TsoRequest::new(), option).unwrap()
}

fn alloc_id(channel: &Channel) -> RpcStatusCode {
    let option = CallOption::default().timeout(FOREVER);
    code(Client::new(channel.clone()).unary_call(&methods::ALLOC_ID, &pb::AllocIDRequest::new(), option))
}

fn timestamp(mut call: ClientUnaryReceiver<pb::TsoResponse>) -> grpcio::Result<u64> {
    call.receive_sync().map(|(_, answer, _)| answer.timestamp)
}

fn code<T>(result: grpcio::Result<T>) -> RpcStatusCode {
    match result {
        Ok(_) => RpcStatusCode::OK,
        Err(grpcio::Error::RpcFailure(status)) => status.code(),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_stop_refuses_new_calls_and_waits_for_those_under_way() {
    let (mut server, held) = serve_held();
    let addr = server.addr().to_owned();
    let channel = connect(&addr);
    let calls = [tso(&channel), tso(&channel)];
    let answers = [held.recv().unwrap(), held.recv().unwrap()];
    let stopper = thread::spawn(move || server.stop(FOREVER));
    while alloc_id(&connect(&addr)) != RpcStatusCode::UNAVAILABLE {}
    let turned_away = [RpcStatusCode::UNAVAILABLE, RpcStatusCode::CANCELLED];
    assert!(turned_away.contains(&alloc_id(&channel)), "over an old connection too");
    for answer in answers {
        answer.send(Ok(7)).unwrap();
    }
    for call in calls {
        assert_eq!(timestamp(call).unwrap(), 7);
    }
    assert!(stopper.join().unwrap());
}

#[test]
fn a_stop_cancels_what_outlasts_its_grace() {
    let (mut server, held) = serve_held();
    let channel = connect(server.addr());
    let call = tso(&channel);
    let answer = held.recv().unwrap();
    assert!(!server.stop(Duration::ZERO));
    assert_eq!(code(timestamp(call)), RpcStatusCode::UNAVAILABLE);
    drop(server);
    // The answer of a placement driver that ends later finds nobody; nothing breaks.
    let _ = answer.send(Ok(7));
}

#[test]
fn a_server_that_is_dropped_never_hangs() {
    let (server, held) = serve_held();
    let channel = connect(server.addr());
    let call = tso(&channel);
    let _open = held.recv().unwrap();
    drop(server);
    assert_eq!(code(timestamp(call)), RpcStatusCode::UNAVAILABLE);
}

#[test]
fn a_panic_is_internal_and_the_last_thing_the_placement_driver_does() {
    let now = |_: &Pd, _: &pb::TsoRequest| panic!("on purpose, at once");
    let later = |_: &Pd, _: &pb::TsoRequest| -> Answer<pb::TsoResponse> {
        Ok(Reply::Later(Box::pin(async { panic!("on purpose, later") })))
    };
    for server in [serve(now), serve(later)] {
        let channel = connect(server.addr());
        assert_eq!(alloc_id(&channel), RpcStatusCode::OK);
        assert_eq!(code(timestamp(tso(&channel))), RpcStatusCode::INTERNAL);
        assert_eq!(
            alloc_id(&channel),
            RpcStatusCode::UNAVAILABLE,
            "the poll thread lives, the placement driver does not"
        );
    }
}

#[test]
fn a_port_lost_between_the_probe_and_the_bind_is_in_use() {
    let thief = TcpListener::bind("127.0.0.1:0").unwrap();
    let calls = Arc::new(Calls::default());
    let service = Adapter::new(&pd(), &calls).build();
    let lost = Server::bind_at(thief.local_addr().unwrap(), &options(), service, calls);
    assert!(matches!(lost, Err(BindError::InUse { .. })));
}

#[test]
fn calls_of_somebody_else_are_served_under_the_same_limits() {
    let not_found = |ctx: grpcio::RpcContext<'_>, _: pb::GetRegionByKeyRequest, sink: grpcio::UnarySink<_>| {
        let sent = sink.success(pb::GetRegionByKeyResponse { not_found: true, ..Default::default() });
        ctx.spawn(async move { drop(sent.await) });
    };
    let service = ServiceBuilder::new().add_unary_handler(&methods::GET_REGION_BY_KEY, not_found).build();
    let mut server = Server::bind_service(&options(), service).unwrap();
    server.start();
    let channel = connect(server.addr());
    let look_up = |len: usize| {
        let request = pb::GetRegionByKeyRequest { key: vec![b'k'; len], ..Default::default() };
        let option = CallOption::default().timeout(FOREVER);
        Client::new(channel.clone()).unary_call(&methods::GET_REGION_BY_KEY, &request, option)
    };
    assert!(look_up(1).unwrap().not_found);
    assert_eq!(code(look_up(options().request_bytes_max)), RpcStatusCode::RESOURCE_EXHAUSTED);
}
