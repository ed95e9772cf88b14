//! Workdirs as the reference writes them, put together by hand, byte for byte.

use std::fs;
use std::path::Path;

use pd_lite::proto::pd::RegionMeta;

/// A manifest of these records, `CURRENT`, and a checkpoint when there is one.
pub fn write_workdir(workdir: &Path, records: &[Vec<u8>], checkpoint: Option<&str>) {
    fs::write(workdir.join("MANIFEST-000001"), records.concat()).unwrap();
    fs::write(workdir.join("CURRENT"), "MANIFEST-000001").unwrap();
    if let Some(checkpoint) = checkpoint {
        fs::write(workdir.join("PD_STATE.json"), checkpoint).unwrap();
    }
}

/// A record: length, magic, type and body.
pub fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let payload = [b"NoKV", &[kind][..], body].concat();
    [&u32::try_from(payload.len()).unwrap().to_le_bytes()[..], &payload].concat()
}

/// The record that stores a region. The reference's PD writes state 0, `nokv-config manifest` 1 (running) or 3 (tombstone).
pub fn region_record(region: &RegionMeta, state: u8) -> Vec<u8> {
    let mut body = uvarint(region.id);
    body.push(0);
    for key in [&region.start_key, &region.end_key] {
        body.extend(uvarint(u64::try_from(key.len()).unwrap()));
        body.extend_from_slice(key);
    }
    body.extend(uvarint(region.epoch_version));
    body.extend(uvarint(region.epoch_conf_version));
    body.push(state);
    body.extend(uvarint(u64::try_from(region.peers.len()).unwrap()));
    for peer in &region.peers {
        body.extend(uvarint(peer.store_id));
        body.extend(uvarint(peer.peer_id));
    }
    record(7, &body)
}

pub fn uvarint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

#[test]
fn records_are_those_of_the_recordings() {
    let region = RegionMeta {
        id: 5,
        start_key: b"a".to_vec(),
        end_key: b"m".to_vec(),
        epoch_version: 1,
        epoch_conf_version: 2,
        peers: [(1, 0x33), (2, 0x34)]
            .map(|(store_id, peer_id)| pd_lite::proto::pd::RegionPeer { store_id, peer_id, ..Default::default() })
            .to_vec(),
        ..Default::default()
    };
    let expected = [&[0x13, 0, 0, 0][..], b"NoKV", &[7, 5, 0, 1, b'a', 1, b'm', 1, 2, 1, 2, 1, 0x33, 2, 0x34]].concat();
    assert_eq!(region_record(&region, 1), expected);
}
