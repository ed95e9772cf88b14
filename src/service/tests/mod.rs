//! The service without a network.

mod durable;
mod histories;
mod memory;
mod region_batch;
mod routing;
mod status;

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use super::{Answer, Error, Pd, Reply, RequestLimits};
use crate::core::{Allocators, Cluster, Limits};
use crate::proto::{pd as pb, pdlite};
use crate::storage::State;

fn state(issued: Limits) -> Arc<State> {
    Arc::new(State { cluster: Mutex::new(Cluster::default()), allocators: Mutex::new(Allocators::unbounded(issued)) })
}

fn in_memory() -> Pd {
    Pd::in_memory(state(Limits::default()), RequestLimits::default())
}

fn heartbeat(id: u64, start: &str, end: &str, epoch: (u64, u64)) -> pb::RegionHeartbeatRequest {
    let region = pb::RegionMeta {
        id,
        start_key: start.into(),
        end_key: end.into(),
        epoch_version: epoch.0,
        epoch_conf_version: epoch.1,
        peers: peers(&[(1, 10 * id + 1), (2, 10 * id + 2)]),
        ..Default::default()
    };
    pb::RegionHeartbeatRequest { region: Some(region).into(), ..Default::default() }
}

fn peers(ids: &[(u64, u64)]) -> Vec<pb::RegionPeer> {
    ids.iter().map(|&(store_id, peer_id)| pb::RegionPeer { store_id, peer_id, ..Default::default() }).collect()
}

fn removal(region_id: u64) -> pb::RemoveRegionRequest {
    pb::RemoveRegionRequest { region_id, ..Default::default() }
}

fn ids(count: u64) -> pb::AllocIDRequest {
    pb::AllocIDRequest { count, ..Default::default() }
}

fn timestamps(count: u64) -> pb::TsoRequest {
    pb::TsoRequest { count, ..Default::default() }
}

fn lookup(pd: &Pd, key: &[u8]) -> Option<pb::RegionMeta> {
    let answer = pd.get_region_by_key(&pb::GetRegionByKeyRequest { key: key.into(), ..Default::default() });
    let answer = now(answer).unwrap();
    assert_eq!(answer.not_found, answer.region.is_none());
    answer.region.into_option()
}

/// What was answered at once.
fn now<T>(answer: Answer<T>) -> Result<T, Error> {
    match answer? {
        Reply::Now(reply) => Ok(reply),
        Reply::Later(_) => panic!("the answer waits for the disk"),
    }
}

/// What is answered in the end.
fn wait<T>(answer: Answer<T>) -> Result<T, Error> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut reply = match answer? {
        Reply::Now(reply) => return Ok(reply),
        Reply::Later(reply) => reply,
    };
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match reply.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => thread::park(),
        }
    }
}
