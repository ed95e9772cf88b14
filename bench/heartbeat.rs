//! Heartbeats: what the catalog's rules and the planner take alone, the calls without a network, and over gRPC; of regions as
//! they are and of changed ones, alone and in batches, in memory and durable on the real disk.

#[path = "support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::Duration;

use pd_lite::core::{StoreId, StoreStats, Verdict};
use pd_lite::proto::{pd, pd_methods, pdlite, pdlite_methods};

use support::Result;
use support::catalog::{Catalog, SOURCE, Versions, store_heartbeat};
use support::encoded::{self, Bytes};
use support::in_process::BareHandler;
use support::over_grpc::Calls;
use support::regions;
use support::rows::Level;
use support::suite::{Shared, Suite, What};
use support::timed::{MANY, NEAR, Numbers, at_once, timed, timed_waiting};

const IN_FLIGHT: [usize; 2] = [1, 64];

/// Regions of a batch: about half of the longest message that a server takes.
const BATCH: u64 = 300;
/// Batches that one client has under way.
const BATCHES_IN_FLIGHT: usize = 4;
/// Different batches that are sent.
const BATCHES: u64 = 256;

const HEARTBEATS: grpcio::Method<Bytes, Vec<u8>> = encoded::method(pdlite_methods::REGION_HEARTBEATS.name);

type Heartbeats<R> =
    Calls<pd::RegionHeartbeatRequest, pd::RegionHeartbeatResponse, R, fn(u64, &pd::RegionHeartbeatResponse) -> bool>;

/// A verdict that is OK, as it is sent.
const OK: [u8; 2] = [0x0a, 0];

fn main() -> ExitCode {
    Suite::run("heartbeat", |suite| {
        for &count in suite.sizes() {
            let workdir = suite.workdir(&count.to_string());
            let memory = Shared::new(|| Catalog::in_memory(count));
            let durable = Shared::new(|| Catalog::durable(&workdir, count));
            in_process(suite, &memory, count);
            without_network(suite, &memory, count);
            batches(suite, &memory, count);
            changes_on_disk(suite, &durable, count);
            unchanged_over_grpc(suite, &memory, count);
            changed_over_grpc(suite, &memory, count, "in memory");
            changed_over_grpc(suite, &durable, count, "durable");
            batches_over_grpc(suite, &memory, count);
            hints_over_grpc(suite, &memory, count);
            durable.into_made().map_or(Ok(()), Catalog::stop)?;
        }
        Ok(())
    })
}

fn unchanged(versions: Versions, number: u64) -> pd::RegionHeartbeatRequest {
    let (i, version) = versions.scattered(number);
    regions::heartbeat(i, version)
}

fn changed(versions: Versions, number: u64) -> pd::RegionHeartbeatRequest {
    let (i, version) = versions.change(number);
    regions::heartbeat(i, version)
}

fn batch(region: impl Fn(u64) -> (u64, u64), number: u64) -> pdlite::RegionHeartbeatsRequest {
    let numbers = number * BATCH..(number + 1) * BATCH;
    let message = |number| {
        let (i, version) = region(number);
        regions::message(i, version)
    };
    pdlite::RegionHeartbeatsRequest { regions: numbers.map(message).collect(), ..Default::default() }
}

fn in_process(suite: &mut Suite, catalog: &Shared<'_, Catalog>, count: u64) {
    suite.alone(What::new(Level::InProcess, "judge an unchanged region").at(count), || {
        let catalog = catalog.get()?;
        let mut numbers = Numbers::default();
        Ok(Box::new(move |calls| {
            let (first, versions) = (numbers.take(calls), catalog.versions());
            let region = |number| {
                let (i, version) = versions.scattered(first + number);
                regions::region(i, version)
            };
            let cluster = catalog.cluster();
            timed(NEAR, calls, region, |region| matches!(cluster.judge(region), Ok(Verdict::Unchanged)))
        }))
    });
    suite.alone(What::new(Level::InProcess, "judge and put a new epoch").at(count), || {
        let catalog = catalog.get()?;
        Ok(Box::new(move |calls| {
            let (first, versions) = (catalog.take_changes(calls), catalog.versions());
            let region = |number| {
                let (i, version) = versions.change(first + number);
                Some(regions::region(i, version))
            };
            let mut cluster = catalog.cluster();
            timed(NEAR, calls, region, |region| {
                let region = region.take().expect("taken once");
                let is_change = matches!(cluster.judge(&region), Ok(Verdict::Changed));
                cluster.put(region);
                is_change
            })
        }))
    });
    suite.alone(What::new(Level::InProcess, "plan for a store").at(count), || {
        let catalog = catalog.get()?;
        let report = store_heartbeat(SOURCE);
        let stats = StoreStats {
            region_num: report.region_num,
            leader_num: report.leader_num,
            capacity: report.capacity,
            available: report.available,
        };
        Ok(Box::new(move |calls| {
            let mut cluster = catalog.cluster();
            timed(MANY, calls, |_| (), |()| cluster.store_heartbeat(StoreId(SOURCE), stats, Duration::ZERO).is_some())
        }))
    });
}

