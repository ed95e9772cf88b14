//! Calls over gRPC as criterion measures them: one at a time, and with many in flight.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use grpcio::Method;

use super::load::{LoadClient, Until};

/// Measures short enough for `make bench`: a few seconds for each of its lines.
pub fn short_runs() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
}

/// Measures one kind of call at several servers, each a name and an address: the time a call takes with one and with 64 in
/// flight.
///
/// # Panics
///
/// When a call fails or is answered wrongly.
pub fn compare<Q, S>(
    criterion: &mut Criterion,
    group: &str,
    servers: [(&str, &str); 2],
    method: &'static Method<Q, S>,
    request: impl Fn(u64) -> Q + Copy + Send + Sync + 'static,
    is_right: impl Fn(u64, &S) -> bool + Copy + Send + Sync + 'static,
) where
    Q: Send + 'static,
    S: Send + Unpin + 'static,
{
    let mut group = criterion.benchmark_group(group);
    for in_flight in [1, 64] {
        for (name, addr) in servers {
            let client = LoadClient::connect(addr).expect("a bench can start a thread");
            group.bench_function(BenchmarkId::new(name, format!("{in_flight} in flight")), |bencher| {
                bencher.iter_custom(|calls| {
                    let load = client.run(method, in_flight, Until::Calls(calls), request, is_right);
                    load.expect("every call of a bench is answered rightly").elapsed
                });
            });
        }
    }
    group.finish();
}
