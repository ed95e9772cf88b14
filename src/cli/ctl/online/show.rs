//! What the commands that ask a running PD print. In JSON it is the protocol's answer, under its names, keys in hexadecimal.

use std::ops::RangeInclusive;

use serde::Serialize;

use crate::cli::ctl::form::{Form, json};
use crate::cli::ctl::regions::{self, RegionJson};
use crate::cli::table::{size, table};
use crate::cli::{printable, time};
use crate::client::{Durability, Status, Store};
use crate::core::{Region, RegionId};

/// What a PD tells of itself.
pub fn status(status: &Status, form: Form) -> String {
    let Status { version, regions, stores, last_id, last_timestamp, durability, limits } = status;
    let (durability, in_words) = match durability {
        Durability::Memory => ("DURABILITY_MEMORY", "memory: nothing outlives the process"),
        Durability::Disk => ("DURABILITY_DISK", "disk"),
        Durability::NoSpace => ("DURABILITY_NO_SPACE", "disk, which has no space: changes are refused until it has"),
        Durability::Unknown => ("DURABILITY_UNSPECIFIED", "unknown"),
    };
    if form == Form::Json {
        return json(&StatusJson {
            version,
            regions: *regions,
            stores: *stores,
            last_id: *last_id,
            last_timestamp: *last_timestamp,
            durability,
            limits: LimitsJson {
                request_bytes: limits.request_bytes,
                key_bytes: limits.key_bytes,
                peers: limits.peers,
                count: limits.count,
                scan_regions: limits.scan_regions,
            },
        });
    }
    let lines = [
        ("version", printable(version)),
        ("durability", in_words.to_owned()),
        ("regions", regions.to_string()),
        ("stores", stores.to_string()),
        ("last id", last_id.to_string()),
        ("last timestamp", last_timestamp.to_string()),
        ("max request bytes", limits.request_bytes.to_string()),
        ("max key bytes", limits.key_bytes.to_string()),
        ("max peers", limits.peers.to_string()),
        ("max count", limits.count.to_string()),
        ("max scan regions", limits.scan_regions.to_string()),
    ];
    lines.map(|(name, value)| format!("{name:<18}{value}\n")).concat()
}

/// Regions in the order given.
pub fn regions(regions: &[Region], form: Form, hex: bool) -> String {
    match form {
        Form::Json => json(&RegionsJson { regions: regions.iter().map(RegionJson::from).collect() }),
        Form::Text => region_table(regions, hex),
    }
}

/// One region.
pub fn region(region: &Region, form: Form, hex: bool) -> String {
    match form {
        Form::Json => json(&FoundJson { region: region.into() }),
        Form::Text => region_table(std::slice::from_ref(region), hex),
    }
}

fn region_table(regions: &[Region], hex: bool) -> String {
    table(
        ["ID", "START", "END", "EPOCH", "PEERS"],
        regions.iter().map(|region| {
            let [id, start, end, _, _, peers] = regions::fields(region, hex);
            [id, start, end, region.epoch().to_string(), peers]
        }),
    )
}

/// A region that is gone.
pub fn removed(id: RegionId, form: Form) -> String {
    match form {
        Form::Json => json(&RemovedJson { removed: true }),
        Form::Text => format!("region {id} removed\n"),
    }
}

/// Stores in the order given.
pub fn stores(stores: &[Store], form: Form) -> String {
    match form {
        Form::Json => json(&StoresJson { stores: stores.iter().map(StoreJson::from).collect() }),
        Form::Text => table(
            ["ID", "REGIONS", "LEADERS", "CAPACITY", "AVAILABLE", "AGE"],
            stores.iter().map(|store| {
                let stats = store.stats;
                [
                    store.id.to_string(),
                    stats.region_num.to_string(),
                    stats.leader_num.to_string(),
                    size(stats.capacity),
                    size(stats.available),
                    time::short(store.age),
                ]
            }),
        ),
    }
}

/// Timestamps: the first and the last.
pub fn timestamps(timestamps: &RangeInclusive<u64>, form: Form) -> String {
    let (first, last) = (*timestamps.start(), *timestamps.end());
    match form {
        Form::Json => json(&TimestampsJson { timestamp: first, count: count(first, last) }),
        Form::Text => values(first, last),
    }
}

/// Ids: the first and the last.
pub fn ids(ids: &RangeInclusive<u64>, form: Form) -> String {
    let (first, last) = (*ids.start(), *ids.end());
    match form {
        Form::Json => json(&IdsJson { first_id: first, count: count(first, last) }),
        Form::Text => values(first, last),
    }
}

/// One value, or the first and the last of several: `7..11`.
fn values(first: u64, last: u64) -> String {
    if first == last { format!("{first}\n") } else { format!("{first}..{last}\n") }
}

/// Values start at 1, so the count fits.
fn count(first: u64, last: u64) -> u64 {
    (last - first).saturating_add(1)
}

#[derive(Serialize)]
struct StatusJson<'a> {
    version: &'a str,
    regions: u64,
    stores: u64,
    last_id: u64,
    last_timestamp: u64,
    durability: &'a str,
    limits: LimitsJson,
}

#[derive(Serialize)]
struct LimitsJson {
    request_bytes: u64,
    key_bytes: u64,
    peers: u64,
    count: u64,
    scan_regions: u64,
}

#[derive(Serialize)]
struct FoundJson {
    region: RegionJson,
}

#[derive(Serialize)]
struct RegionsJson {
    regions: Vec<RegionJson>,
}

#[derive(Serialize)]
struct RemovedJson {
    removed: bool,
}

#[derive(Serialize)]
struct StoresJson {
    stores: Vec<StoreJson>,
}

#[derive(Serialize)]
struct StoreJson {
    store_id: u64,
    region_num: u64,
    leader_num: u64,
    capacity: u64,
    available: u64,
    age_ms: u64,
}

impl From<&Store> for StoreJson {
    fn from(store: &Store) -> Self {
        Self {
            store_id: store.id.0,
            region_num: store.stats.region_num,
            leader_num: store.stats.leader_num,
            capacity: store.stats.capacity,
            available: store.stats.available,
            age_ms: store.age.as_millis().try_into().unwrap_or(u64::MAX),
        }
    }
}

#[derive(Serialize)]
struct TimestampsJson {
    timestamp: u64,
    count: u64,
}

#[derive(Serialize)]
struct IdsJson {
    first_id: u64,
    count: u64,
}