fn without_network(suite: &mut Suite, catalog: &Shared<'_, Catalog>, count: u64) {
    let at = |what| What::new(Level::NoNetwork, what).at(count);
    suite.alone(at("unchanged RegionHeartbeat"), || {
        let catalog = catalog.get()?;
        let mut numbers = Numbers::default();
        Ok(Box::new(move |calls| {
            let (first, versions) = (numbers.take(calls), catalog.versions());
            let request = |number| unchanged(versions, first + number);
            timed(NEAR, calls, request, |request| is_accepted(catalog, request))
        }))
    });
    suite.alone(at("changed RegionHeartbeat, in memory"), || {
        let catalog = catalog.get()?;
        Ok(Box::new(move |calls| {
            let (first, versions) = (catalog.take_changes(calls), catalog.versions());
            let request = |number| changed(versions, first + number);
            timed(NEAR, calls, request, |request| is_accepted(catalog, request))
        }))
    });
    suite.alone(at("StoreHeartbeat with a hint"), || {
        let pd = catalog.get()?.pd();
        let is_right = |request: &mut _| at_once(pd.store_heartbeat(request)).is_some_and(|answer| is_hint(&answer));
        Ok(Box::new(move |calls| timed(NEAR, calls, |_| store_heartbeat(SOURCE), is_right)))
    });
}

fn is_accepted(catalog: &Catalog, request: &pd::RegionHeartbeatRequest) -> bool {
    at_once(catalog.pd().region_heartbeat(request)).is_some_and(|answer| answer.accepted)
}

fn batches(suite: &mut Suite, catalog: &Shared<'_, Catalog>, count: u64) {
    let at = |kind| {
        let what = format!("{kind} region of {BATCH} by RegionHeartbeats");
        What::new(Level::NoNetwork, what).items(BATCH).at(count)
    };
    let are_accepted = |catalog: &Catalog, request: &_| {
        at_once(catalog.pd().region_heartbeats(request))
            .is_some_and(|answer| answer.verdicts.iter().all(|verdict| verdict.code == 0))
    };
    suite.alone(at("unchanged"), || {
        let catalog = catalog.get()?;
        let mut numbers = Numbers::default();
        Ok(Box::new(move |calls| {
            let (first, versions) = (numbers.take(calls), catalog.versions());
            let request = |number| batch(|number| versions.scattered(number), first + number);
            timed(1, calls, request, |request| are_accepted(catalog, request))
        }))
    });
    suite.alone(at("changed"), || {
        let catalog = catalog.get()?;
        Ok(Box::new(move |calls| {
            let (first, versions) = (catalog.take_changes(calls * BATCH), catalog.versions());
            let request = |number| batch(|number| versions.change(first + number), number);
            timed(1, calls, request, |request| are_accepted(catalog, request))
        }))
    });
}

fn changes_on_disk(suite: &mut Suite, catalog: &Shared<'_, Catalog>, count: u64) {
    for together in [1, 64] {
        let what = format!("changed RegionHeartbeat, durable, {together} at once");
        suite.alone(What::new(Level::NoNetwork, what).at(count), || {
            let catalog = catalog.get()?;
            Ok(Box::new(move |calls| {
                let (first, versions) = (catalog.take_changes(calls), catalog.versions());
                let request = |number| changed(versions, first + number);
                let call = |request: &_| catalog.pd().region_heartbeat(request);
                timed_waiting(together, calls, request, call, |answer| answer.accepted)
            }))
        });
    }
}

