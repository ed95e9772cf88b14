//! A gRPC server inside the test: a list of methods, and for each call what a test wants: an answer, a status, silence, or
//! the answer of a real PD behind it.
//!
//! With `pb.PD` alone and everything passed on it is a PD without `pdlite.v1`, as the Go PD is.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared;
use grpcio::{
    CallOption, ChannelBuilder, Marshaller, MessageReader, Method, MethodType, RpcContext, RpcStatus, RpcStatusCode,
    Server, ServerBuilder, ServerCredentials, ServiceBuilder, UnarySink,
};
use pd_lite::proto::{pd_methods, pdlite_methods};
use protobuf::Message;

use super::Client;
use super::client::environment;

/// Only a PD that hangs takes this long to answer.
const HANG: Duration = Duration::from_secs(60);

/// The methods of `pb.PD`.
pub const PB_PD: [&str; 6] = [
    pd_methods::STORE_HEARTBEAT.name,
    pd_methods::REGION_HEARTBEAT.name,
    pd_methods::REMOVE_REGION.name,
    pd_methods::GET_REGION_BY_KEY.name,
    pd_methods::ALLOC_ID.name,
    pd_methods::TSO.name,
];

/// The unary methods of `pdlite.v1`.
pub const PDLITE: [&str; 5] = [
    pdlite_methods::REGION_HEARTBEATS.name,
    pdlite_methods::GET_REGIONS_BY_KEYS.name,
    pdlite_methods::SCAN_REGIONS.name,
    pdlite_methods::GET_STORES.name,
    pdlite_methods::GET_STATUS.name,
];

/// What becomes of a call.
pub enum Reply {
    /// It is answered with these bytes.
    Answer(Vec<u8>),
    Status(RpcStatusCode, &'static str),
    /// It is answered with these bytes once the test says so, or drops the sender.
    AnswerAfter(Shared<oneshot::Receiver<()>>, Vec<u8>),
    /// It is never answered, as by a PD that hangs.
    Silence,
    /// The real PD answers.
    PassOn,
}

/// A server that answers as a test wants. It ends with the handle.
pub struct Relay {
    server: Server,
    addr: String,
    shared: Arc<State>,
}

#[derive(Default)]
struct State {
    calls: Mutex<BTreeMap<&'static str, usize>>,
    /// The sinks of the calls that are never answered: without them gRPC would cancel the calls.
    silent: Mutex<Vec<UnarySink<Vec<u8>>>>,
}

impl Reply {
    pub fn message(answer: &impl Message) -> Self {
        Self::Answer(answer.write_to_bytes().unwrap())
    }
}

impl Relay {
    /// A PD without `pdlite.v1`, on a free port, in front of the real one at `pd_addr`.
    pub fn go_pd(pd_addr: &str) -> Self {
        Self::start("127.0.0.1:0", &PB_PD, Some(pd_addr), |_, _| Reply::PassOn)
    }

    /// Serves `methods` at `addr`; `reply` decides by a call's method and message.
    pub fn start(
        addr: &str,
        methods: &[&'static str],
        pd_addr: Option<&str>,
        reply: impl Fn(&'static str, &[u8]) -> Reply + Send + Clone + 'static,
    ) -> Self {
        let shared = Arc::new(State::default());
        let mut service = ServiceBuilder::new();
        for &name in methods {
            let (pd, shared, reply) = (pd_addr.map(Client::connect), Arc::clone(&shared), reply.clone());
            service = service.add_unary_handler(&raw(name), move |ctx, request, sink| {
                shared.count(name);
                match reply(name, &request) {
                    Reply::Answer(answer) => ctx.spawn(sink.success(answer).map(drop)),
                    Reply::Status(code, message) => {
                        ctx.spawn(sink.fail(RpcStatus::with_message(code, message.to_owned())).map(drop));
                    }
                    Reply::AnswerAfter(go, answer) => {
                        ctx.spawn(go.then(|_| sink.success(answer)).map(drop));
                    }
                    Reply::Silence => shared.silent.lock().unwrap().push(sink),
                    Reply::PassOn => {
                        pass_on(&ctx, pd.as_ref().expect("a PD to pass calls on to"), name, &request, sink)
                    }
                }
            });
        }
        // A port of its own: a test of another address would otherwise be able to share it.
        let args = ChannelBuilder::new(environment()).reuse_port(false).build_args();
        let builder = ServerBuilder::new(environment()).register_service(service.build()).channel_args(args);
        let mut server = builder.build().unwrap();
        let port = server.add_listening_port(addr, ServerCredentials::insecure()).expect("the port is free");
        server.start();
        let (host, _) = addr.rsplit_once(':').unwrap();
        Self { server, addr: format!("{host}:{port}"), shared }
    }

    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// How many calls of a method have come.
    pub fn calls(&self, name: &str) -> usize {
        self.shared.calls.lock().unwrap().get(name).copied().unwrap_or_default()
    }
}

impl State {
    fn count(&self, name: &'static str) {
        *self.calls.lock().unwrap().entry(name).or_default() += 1;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let stopped = self.server.shutdown();
        self.server.cancel_all_calls();
        self.shared.silent.lock().unwrap().clear();
        let _ = pollster::block_on(stopped);
    }
}

fn pass_on(ctx: &RpcContext<'_>, pd: &Client, name: &'static str, request: &Vec<u8>, sink: UnarySink<Vec<u8>>) {
    let answer = pd.raw().unary_call_async(&raw(name), request, CallOption::default().timeout(HANG)).unwrap();
    ctx.spawn(async move {
        let _ = match answer.await {
            Ok(answer) => sink.success(answer).await,
            Err(grpcio::Error::RpcFailure(status)) => sink.fail(status).await,
            Err(other) => sink.fail(RpcStatus::with_message(RpcStatusCode::UNKNOWN, other.to_string())).await,
        };
    });
}

/// A unary method whose messages are bytes.
pub const fn raw(name: &'static str) -> Method<Vec<u8>, Vec<u8>> {
    #[expect(clippy::ptr_arg, reason = "the signature that grpcio asks for")]
    fn serialize(bytes: &Vec<u8>, out: &mut grpcio::GrpcSlice) -> grpcio::Result<()> {
        *out = grpcio::GrpcSlice::from(bytes.clone());
        Ok(())
    }
    fn deserialize(mut reader: MessageReader) -> grpcio::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).expect("the bytes are in memory");
        Ok(bytes)
    }
    Method {
        ty: MethodType::Unary,
        name,
        req_mar: Marshaller { ser: serialize, de: deserialize },
        resp_mar: Marshaller { ser: serialize, de: deserialize },
    }
}
