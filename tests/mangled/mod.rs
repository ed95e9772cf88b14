//! Good bytes that were mangled by chance, for each reader of bytes that come from outside. What must hold for them is in
//! `bodies.rs`, which the fuzz targets share. `PD_LITE_INPUTS=n` tries n inputs of each kind.

mod bodies;

use pd_lite::core::{Epoch, Limits, Peer, PeerId, Region, RegionId, StoreId};
use pd_lite::proto::pd as pb;
use pd_lite::storage::record::{self, HEADER_LEN, Origin, RegionState};
use pd_lite::storage::state::{Checkpoint, Synced};
use protobuf::Message;

use crate::support::rng::Rng;

/// Bytes that mean something somewhere: lengths, ends of varints, types, magics.
const TOKENS: [&[u8]; 14] = [
    &[0],
    &[0xff],
    &[0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02],
    &[0, 0, 0, 0x80],
    &[0xd0],
    &[0xd1],
    &[0xd2],
    &[record::MARKER],
    b"NoKV",
    b"pdlite-c",
    b"\"",
    b"null",
];

/// Calls `body` with each sample, and with samples that were mangled.
fn mangle(samples: &[Vec<u8>], body: fn(&[u8])) {
    samples.iter().for_each(|sample| body(sample));
    let inputs = std::env::var("PD_LITE_INPUTS").ok().and_then(|inputs| inputs.parse().ok()).unwrap_or(20_000);
    let mut rng = Rng::new(1);
    for _ in 0..inputs {
        let mut bytes = samples[below(&mut rng, samples.len())].clone();
        for _ in 0..=rng.below(4) {
            change(&mut bytes, samples, &mut rng);
        }
        body(&bytes);
    }
}

fn below(rng: &mut Rng, bound: usize) -> usize {
    usize::try_from(rng.below(u64::try_from(bound.max(1)).unwrap())).unwrap()
}

fn change(bytes: &mut Vec<u8>, samples: &[Vec<u8>], rng: &mut Rng) {
    let at = below(rng, bytes.len());
    let end = (at + below(rng, 40)).min(bytes.len());
    match rng.below(8) {
        0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << rng.below(8),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        5 => {
            let token = TOKENS[below(rng, TOKENS.len())];
            bytes.splice(at..end.min(at + token.len()), token.iter().copied());
        }
        6 => {
            let other = &samples[below(rng, samples.len())];
            bytes.splice(at.., other[below(rng, other.len())..].iter().copied());
        }
        _ => bytes.insert(at, u8::try_from(rng.below(256)).unwrap()),
    }
}

fn region(id: u64, start: &str, end: &str) -> Region {
    let epoch = Epoch { version: id, conf_version: 3 };
    let peers = [(1, id * 300), (2, 2)].map(|(store, peer)| Peer { store_id: StoreId(store), peer_id: PeerId(peer) });
    Region::new(RegionId(id), start.as_bytes(), end.as_bytes(), epoch, peers)
}

fn put(id: u64, start: &str, end: &str, marked: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    record::push_put(&mut bytes, &region(id, start, end), RegionState::Plain, marked);
    bytes
}

fn delete(id: u64, marked: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    record::push_delete(&mut bytes, RegionId(id), marked);
    bytes
}

