//! What a `raft_config.json` says about one store, where no flag says it.

use std::path::{Path, PathBuf};

use crate::cli::{Exit, Failure, keys};
use crate::config::{self, RaftConfig, Scope};
use crate::core::{Epoch, Peer, PeerId, Region, RegionId, StoreId};
use crate::serve::FirstRegion;

/// A store's part of a configuration. What is empty is not there.
#[derive(Debug, Default)]
pub struct Configured {
    pub addr: String,
    pub workdir: PathBuf,
    pub pd_addr: String,
    /// The other stores, as `--peer` takes them.
    pub peers: Vec<String>,
    /// The regions of all stores.
    pub regions: Vec<FirstRegion>,
}

/// Reads the part of `store`.
///
/// # Errors
///
/// Exit code 2: the file cannot be read or is not valid, the scope or the store is unknown, or a key is malformed.
pub fn load(path: &Path, scope: &str, store: StoreId) -> Result<Configured, Failure> {
    let failure = |message: String| Failure::new(Exit::Usage, message);
    let config = RaftConfig::load(path).map_err(|error| failure(format!("serve load config {path:?}: {error}")))?;
    config.validate().map_err(|error| failure(format!("serve validate config {path:?}: {error}")))?;
    let scope =
        Scope::parse(scope).ok_or_else(|| failure(format!("invalid serve scope {scope:?} (expected host|docker)")))?;
    let stores = || config.stores.iter().flatten();
    let own = stores().find(|known| known.store_id == store.0);
    let own = own.ok_or_else(|| failure(format!("store {store} is not in {path:?}; check --store-id")))?;
    let others = stores().filter(|other| other.store_id != store.0 && !other.addr(scope).is_empty());
    let regions = config.regions.iter().flatten().map(first_region);
    Ok(Configured {
        addr: own.listen_addr(scope).to_owned(),
        workdir: config.store_work_dir(own, scope).into(),
        pd_addr: config.pd.as_ref().map_or_else(String::new, |pd| pd.addr(scope).to_owned()),
        peers: others.map(|other| format!("{}={}", other.store_id, other.addr(scope))).collect(),
        regions: regions.collect::<Result<_, _>>().map_err(|error| failure(format!("{path:?}: {error}")))?,
    })
}

/// The region with its keys read as `pd-lite config manifest` reads them, which is how the reference's scripts hand them over.
fn first_region(region: &config::Region) -> Result<FirstRegion, String> {
    let key = |name: &str, text: &str| {
        let read = keys::read(text.trim().as_bytes(), false);
        read.map_err(|expected| format!("region {}: {name} {text:?}: expected {expected}", region.id))
    };
    let (start_key, end_key) = (key("start_key", &region.start_key)?, key("end_key", &region.end_key)?);
    let epoch = Epoch { version: region.epoch.version, conf_version: region.epoch.conf_version };
    let peers = region.peers.iter().flatten();
    let peers = peers.map(|peer| Peer { store_id: StoreId(peer.store_id), peer_id: PeerId(peer.peer_id) });
    Ok(FirstRegion {
        region: Region::new(RegionId(region.id), &start_key, &end_key, epoch, peers),
        leader: StoreId(region.leader_store_id),
    })
}
