//! Manifests and workdirs for the tests of the storage layer.

use std::path::Path;

use super::record::{self, OPENING_LEN, Origin, RegionState};
use crate::core::{Epoch, Limits, Peer, PeerId, Region, RegionId, StoreId};

/// A region with the epoch 1/1 and two peers.
pub(super) fn region(id: u64, start: &str, end: &str) -> Region {
    let peers = [(1, id * 10 + 1), (2, id * 10 + 2)]
        .map(|(store, peer)| Peer { store_id: StoreId(store), peer_id: PeerId(peer) });
    Region::new(RegionId(id), start.as_bytes(), end.as_bytes(), Epoch { version: 1, conf_version: 1 }, peers)
}

/// A region as the fixtures describe it.
pub(super) fn in_json(region: &Region) -> serde_json::Value {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    serde_json::json!({
        "id": region.id().0,
        "start_key": hex(region.start_key()),
        "end_key": hex(region.end_key()),
        "epoch_version": region.epoch().version,
        "epoch_conf_version": region.epoch().conf_version,
        "peers": region.peers()
            .map(|peer| serde_json::json!({"store_id": peer.store_id.0, "peer_id": peer.peer_id.0}))
            .collect::<Vec<_>>(),
    })
}

/// The record that the reference writes for a region.
pub(super) fn plain(region: &Region) -> Vec<u8> {
    let mut record = Vec::new();
    record::push_put(&mut record, region, RegionState::Plain, false);
    record
}

/// A record of any type.
pub(super) fn raw(kind: u8, body: &[u8]) -> Vec<u8> {
    let payload_len = u32::try_from(body.len() + 5).unwrap();
    [&payload_len.to_le_bytes()[..], b"NoKV", &[kind], body].concat()
}

/// A manifest of ours, batch by batch.
pub(super) struct Ours {
    pub(super) bytes: Vec<u8>,
    pub(super) salt: u64,
    pub(super) next_batch: u64,
}

impl Ours {
    pub(super) fn new(salt: u64) -> Self {
        let mut bytes = Vec::with_capacity(OPENING_LEN);
        record::push_opening(&mut bytes, Origin::New, salt);
        Self { bytes, salt, next_batch: 1 }
    }

    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.bytes.len()).unwrap()
    }

    /// Appends a batch of regions.
    pub(super) fn put(&mut self, regions: &[Region], issued: Limits) -> &mut Self {
        let mut batch = Vec::new();
        for region in regions {
            record::push_put(&mut batch, region, RegionState::Plain, true);
        }
        self.batch(batch, issued)
    }

    /// Appends these records as a batch.
    pub(super) fn batch(&mut self, mut records: Vec<u8>, issued: Limits) -> &mut Self {
        record::push_commit(&mut records, self.len(), self.next_batch, issued, self.salt);
        self.next_batch += 1;
        self.bytes.extend_from_slice(&records);
        self
    }
}

/// Writes files into a workdir.
pub(super) fn fill(workdir: &Path, files: &[(&str, &[u8])]) {
    for (name, content) in files {
        std::fs::write(workdir.join(name), content).unwrap();
    }
}

/// The files of a workdir but for the lock, by name.
pub(super) fn files(workdir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(workdir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap() != super::lock::LOCK)
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}