/// A manifest of ours with these batches.
fn manifest(origin: Origin, batches: &[&[Vec<u8>]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    record::push_opening(&mut bytes, origin, 77);
    for (number, batch) in (1..).zip(batches) {
        let mut records = batch.concat();
        let issued = Limits { ids: number, timestamps: 2 * number };
        record::push_commit(&mut records, u64::try_from(bytes.len()).unwrap(), number, issued, 77);
        bytes.extend(records);
    }
    bytes
}

#[test]
fn no_body_of_a_record_is_misread() {
    let mut samples: Vec<_> = [put(1, "a", "b", true), put(300, "", "", false), delete(7, true), delete(8, false)]
        .map(|record| record[HEADER_LEN..].to_vec())
        .into();
    samples.push(manifest(Origin::New, &[]));
    samples.push(manifest(Origin::New, &[&[]])[29..].to_vec());
    mangle(&samples, bodies::record);
}

#[test]
fn no_manifest_is_misread() {
    let batches: [&[Vec<u8>]; 3] =
        [&[put(1, "a", "c", true), put(2, "c", "", true)], &[delete(1, true)], &[put(3, "", "c", true)]];
    let ours = manifest(Origin::New, &batches);
    let rewritten = manifest(Origin::Rewrite, &[batches[0], &[], batches[1]]);
    let reference = [put(1, "a", "c", false), delete(1, false), put(2, "c", "", false)].concat();
    let samples = [ours.clone(), rewritten, reference.clone(), [ours.clone(), reference].concat(), vec![]];
    let mut framed: Vec<_> = samples.map(|content| [&[1, 0, 0, 0, 0][..], &content].concat()).into();
    let synced = u32::try_from(ours.len()).unwrap().to_le_bytes();
    framed.push([&[0][..], &synced, &ours].concat());
    framed.push([&[0, 29, 0, 0, 0][..], &ours].concat());
    mangle(&framed, bodies::replay);
}

#[test]
fn no_checkpoint_is_misread() {
    let limits = Limits { ids: 13, timestamps: u64::MAX };
    let synced = Synced { manifest: "MANIFEST-000002".into(), bytes: 1234 };
    let ours = Checkpoint { limits, synced: Some(synced) }.encode().into_bytes();
    let reference = Checkpoint { limits, synced: None }.encode().into_bytes();
    let odd = br#" { "ts_current" : 40 , "x":[{"y":null}], "ID_CURRENT":3,"id_current":7}"#.to_vec();
    mangle(&[ours, reference, odd], bodies::state);
}

#[test]
fn no_configuration_is_misread() {
    let samples = [
        r#"{"max_retries":-1,"pd":{"addr":"a:1","docker_addr":"b:1","work_dir":" w ","docker_work_dir":""},
        "store_work_dir_template":"e{id}","store_docker_work_dir_template":"f{id}",
        "stores":[{"store_id":1,"addr":"g","listen_addr":"h","work_dir":"k"},{"store_id":2}],
        "regions":[{"id":1,"start_key":"m","end_key":"hex:6e","epoch":{"version":2,"conf_version":3},
            "peers":[{"store_id":1,"peer_id":5}],"leader_store_id":1}]}"#,
        r#"{"PD":null,"Stores":[null],"regions":[{"peers":null}],"zzz":[1e999,{"a":[]}]}"#,
    ];
    mangle(&samples.map(|text| text.as_bytes().to_vec()), bodies::config);
}

#[test]
fn no_request_breaks_the_catalog_or_the_counters() {
    let meta = |id: u64, start: &str, end: &str| pb::RegionMeta::from(&region(id, start, end));
    let heartbeat = |id, start, end| {
        let request = pb::RegionHeartbeatRequest { region: Some(meta(id, start, end)).into(), ..Default::default() };
        framed(1, &request)
    };
    let store =
        |store_id, leader_num| framed(0, &pb::StoreHeartbeatRequest { store_id, leader_num, ..Default::default() });
    let lookup = |key: &str| framed(3, &pb::GetRegionByKeyRequest { key: key.into(), ..Default::default() });
    let samples = [
        [heartbeat(1, "", "m"), heartbeat(2, "m", ""), lookup("x"), heartbeat(1, "", "a"), heartbeat(3, "a", "m")]
            .concat(),
        [store(1, 3), store(2, 0), heartbeat(9, "", ""), store(1, 4), lookup("")].concat(),
        [heartbeat(1, "a", "b"), framed(2, &pb::RemoveRegionRequest { region_id: 1, ..Default::default() })].concat(),
        [framed(4, &pb::AllocIDRequest { count: 1 << 20, ..Default::default() }), framed(5, &pb::TsoRequest::new())]
            .concat(),
    ];
    mangle(&samples, bodies::requests);
}

fn framed(kind: u8, request: &impl Message) -> Vec<u8> {
    let message = request.write_to_bytes().unwrap();
    [&[kind, u8::try_from(message.len()).unwrap()][..], &message].concat()
}
