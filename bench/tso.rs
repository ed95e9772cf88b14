//! Allocation: the counters alone, and Tso over gRPC beside a bare handler that answers with the same message.

#[path = "support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use pd_lite::core::allocator::{Kind, Refill, Take, WINDOW};
use pd_lite::core::{Allocators, Limits};
use pd_lite::proto::{pd, pd_methods};

use support::in_process::{BareHandler, InProcess};
use support::over_grpc;

fn counters(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("allocators");
    group.bench_function("take, in memory", |bencher| {
        let mut allocators = Allocators::<()>::unbounded(Limits::default());
        bencher.iter(|| allocators.take(black_box(Kind::Timestamp), 1, || ()));
    });
    group.bench_function("take, durable, refills included", |bencher| {
        let mut allocators = Allocators::<()>::durable(Limits::default());
        let mut now = Duration::ZERO;
        bencher.iter(|| {
            let take = allocators.take(black_box(Kind::Timestamp), 1, || ());
            if let Ok(Take::Given { poke: true, .. } | Take::Parked { poke: true }) = take {
                now += WINDOW;
                if let Refill::Write(limits) = allocators.refill(now) {
                    black_box(allocators.raise(limits, now));
                }
            }
            take
        });
    });
    group.finish();
}

fn calls(criterion: &mut Criterion) {
    let mut answer = pd::TsoResponse::new();
    answer.timestamp = 1 << 20;
    answer.count = 1;
    let bare = BareHandler::start(&pd_methods::TSO, answer).expect("a bare server starts on a free port");
    let server = InProcess::in_memory(Vec::new()).expect("a server starts on a free port");
    let one = |_| {
        let mut request = pd::TsoRequest::new();
        request.count = 1;
        request
    };
    let servers = [("bare handler", bare.addr()), ("pd-lite", server.addr())];
    over_grpc::compare(criterion, "Tso over gRPC", servers, &pd_methods::TSO, one, |_, answer| answer.count == 1);
}

criterion_group! { name = benches; config = over_grpc::short_runs(); targets = counters, calls }
criterion_main!(benches);
