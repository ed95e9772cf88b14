//! Routing: the catalog alone at several sizes, and lookups and unchanged heartbeats over gRPC beside a bare handler that
//! answers with the same message.

#[path = "support/mod.rs"]
mod support;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pd_lite::core::{Cluster, Region};
use pd_lite::proto::{pd, pd_methods};

use support::in_process::{BareHandler, InProcess};
use support::over_grpc;
use support::regions::{self, FIRST_VERSION};

/// Regions behind the calls over gRPC.
const SERVED: u64 = 100_000;

fn catalog_of(count: u64) -> Vec<Arc<Region>> {
    (0..count).map(|i| Arc::new(regions::region(i, FIRST_VERSION))).collect()
}

fn catalog(criterion: &mut Criterion) {
    for count in [1000, 100_000, 1_000_000] {
        let mut cluster = Cluster::restore(catalog_of(count)).expect("regions of a bench only touch");
        let mut group = criterion.benchmark_group("catalog");
        let mut number = 0;
        let mut next = move || {
            number += 1;
            regions::scattered(number, count)
        };
        group.bench_function(BenchmarkId::new("region_by_key", count), |bencher| {
            bencher.iter_batched_ref(
                || regions::key(next()),
                |key| black_box(cluster.region_by_key(key)).is_some(),
                criterion::BatchSize::SmallInput,
            );
        });
        group.bench_function(BenchmarkId::new("judge unchanged", count), |bencher| {
            bencher.iter_batched_ref(
                || regions::region(next(), FIRST_VERSION),
                |region| cluster.judge(region),
                criterion::BatchSize::SmallInput,
            );
        });
        let mut version = FIRST_VERSION;
        group.bench_function(BenchmarkId::new("judge and put a new epoch", count), |bencher| {
            bencher.iter_batched(
                || {
                    version += 1;
                    regions::region(next(), version)
                },
                |region| {
                    let verdict = cluster.judge(&region);
                    cluster.put(region);
                    verdict
                },
                criterion::BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

fn lookups(criterion: &mut Criterion) {
    let server = InProcess::in_memory(catalog_of(SERVED)).expect("a server starts on a free port");
    let mut found = pd::GetRegionByKeyResponse::new();
    found.region = Some(regions::message(SERVED / 2, FIRST_VERSION)).into();
    let bare = BareHandler::start(&pd_methods::GET_REGION_BY_KEY, found).expect("a bare server starts on a free port");
    over_grpc::compare(
        criterion,
        "GetRegionByKey over gRPC",
        [("bare handler", bare.addr()), ("pd-lite", server.addr())],
        &pd_methods::GET_REGION_BY_KEY,
        |number| regions::lookup(regions::scattered(number, SERVED)),
        |_, answer| !answer.not_found,
    );
}

fn unchanged_heartbeats(criterion: &mut Criterion) {
    let server = InProcess::in_memory(catalog_of(SERVED)).expect("a server starts on a free port");
    let mut accepted = pd::RegionHeartbeatResponse::new();
    accepted.accepted = true;
    let bare =
        BareHandler::start(&pd_methods::REGION_HEARTBEAT, accepted).expect("a bare server starts on a free port");
    over_grpc::compare(
        criterion,
        "unchanged RegionHeartbeat over gRPC",
        [("bare handler", bare.addr()), ("pd-lite", server.addr())],
        &pd_methods::REGION_HEARTBEAT,
        |number| regions::heartbeat(regions::scattered(number, SERVED), FIRST_VERSION),
        |_, answer| answer.accepted,
    );
}

criterion_group! {
    name = benches;
    config = over_grpc::short_runs();
    targets = catalog, lookups, unchanged_heartbeats
}
criterion_main!(benches);
