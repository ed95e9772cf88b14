//! A small blocking client of the service, apart from the crate's own, so that the server is not tested through code that
//! might share its mistakes.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use grpcio::{CallOption, ChannelBuilder, CompressionAlgorithms, Environment, Method, RpcStatusCode};
use pd_lite::proto::pd::{
    AllocIDRequest, GetRegionByKeyRequest, RegionHeartbeatRequest, RegionMeta, RegionPeer, RemoveRegionRequest,
    SchedulerOperation, StoreHeartbeatRequest, TsoRequest,
};
use pd_lite::proto::pd_methods;
use protobuf::MessageField;

/// Only a server that hangs takes this long to answer.
pub const HANG: Duration = Duration::from_secs(60);

/// The poll threads of all clients.
pub fn environment() -> Arc<Environment> {
    static ENVIRONMENT: OnceLock<Arc<Environment>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| Arc::new(Environment::new(2))).clone()
}

/// A call that got a status other than OK.
#[derive(Clone, Debug)]
pub struct Failure {
    pub code: RpcStatusCode,
    pub message: String,
}

fn builder() -> ChannelBuilder {
    ChannelBuilder::new(environment()).use_local_subchannel_pool(true).enable_http_proxy(false).enable_retry(false)
}

/// One connection to a server.
#[derive(Clone)]
pub struct Client {
    inner: grpcio::Client,
}

impl Client {
    /// The connection is made by the first call.
    pub fn connect(addr: &str) -> Self {
        Self { inner: grpcio::Client::new(builder().connect(addr)) }
    }

    /// The same, but what it sends is compressed.
    pub fn connect_compressing(addr: &str) -> Self {
        let gzip = CompressionAlgorithms::GRPC_COMPRESS_GZIP;
        Self { inner: grpcio::Client::new(builder().default_compression_algorithm(gzip).connect(addr)) }
    }

    pub fn raw(&self) -> &grpcio::Client {
        &self.inner
    }

    pub fn call<Request, Response: Unpin>(
        &self,
        method: &Method<Request, Response>,
        request: &Request,
    ) -> Result<Response, Failure> {
        self.inner.unary_call(method, request, CallOption::default().timeout(HANG)).map_err(|error| match error {
            grpcio::Error::RpcFailure(status) => Failure { code: status.code(), message: status.message().to_owned() },
            // No status came from the server: no test expects this code.
            other => Failure { code: RpcStatusCode::UNKNOWN, message: other.to_string() },
        })
    }

    /// The first of `count` timestamps.
    pub fn tso(&self, count: u64) -> Result<u64, Failure> {
        let response = self.call(&pd_methods::TSO, &TsoRequest { count, ..Default::default() })?;
        assert_eq!(response.count, count.max(1));
        Ok(response.timestamp)
    }

    /// The first of `count` ids.
    pub fn alloc_id(&self, count: u64) -> Result<u64, Failure> {
        let response = self.call(&pd_methods::ALLOC_ID, &AllocIDRequest { count, ..Default::default() })?;
        assert_eq!(response.count, count.max(1));
        Ok(response.first_id)
    }

    /// A region heartbeat.
    pub fn put(&self, region: &RegionMeta) -> Result<(), Failure> {
        let request = RegionHeartbeatRequest { region: MessageField::some(region.clone()), ..Default::default() };
        let response = self.call(&pd_methods::REGION_HEARTBEAT, &request)?;
        assert!(response.accepted, "OK says accepted");
        Ok(())
    }

    /// Whether the region was there.
    pub fn remove(&self, region_id: u64) -> Result<bool, Failure> {
        let request = RemoveRegionRequest { region_id, ..Default::default() };
        Ok(self.call(&pd_methods::REMOVE_REGION, &request)?.removed)
    }

    pub fn lookup(&self, key: &[u8]) -> Result<Option<RegionMeta>, Failure> {
        let request = GetRegionByKeyRequest { key: key.to_vec(), ..Default::default() };
        let response = self.call(&pd_methods::GET_REGION_BY_KEY, &request)?;
        assert_eq!(response.region.is_none(), response.not_found);
        Ok(response.region.into_option())
    }

    /// A store heartbeat with these numbers of regions and leaders. Returns the hints.
    pub fn store(&self, store_id: u64, region_num: u64, leader_num: u64) -> Result<Vec<SchedulerOperation>, Failure> {
        let request = StoreHeartbeatRequest { store_id, region_num, leader_num, ..Default::default() };
        let response = self.call(&pd_methods::STORE_HEARTBEAT, &request)?;
        assert!(response.accepted, "OK says accepted");
        Ok(response.operations)
    }
}

/// A region with one peer on each of the stores 1, 2 and 3.
pub fn region(id: u64, start: &[u8], end: &[u8], version: u64) -> RegionMeta {
    let peers = (1..=3).map(|store| RegionPeer { store_id: store, peer_id: id * 10 + store, ..Default::default() });
    RegionMeta {
        id,
        start_key: start.to_vec(),
        end_key: end.to_vec(),
        epoch_version: version,
        epoch_conf_version: 1,
        peers: peers.collect(),
        ..Default::default()
    }
}
