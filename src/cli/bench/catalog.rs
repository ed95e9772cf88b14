//! The regions that a load looks up and reports: its own, which it sets up first and removes at its end, or those that the
//! server has.
//!
//! Own regions get in nobody's way unless somebody's region covers their keys, which the server then refuses: their keys begin
//! with `pd-lite-bench/` and a number drawn for the run, and their ids with that number too, far above what any server
//! counts up to. Their stores do not exist, so no hint is ever about them.

use std::ops::Range;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::cli::{Exit, Failure, keys};
use crate::client::{Client, Error, Refusal};
use crate::core::{Epoch, Peer, PeerId, Region, RegionId, StoreId};

/// Regions set up or removed between two looks at the signals.
const CHUNK: u64 = 1024;
/// How often it is told how far that is.
const TELL_AFTER: Duration = Duration::from_secs(1);
/// The most regions of the server that are used.
const FOUND_MAX: usize = 1 << 20;
/// The ids of own regions and stores have this bit.
const FAR: u64 = 1 << 63;
/// Room for the regions of a run, in bits.
const REGION_BITS: u32 = 24;
const REPLICAS: u64 = 3;

/// What is looked up and reported.
pub enum Catalog {
    /// Nothing: the load takes timestamps alone.
    None,
    Own(OwnCatalog),
    /// The server's: ids and start keys.
    Found(Vec<(RegionId, Vec<u8>)>),
}

/// Regions side by side, with nothing between them.
pub struct OwnCatalog {
    /// Drawn for the run.
    run: u64,
    /// What all keys begin with.
    prefix: String,
    count: u64,
}

/// A key to look up.
pub struct Target {
    pub key: Vec<u8>,
    /// The region that must hold it, where that is certain.
    id: Option<RegionId>,
}

impl Target {
    /// Why `found` is no right answer, if it is none.
    pub fn what_is_wrong(&self, found: Option<&Region>) -> Option<String> {
        let key = || keys::text(&self.key, false);
        let Some(region) = found else {
            return Some(format!("no region was found for the key {}, which one holds", key()));
        };
        if !region.range().contains(&self.key) {
            return Some(format!("region {} was found for the key {}, which it does not hold", region.id(), key()));
        }
        match self.id {
            Some(id) if id != region.id() => {
                Some(format!("region {} was found for the key {}, which region {id} holds", region.id(), key()))
            }
            _ => None,
        }
    }
}

impl Catalog {
    /// Sets up `count` regions of its own; with 0 it takes those that the server has.
    ///
    /// # Errors
    ///
    /// Exit code 1: the server refuses one, or has none; 6: it does not answer.
    pub fn set_up(client: &Client, count: u64, stop: &Receiver<&'static str>) -> Result<Self, Failure> {
        if count == 0 {
            return Self::find(client);
        }
        let own = OwnCatalog::new(fastrand::u64(..), count);
        match own.report_all(client, stop) {
            Ok(()) => Ok(Self::Own(own)),
            Err((reached, failure)) => {
                // What was set up goes again; the failure says why there is no more.
                let _ = own.remove_first(client, reached);
                Err(failure)
            }
        }
    }

    fn find(client: &Client) -> Result<Self, Failure> {
        let regions = client.scan_regions(b"", b"", FOUND_MAX)?;
        if regions.is_empty() {
            return Err(Failure::new(Exit::Runtime, "the PD has no regions to look up; --regions 1000 sets some up"));
        }
        Ok(Self::Found(regions.iter().map(|region| (region.id(), region.start_key().to_vec())).collect()))
    }

    /// How many regions there are.
    pub fn len(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Own(own) => own.count,
            Self::Found(regions) => u64::try_from(regions.len()).unwrap_or(u64::MAX),
        }
    }

    /// Region `number` of a catalog of its own, which was changed so often.
    ///
    /// # Panics
    ///
    /// Other catalogs are not reported.
    pub fn region(&self, number: u64, changed: u32) -> Region {
        match self {
            Self::Own(own) => own.region(number, changed),
            Self::None | Self::Found(_) => unreachable!("a load that reports has regions of its own"),
        }
    }

    /// A key in a region that is drawn.
    ///
    /// # Panics
    ///
    /// An empty catalog has none.
    pub fn target(&self, random: &mut fastrand::Rng) -> Target {
        match self {
            Self::Own(own) => {
                let number = random.u64(..own.count);
                let mut key = own.key(number);
                key.extend_from_slice(&random.u32(..).to_be_bytes());
                Target { key, id: Some(own.id(number)) }
            }
            Self::Found(regions) => {
                let (_, start) = &regions[random.usize(..regions.len())];
                Target { key: start.clone(), id: None }
            }
            Self::None => unreachable!("a load that looks keys up has regions"),
        }
    }
}

impl OwnCatalog {
    fn new(run: u64, count: u64) -> Self {
        Self { run, prefix: format!("pd-lite-bench/{run:016x}/"), count }
    }

