//! Timestamps for many callers: threads that block and tasks on an executor share calls to the PD, so they are far more than
//! the round trips. `cargo run --release --example batched_timestamps`

use std::collections::BTreeSet;
use std::error::Error;
use std::thread;
use std::time::Instant;

use futures::executor::LocalPool;
use futures::future::try_join_all;
use futures::task::LocalSpawnExt;
use pd_lite::{Client, Server};

const THREADS: usize = 32;
const EACH: usize = 1_000;
const TASKS: usize = 10_000;

/// Each thread takes timestamps one after the other. Returns all of them.
fn from_threads(client: &Client) -> Result<Vec<u64>, pd_lite::Error> {
    let take = || -> Result<Vec<u64>, pd_lite::Error> {
        let timestamps: Vec<u64> = (0..EACH).map(|_| client.get_ts()).collect::<Result<_, _>>()?;
        assert!(timestamps.is_sorted(), "a caller's timestamps rise");
        Ok(timestamps)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(take)).collect();
        let taken = threads.into_iter().map(|thread| thread.join().expect("it asserts what holds"));
        Ok(taken.collect::<Result<Vec<_>, _>>()?.concat())
    })
}

/// Each task takes one. The futures run on any executor; this one has a single thread.
fn from_tasks(client: &Client) -> Result<Vec<u64>, Box<dyn Error>> {
    let mut pool = LocalPool::new();
    let spawner = pool.spawner();
    let tasks = (0..TASKS).map(|_| spawner.spawn_local_with_handle(client.get_ts_async()));
    let tasks = tasks.collect::<Result<Vec<_>, _>>()?;
    Ok(pool.run_until(try_join_all(tasks))?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::builder().start()?;
    let client = server.client();

    let begun = Instant::now();
    let mut all = from_threads(&client)?;
    println!("{THREADS} threads: {} timestamps in {:?}", all.len(), begun.elapsed());

    let begun = Instant::now();
    let timestamps = from_tasks(&client)?;
    println!("{TASKS} tasks: {} timestamps in {:?}", timestamps.len(), begun.elapsed());
    all.extend(timestamps);

    // Whoever needs many gets them in a row.
    let row = client.get_ts_batch(100)?;
    assert!(all.iter().all(|timestamp| timestamp < row.start()), "it was asked for last");
    println!("one caller: {} to {}", row.start(), row.end());
    all.extend(row);

    let distinct: BTreeSet<u64> = all.iter().copied().collect();
    assert_eq!(distinct.len(), all.len(), "nobody gets what another one got");
    assert_eq!(distinct.last().copied(), u64::try_from(all.len()).ok(), "and none was left out");
    println!("{} timestamps, all different", all.len());
    Ok(())
}
