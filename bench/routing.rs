//! Routing: the catalog alone, lookups without a network, and over gRPC, of one key and of many a call.

#[path = "support/mod.rs"]
mod support;

use std::process::ExitCode;

use pd_lite::proto::{pd, pd_methods, pdlite, pdlite_methods};
use protobuf::Message;

use support::catalog::Catalog;
use support::encoded::{self, Bytes};
use support::in_process::BareHandler;
use support::over_grpc::Calls;
use support::regions::{self, FIRST_VERSION, scattered};
use support::rows::Level;
use support::suite::{Shared, Suite, What};
use support::timed::{NEAR, Numbers, at_once, timed};

const IN_FLIGHT: [usize; 2] = [1, 64];

/// Keys of a batch, and regions of a scan.
const BATCH: u64 = 100;
/// Batches that one client has under way.
const BATCHES_IN_FLIGHT: usize = 4;
/// Different batches that are sent.
const BATCHES: u64 = 1024;
/// Every so many of the batches' answers are looked into: reading them all would make the client what is measured.
const CHECKED: u64 = 64;

const KEYS: grpcio::Method<Bytes, Vec<u8>> = encoded::method(pdlite_methods::GET_REGIONS_BY_KEYS.name);

fn main() -> ExitCode {
    Suite::run("routing", |suite| {
        for &count in suite.sizes() {
            let catalog = Shared::new(|| Catalog::in_memory(count));
            in_process(suite, &catalog, count);
            without_network(suite, &catalog, count);
            one_key(suite, &catalog, count);
            many_keys(suite, &catalog, count);
        }
        Ok(())
    })
}

fn in_process(suite: &mut Suite, catalog: &Shared<'_, Catalog>, count: u64) {
    suite.alone(What::new(Level::InProcess, "lookup").at(count), || {
        let catalog = catalog.get()?;
        let mut numbers = Numbers::default();
        Ok(Box::new(move |calls| {
            let first = numbers.take(calls);
            let cluster = catalog.cluster();
            timed(
                NEAR,
                calls,
                |number| regions::key(scattered(first + number, count)),
                |key| cluster.region_by_key(key).is_some_and(|region| region.start_key() == key),
            )
        }))
    });
}

fn without_network(suite: &mut Suite, catalog: &Shared<'_, Catalog>, count: u64) {
    suite.alone(What::new(Level::NoNetwork, "GetRegionByKey").at(count), || {
        let pd = catalog.get()?.pd();
        let mut numbers = Numbers::default();
        Ok(Box::new(move |calls| {
            let first = numbers.take(calls);
            let request = |number| regions::lookup(scattered(first + number, count));
            timed(NEAR, calls, request, |request| {
                at_once(pd.get_region_by_key(request)).is_some_and(|answer| is_region_of(&answer, &request.key))
            })
        }))
    });
    let what = format!("a key of {BATCH} by GetRegionsByKeys");
    suite.alone(What::new(Level::NoNetwork, what).items(BATCH).at(count), || {
        let pd = catalog.get()?.pd();
        let mut numbers = Numbers::default();
        Ok(Box::new(move |calls| {
            let first = numbers.take(calls);
            timed(
                1,
                calls,
                |number| keys(first + number, count),
                |request| {
                    at_once(pd.get_regions_by_keys(request)).is_some_and(|answer| are_regions_of(&answer, request))
                },
            )
        }))
    });
    let what = format!("a region of {BATCH} by ScanRegions");
    suite.alone(What::new(Level::NoNetwork, what).items(BATCH).at(count), || {
        let pd = catalog.get()?.pd();
        let mut numbers = Numbers::default();
        Ok(Box::new(move |calls| {
            let first = numbers.take(calls);
            let request = |number| pdlite::ScanRegionsRequest {
                start_key: regions::key(scattered(first + number, count - BATCH)),
                limit: u32::try_from(BATCH).expect("a small number"),
                ..Default::default()
            };
            timed(1, calls, request, |request| {
                at_once(pd.scan_regions(request)).is_some_and(|answer| {
                    answer.regions.len() == usize::try_from(BATCH).expect("a small number")
                        && answer.regions[0].start_key == request.start_key
                })
            })
        }))
    });
}

fn one_key(suite: &mut Suite, catalog: &Shared<'_, Catalog>, count: u64) {
    for in_flight in IN_FLIGHT {
        let what = format!("GetRegionByKey, {in_flight} in flight");
        suite.beside_floor(What::new(Level::OverGrpc, what).at(count), || {
            let calls = Calls {
                method: &pd_methods::GET_REGION_BY_KEY,
                in_flight,
                request: move |number| regions::lookup(scattered(number, count)),
                is_right: move |number, answer: &pd::GetRegionByKeyResponse| {
                    answer.region.id == regions::id(scattered(number, count))
                },
            };
            calls.beside(catalog.get()?.addr(), BareHandler::start(&pd_methods::GET_REGION_BY_KEY, found(count / 2))?)
        });
    }
}

fn many_keys(suite: &mut Suite, catalog: &Shared<'_, Catalog>, count: u64) {
    let what = format!("a key of {BATCH} by GetRegionsByKeys, {BATCHES_IN_FLIGHT} in flight");
    suite.beside_floor(What::new(Level::OverGrpc, what).items(BATCH).at(count), || {
        let requests = encoded::all((0..BATCHES).map(|batch| keys(batch, count)));
        let results = (0..BATCH).map(|key| found(scattered(key, count))).collect();
        let canned = pdlite::GetRegionsByKeysResponse { results, ..Default::default() };
        let bare = BareHandler::start(&pdlite_methods::GET_REGIONS_BY_KEYS, canned)?;
        let calls = Calls {
            method: &KEYS,
            in_flight: BATCHES_IN_FLIGHT,
            request: move |number| encoded::nth(requests, number),
            is_right: move |number, answer: &Vec<u8>| {
                number % CHECKED != 0
                    || pdlite::GetRegionsByKeysResponse::parse_from_bytes(answer)
                        .is_ok_and(|answer| are_regions_of(&answer, &keys(number % BATCHES, count)))
            },
        };
        calls.beside(catalog.get()?.addr(), bare)
    });
}

/// The answer that region `i` is.
fn found(i: u64) -> pd::GetRegionByKeyResponse {
    pd::GetRegionByKeyResponse { region: Some(regions::message(i, FIRST_VERSION)).into(), ..Default::default() }
}

/// The keys of a batch, from all over the catalog.
fn keys(batch: u64, count: u64) -> pdlite::GetRegionsByKeysRequest {
    let numbers = batch * BATCH..(batch + 1) * BATCH;
    let keys = numbers.map(|number| regions::key(scattered(number, count))).collect();
    pdlite::GetRegionsByKeysRequest { keys, ..Default::default() }
}

/// Keys that are looked up are the first of their regions.
fn is_region_of(answer: &pd::GetRegionByKeyResponse, key: &[u8]) -> bool {
    answer.region.start_key == key
}

fn are_regions_of(answer: &pdlite::GetRegionsByKeysResponse, request: &pdlite::GetRegionsByKeysRequest) -> bool {
    answer.results.len() == request.keys.len()
        && answer.results.iter().zip(&request.keys).all(|(answer, key)| is_region_of(answer, key))
}
