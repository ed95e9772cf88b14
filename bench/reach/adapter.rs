//! The store's side: how soon a PD that was away knows all that has changed, what the adapter keeps meanwhile, and what it
//! costs while nothing changes.

use std::thread;
use std::time::{Duration, Instant};

use pd_lite::adapter::{Adapter, AdapterOptions};
use pd_lite::client::Client;
use pd_lite::core::{Region, StoreId, StoreStats};

use crate::Setting;
use crate::support::Result;
use crate::support::figures::{Median, Target, float64, short};
use crate::support::process::{PdProcess, cpu_of_this_process, resident_bytes_of_this_process};
use crate::support::regions;
use crate::support::report::Report;

/// Regions that stay.
const STAY: u64 = 10_000;
/// Every tenth of them takes in its right neighbour.
const MERGED: u64 = 1_000;
const ROUND: Duration = Duration::from_secs(3);

/// As many as an interval of 95 % takes.
const OUTAGES: usize = 6;
const OUTAGE: Duration = Duration::from_secs(30);
/// In an outage each region changes so often: once a second.
const CHANGES: u32 = 30;

/// Only a PD that never learns takes this long.
const HANG: Duration = Duration::from_secs(60);

const IDLE_ROUNDS: usize = 20;

/// A store whose regions lie side by side. Behind each ten that stay is one that is merged into the last of them.
struct Store {
    adapter: Adapter,
    version: u64,
    merged: bool,
}

impl Store {
    /// The number, among the bench's regions, of the `stays`th of those that stay.
    fn number(stays: u64) -> u64 {
        stays + stays / 10
    }

    /// The `stays`th of those that stay, as it is now.
    fn region(&self, stays: u64) -> Region {
        let number = Self::number(stays);
        let region = regions::region(number, self.version);
        if stays % 10 < 9 || !self.merged {
            return region;
        }
        Region::new(region.id(), region.start_key(), &regions::key(number + 2), region.epoch(), region.peers())
    }

    /// The `group`th of those that are merged, while it is there.
    fn to_merge(group: u64) -> Region {
        regions::region(group * 11 + 10, regions::FIRST_VERSION)
    }

    fn report(&self) {
        self.report_these((0..STAY).map(|stays| self.region(stays)));
    }

    fn report_these(&self, regions: impl IntoIterator<Item = Region>) {
        regions.into_iter().for_each(|region| self.adapter.region_heartbeat(region));
        let stats = StoreStats { region_num: STAY, leader_num: STAY, ..StoreStats::default() };
        self.adapter.store_heartbeat(StoreId(1), stats);
    }

    /// Waits until the PD has acknowledged everything.
    fn settle(&self) -> Result<()> {
        let begun = Instant::now();
        while !(self.adapter.flush(HANG) && self.adapter.unacknowledged() == 0) {
            if begun.elapsed() > HANG {
                return Err(format!("{} regions are not acknowledged", self.adapter.unacknowledged()).into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Insists that the PD knows every region. Those that were merged have then no room left.
    ///
    /// # Errors
    ///
    /// The first region that the PD does not know as it is.
    fn check(&self, client: &Client) -> Result<()> {
        for stays in 0..STAY {
            let own = self.region(stays);
            let known = client.region_by_key(own.start_key())?;
            if known.as_ref() != Some(&own) {
                return Err(format!("the PD knows {known:?} in place of {own:?}").into());
            }
        }
        Ok(())
    }
}

/// Measures rounds without a change, then outages.
pub fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    // First, while no ending thread takes its CPU time out of the sum.
    idle(report)?;
    let mut outages = Vec::new();
    for turn in 0..OUTAGES {
        outages.push(outage(&setting.workdir(&format!("adapter-{turn}")))?);
    }
    let figure = |of: fn(&Outage) -> f64| Median::of(&outages.iter().map(of).collect::<Vec<_>>());
    let calls = float64(STAY * u64::from(CHANGES) + MERGED);
    report.add(
        "seconds until a PD that is back knows all",
        format!("{STAY} regions changed, {MERGED} removed"),
        format!("{} s away, {} calls of the store", OUTAGE.as_secs(), short(calls)),
        &figure(|outage| outage.heal.as_secs_f64()),
        Target::AtMost(2.0),
    );
    report.add(
        "bytes the store's process grows by a region, while away",
        format!("{} calls of the store", short(calls)),
        format!("a change is {} bytes of keys and peers", regions::region(0, 1).heap_len()),
        &figure(|outage| outage.growth / float64(STAY + MERGED)),
        Target::AtMost(1024.0),
    );
    Ok(())
}

struct Outage {
    heal: Duration,
    /// In bytes.
    growth: f64,
}

fn outage(workdir: &std::path::Path) -> Result<Outage> {
    let pd = PdProcess::durable(workdir)?;
    let addr = pd.addr().to_owned();
    let client = Client::connect(&addr)?;
    let adapter = Adapter::start(Some(client.clone()), AdapterOptions { round: ROUND, ..AdapterOptions::default() });
    let mut store = Store { adapter, version: regions::FIRST_VERSION, merged: false };
    store.report();
    (0..MERGED).for_each(|group| store.adapter.region_heartbeat(Store::to_merge(group)));
    store.settle()?;

    let before = resident_bytes_of_this_process()?;
    let begun = Instant::now();
    // Dropped, it is killed.
    drop(pd);
    let mut resident_max = before;
    for change in 1..=CHANGES {
        store.version += 1;
        if change == CHANGES / 2 {
            store.merged = true;
            (0..MERGED).for_each(|group| store.adapter.remove_region(Store::to_merge(group).id()));
        }
        store.report();
        resident_max = resident_max.max(resident_bytes_of_this_process()?);
        thread::sleep((OUTAGE * change / CHANGES).saturating_sub(begun.elapsed()));
    }
    let _pd = PdProcess::durable_on(&addr, workdir)?;
    let back = Instant::now();
    store.settle()?;
    let heal = back.elapsed();
    store.check(&client)?;
    Ok(Outage { heal, growth: float64(resident_max - before) })
}

/// Measures what the whole process costs from when a store reports unchanged regions, every round, and does nothing else.
fn idle(report: &mut Report) -> Result<()> {
    let pd = PdProcess::in_memory()?;
    let adapter =
        Adapter::start(Some(Client::connect(pd.addr())?), AdapterOptions { round: ROUND, ..AdapterOptions::default() });
    let store = Store { adapter, version: regions::FIRST_VERSION, merged: false };
    store.report();
    store.settle()?;
    let mut shares = Vec::new();
    let mut own_shares = Vec::new();
    for _ in 0..IDLE_ROUNDS {
        // What a store takes to describe its regions is its own.
        let regions: Vec<Region> = (0..STAY).map(|stays| store.region(stays)).collect();
        let begun = Instant::now();
        let before = cpu_of_this_process()?;
        store.report_these(regions);
        own_shares.push(100.0 * cpu_of_this_process()?.saturating_sub(before).as_secs_f64() / ROUND.as_secs_f64());
        thread::sleep(ROUND.saturating_sub(begun.elapsed()));
        shares
            .push(100.0 * cpu_of_this_process()?.saturating_sub(before).as_secs_f64() / begun.elapsed().as_secs_f64());
    }
    report.add(
        "idle adapter, % of a core",
        format!("{STAY} unchanged regions, a round every {} s", ROUND.as_secs()),
        format!("the store's own calls of it: {}", short(Median::of(&own_shares).value)),
        &Median::of(&shares),
        Target::AtMost(1.0),
    );
    pd.stop()
}