    /// What all keys begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    fn key(&self, number: u64) -> Vec<u8> {
        format!("{}{number:08x}", self.prefix).into_bytes()
    }

    fn id(&self, number: u64) -> RegionId {
        RegionId(FAR | (self.run << REGION_BITS & !FAR) | number)
    }

    fn region(&self, number: u64, changed: u32) -> Region {
        let id = self.id(number);
        let peer = |replica| Peer { store_id: StoreId(FAR | replica), peer_id: PeerId(FAR | id.0 << 2 | replica) };
        let epoch = Epoch { version: 1, conf_version: 1 + u64::from(changed) };
        Region::new(id, &self.key(number), &self.key(number + 1), epoch, (1..=REPLICAS).map(peer))
    }

    /// # Errors
    ///
    /// Why not all were set up; no more than the first so many were.
    fn report_all(&self, client: &Client, stop: &Receiver<&'static str>) -> Result<(), (u64, Failure)> {
        let mut told = Instant::now();
        for chunk in chunks(self.count) {
            if !stop.is_empty() {
                let stopped = Failure::new(Exit::Runtime, "stopped before the regions were set up");
                return Err((chunk.start, stopped));
            }
            tell(&mut told, "set up", chunk.start, self.count);
            let regions: Vec<Region> = chunk.clone().map(|number| self.region(number, 0)).collect();
            for verdict in client.region_heartbeats(&regions) {
                verdict.map_err(|error| (chunk.end, refused(error)))?;
            }
        }
        Ok(())
    }

    /// Makes the server forget all regions.
    ///
    /// # Errors
    ///
    /// The first removal that failed; what is behind it is left.
    pub fn remove_all(&self, client: &Client) -> Result<(), Error> {
        self.remove_first(client, self.count)
    }

    fn remove_first(&self, client: &Client, count: u64) -> Result<(), Error> {
        let mut told = Instant::now();
        for chunk in chunks(count) {
            tell(&mut told, "removed", chunk.start, count);
            let ids: Vec<RegionId> = chunk.map(|number| self.id(number)).collect();
            for removed in client.remove_regions(&ids) {
                removed?;
            }
        }
        Ok(())
    }
}

/// A region of its own as long as they get in a message.
pub fn longest_region() -> Region {
    OwnCatalog::new(u64::MAX, 1).region(0, u32::MAX)
}

/// The numbers below `count`, some at a time.
fn chunks(count: u64) -> impl Iterator<Item = Range<u64>> {
    (0..count.div_ceil(CHUNK)).map(move |chunk| chunk * CHUNK..count.min((chunk + 1) * CHUNK))
}

/// Says how far it is, once a while.
fn tell(told: &mut Instant, what: &str, so_far: u64, of: u64) {
    if told.elapsed() >= TELL_AFTER {
        super::tell(&format!("{so_far} of {of} regions {what}"));
        *told = Instant::now();
    }
}

/// A refused set-up, with what to do where a region of the server is in the way.
fn refused(error: Error) -> Failure {
    match &error {
        Error::Refused { refusal: Refusal::FailedPrecondition, message } => Failure::new(
            Exit::Runtime,
            format!(
                "a region of the PD is in the way of those to be set up ({message}); take a PD without regions, or look \
                 up the PD's own by bench route --regions 0"
            ),
        ),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_regions_are_neighbours_with_ids_of_their_own() {
        for run in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            let own = OwnCatalog::new(run, 1 << REGION_BITS);
            for number in [0, 1, 9, 255, 65_535, own.count - 2] {
                let [region, next] = [number, number + 1].map(|number| own.region(number, 0));
                assert_eq!(region.end_key(), next.start_key());
                assert!(region.range().is_well_formed());
                assert!(region.id().0 >= FAR && region.id() < next.id());
            }
            assert!(own.region(own.count - 1, 0).range().is_well_formed());
        }
    }

    #[test]
    fn a_change_makes_the_region_newer() {
        let own = OwnCatalog::new(7, 10);
        assert!(own.region(3, 1).epoch() > own.region(3, 0).epoch());
        assert_eq!(own.region(3, 1).range(), own.region(3, 0).range());
    }

    #[test]
    fn a_key_is_looked_up_in_its_region_and_every_other_answer_is_wrong() {
        let catalog = Catalog::Own(OwnCatalog::new(7, 10));
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..100 {
            let target = catalog.target(&mut random);
            let regions: Vec<Region> = (0..10).map(|number| catalog.region(number, 0)).collect();
            let right = regions.iter().filter(|region| target.what_is_wrong(Some(region)).is_none()).count();
            assert_eq!(right, 1);
            assert!(target.what_is_wrong(None).unwrap().contains("no region was found"));
            let all = Region::new(RegionId(1), b"", b"", Epoch::default(), []);
            assert!(target.what_is_wrong(Some(&all)).unwrap().contains("which region"), "its id is another one");
        }
    }

    #[test]
    fn of_the_servers_regions_any_that_holds_the_key_is_right() {
        let region = |id, start: &[u8], end: &[u8]| Region::new(RegionId(id), start, end, Epoch::default(), []);
        let catalog = Catalog::Found(vec![(RegionId(1), b"b".to_vec())]);
        let target = catalog.target(&mut fastrand::Rng::with_seed(1));
        assert_eq!(target.what_is_wrong(Some(&region(1, b"b", b"c"))), None);
        assert_eq!(target.what_is_wrong(Some(&region(2, b"", b""))), None, "merged meanwhile");
        assert!(target.what_is_wrong(Some(&region(1, b"c", b""))).is_some());
    }
}
