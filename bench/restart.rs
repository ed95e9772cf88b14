//! Restarts: the records of a manifest, reading a workdir back in both forms, and a process from exec to its first answer.
//! The floor of what reads a workdir is reading and checksumming its manifest; all of it is in the page cache.

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pd_lite::core::{Cluster, Limits, Region};
use pd_lite::proto::pd_methods;
use pd_lite::storage::Opened;
use pd_lite::storage::decode::{self, Change};
use pd_lite::storage::fs::OsFs;
use pd_lite::storage::record::{self, HEADER_LEN, RegionState};

use support::Result;
use support::in_process::InProcess;
use support::load::LoadClient;
use support::over_grpc::Sides;
use support::process::PdProcess;
use support::regions::{self, FIRST_VERSION};
use support::rows::Level;
use support::suite::{Shared, Suite, What};
use support::timed::{read_and_checksum, timed};

/// Region records of a batch.
const BATCH: u64 = 1000;

fn main() -> ExitCode {
    Suite::run("restart", |suite| {
        codec(suite);
        for &count in suite.sizes() {
            let dir = suite.workdir(&count.to_string());
            let workdirs = Shared::new(|| Workdirs::write(&dir, count));
            read_back(suite, &workdirs, count);
            start(suite, &workdirs, count);
            if workdirs.into_made().is_some() {
                fs::remove_dir_all(dir)?;
            }
        }
        Ok(())
    })
}

fn batch() -> Vec<Region> {
    (0..BATCH).map(|i| regions::region(i, FIRST_VERSION)).collect()
}

fn codec(suite: &mut Suite) {
    let encoded = "a record of a batch of 1,000, encoded";
    suite.alone(What::new(Level::InProcess, encoded).items(BATCH), || {
        let batch = batch();
        Ok(Box::new(move |calls| {
            timed(
                1,
                calls,
                |_| (),
                |()| {
                    let mut records = Vec::new();
                    for region in &batch {
                        record::push_put(&mut records, region, RegionState::Plain, true);
                    }
                    record::push_commit(&mut records, 0, 1, Limits::default(), 7);
                    !records.is_empty()
                },
            )
        }))
    });
    suite.alone(What::new(Level::InProcess, "a record, decoded").items(BATCH), || {
        let batch = batch();
        let encode = |region| {
            let mut record = Vec::new();
            record::push_put(&mut record, region, RegionState::Plain, true);
            record
        };
        let records: Vec<Vec<u8>> = batch.iter().map(encode).collect();
        Ok(Box::new(move |calls| {
            timed(
                1,
                calls,
                |_| (),
                |()| {
                    records.iter().zip(&batch).all(|(record, region)| {
                    matches!(decode::region(&record[HEADER_LEN..]), Ok((Change::Put(read), _)) if read == *region)
                })
                },
            )
        }))
    });
}

/// A catalog in the reference's form and in ours.
struct Workdirs {
    reference: PathBuf,
    ours: PathBuf,
    count: u64,
}

impl Workdirs {
    fn write(dir: &Path, count: u64) -> Result<Self> {
        let [reference, ours] = ["reference", "ours"].map(|form| dir.join(form));
        for workdir in [&reference, &ours] {
            regions::write_workdir(workdir, count)?;
        }
        // The first start rewrites it.
        InProcess::durable(Arc::new(OsFs), &ours)?.stop()?;
        Ok(Self { reference, ours, count })
    }

    /// Reads one of them as a start does.
    fn open(&self, workdir: &Path) -> Result<Duration> {
        let started = Instant::now();
        let mut opened = Opened::open(Arc::new(OsFs), workdir).map_err(|error| error.to_string())?;
        let cluster = Cluster::restore(opened.take_snapshot().regions)
            .map_err(|overlap| format!("the regions of a bench overlap: {overlap:?}"))?;
        let took = started.elapsed();
        let last = self.count - 1;
        match cluster.region_by_key(&regions::key(last)) {
            Some(region) if region.id().0 == regions::id(last) => Ok(took),
            _ => Err(format!("a start on {} lost its regions", workdir.display()).into()),
        }
    }

    /// Starts a process on ours, and asks it for the last region.
    fn start(&self) -> Result<Duration> {
        let process = PdProcess::durable(&self.ours)?;
        let client = LoadClient::connect(process.addr())?;
        let last = self.count - 1;
        let answer = client.call(&pd_methods::GET_REGION_BY_KEY, &regions::lookup(last))?;
        let took = process.started().elapsed();
        if answer.region.id != regions::id(last) {
            return Err(format!("a start on {} lost its regions", self.ours.display()).into());
        }
        process.stop()?;
        Ok(took)
    }
}

/// A run that is one call a time, beside reading the manifest of `workdir`.
fn beside_reading<'a>(workdir: &Path, run: impl Fn() -> Result<Duration> + 'a) -> Result<Sides<'a>> {
    let manifest = workdir.join(fs::read_to_string(workdir.join("CURRENT"))?);
    let floor = move || read_and_checksum(&manifest);
    Ok((Box::new(move |calls| repeat(calls, &run)), Box::new(move |calls| repeat(calls, &floor))))
}

fn repeat(calls: u64, run: impl Fn() -> Result<Duration>) -> Result<Duration> {
    (0..calls).map(|_| run()).sum()
}

fn read_back(suite: &mut Suite, workdirs: &Shared<'_, Workdirs>, count: u64) {
    suite.beside_floor(What::new(Level::NoNetwork, "open, the reference's form").at(count).long(), || {
        let workdirs = workdirs.get()?;
        beside_reading(&workdirs.reference, || workdirs.open(&workdirs.reference))
    });
    suite.beside_floor(What::new(Level::NoNetwork, "open, our form").at(count).long(), || {
        let workdirs = workdirs.get()?;
        beside_reading(&workdirs.ours, || workdirs.open(&workdirs.ours))
    });
}

fn start(suite: &mut Suite, workdirs: &Shared<'_, Workdirs>, count: u64) {
    suite.beside_floor(What::new(Level::Process, "exec to the first answer, our form").at(count).long(), || {
        let workdirs = workdirs.get()?;
        beside_reading(&workdirs.ours, || workdirs.start())
    });
}