/// RegionHeartbeats that are accepted, and their floor.
fn accepted<R>(in_flight: usize, request: R) -> Result<(Heartbeats<R>, BareHandler)> {
    let method = &pd_methods::REGION_HEARTBEAT;
    let is_right: fn(u64, &pd::RegionHeartbeatResponse) -> bool = |_, answer| answer.accepted;
    let canned = pd::RegionHeartbeatResponse { accepted: true, ..Default::default() };
    Ok((Calls { method, in_flight, request, is_right }, BareHandler::start(method, canned)?))
}

fn unchanged_over_grpc(suite: &mut Suite, catalog: &Shared<'_, Catalog>, count: u64) {
    for in_flight in IN_FLIGHT {
        let what = format!("unchanged RegionHeartbeat, {in_flight} in flight");
        suite.beside_floor(What::new(Level::OverGrpc, what).at(count), || {
            let catalog = catalog.get()?;
            let versions = catalog.versions();
            let (calls, bare) = accepted(in_flight, move |number| unchanged(versions, number))?;
            calls.beside(catalog.addr(), bare)
        });
    }
}

fn changed_over_grpc(suite: &mut Suite, catalog: &Shared<'_, Catalog>, count: u64, kind: &str) {
    for in_flight in IN_FLIGHT {
        let what = format!("changed RegionHeartbeat, {kind}, {in_flight} in flight");
        suite.beside_floor(What::new(Level::OverGrpc, what).at(count), || {
            let catalog = catalog.get()?;
            let versions = catalog.versions();
            let (calls, bare) = accepted(in_flight, move |number| changed(versions, number))?;
            calls.numbered(catalog.addr(), bare, |calls| catalog.take_changes(calls))
        });
    }
}

fn batches_over_grpc(suite: &mut Suite, catalog: &Shared<'_, Catalog>, count: u64) {
    let what = format!("unchanged region of {BATCH} by RegionHeartbeats, {BATCHES_IN_FLIGHT} in flight");
    suite.beside_floor(What::new(Level::OverGrpc, what).items(BATCH).at(count), || {
        let catalog = catalog.get()?;
        let versions = catalog.versions();
        let requests = encoded::all((0..BATCHES).map(|at| batch(|number| versions.scattered(number), at)));
        let regions = usize::try_from(BATCH).expect("a small number");
        let verdicts = vec![pdlite::RegionVerdict::new(); regions];
        let canned = pdlite::RegionHeartbeatsResponse { verdicts, ..Default::default() };
        let calls = Calls {
            method: &HEARTBEATS,
            in_flight: BATCHES_IN_FLIGHT,
            request: move |number| encoded::nth(requests, number),
            is_right: move |_, answer: &Vec<u8>| {
                answer.len() == regions * OK.len() && answer.chunks(OK.len()).all(|verdict| verdict == OK)
            },
        };
        calls.beside(catalog.addr(), BareHandler::start(&pdlite_methods::REGION_HEARTBEATS, canned)?)
    });
}

fn hints_over_grpc(suite: &mut Suite, catalog: &Shared<'_, Catalog>, count: u64) {
    for in_flight in IN_FLIGHT {
        let what = format!("StoreHeartbeat with a hint, {in_flight} in flight");
        suite.beside_floor(What::new(Level::OverGrpc, what).at(count), || {
            let hint = pd::SchedulerOperation {
                type_: pd::SchedulerOperationType::SCHEDULER_OPERATION_TYPE_LEADER_TRANSFER.into(),
                region_id: regions::id(0),
                source_peer_id: regions::id(0) + 1,
                target_peer_id: regions::id(0) + 2,
                ..Default::default()
            };
            let canned = pd::StoreHeartbeatResponse { accepted: true, operations: vec![hint], ..Default::default() };
            let calls = Calls {
                method: &pd_methods::STORE_HEARTBEAT,
                in_flight,
                request: |_| store_heartbeat(SOURCE),
                is_right: |_, answer: &pd::StoreHeartbeatResponse| is_hint(answer),
            };
            calls.beside(catalog.get()?.addr(), BareHandler::start(&pd_methods::STORE_HEARTBEAT, canned)?)
        });
    }
}

fn is_hint(answer: &pd::StoreHeartbeatResponse) -> bool {
    answer.accepted && answer.operations.len() == 1
}
