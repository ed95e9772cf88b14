//! Opens a store's workdir: everything is checked first, and written later.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::leads::{Leads, first_leader};
use crate::core::{Cluster, LeadRow, Limits, Overlap, Region, RegionId, StoreId};
use crate::storage::fs::OsFs;
use crate::storage::leads::{SaveError, StoreWorkdir};
use crate::storage::{Opened, StorageError};

/// A region as a configuration describes it.
#[derive(Clone, Debug)]
pub struct FirstRegion {
    pub region: Region,
    /// The store that leads it first; 0, or a store without a peer: that of its first peer.
    pub leader: StoreId,
}

/// A store's workdir that is locked, read and checked. Nothing but the lock has been written yet.
pub struct Setup {
    workdir: PathBuf,
    opened: Opened,
    leads: Leads,
    saved: Option<Vec<LeadRow>>,
    /// The regions to write, when the workdir has none.
    bootstrap: Option<Cluster>,
}

/// A store that is ready to run, all of it durable.
pub(super) struct Ready {
    pub(super) kept: Kept,
    pub(super) leads: Leads,
}

/// A store's workdir, and what its file holds beside the store's leads.
pub(super) struct Kept {
    workdir: StoreWorkdir,
    /// Regions that this store led at its last end, and that its workdir does not have any more. They stay in the file until
    /// the placement driver has forgotten them.
    pub(super) gone: Vec<LeadRow>,
}

/// Why a workdir cannot be a store's. `Display` is one line: what, where, why, what next.
#[derive(Debug)]
pub enum SetupError {
    Storage(StorageError),
    /// It is another store's.
    OtherStore {
        workdir: PathBuf,
        store: StoreId,
        wanted: StoreId,
    },
    /// It is a placement driver's: ids or timestamps were given out from it.
    GivesOut {
        workdir: PathBuf,
    },
    /// The configuration's regions cannot be those of one store.
    Regions {
        reason: String,
    },
}

impl From<StorageError> for SetupError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::OtherStore { workdir, store, wanted } => write!(
                f,
                "{} is the workdir of store {store}, not {wanted}; choose another --workdir, or --store-id {store}",
                workdir.display()
            ),
            Self::GivesOut { workdir } => write!(
                f,
                "{} is the workdir of a placement driver that has given out values, not a store's; choose another --workdir",
                workdir.display()
            ),
            Self::Regions { reason } => write!(f, "the configuration's regions cannot be taken over: {reason}"),
        }
    }
}

impl std::error::Error for SetupError {}

impl Setup {
    /// Locks and reads `workdir`, created when it is missing. When it holds no region it gets those of `first` that have a
    /// peer on `store`; otherwise `first` only says who leads a region that no lead was saved of.
    ///
    /// # Errors
    ///
    /// Any [`SetupError`].
    pub fn open(workdir: &Path, store: StoreId, first: Vec<FirstRegion>) -> Result<Self, SetupError> {
        let mut opened = Opened::open(Arc::new(OsFs), workdir)?;
        let saved = opened.saved_leads()?;
        if let Some(saved) = saved.as_ref().filter(|saved| saved.store != store) {
            return Err(SetupError::OtherStore { workdir: workdir.to_owned(), store: saved.store, wanted: store });
        }
        if opened.given_out() != Limits::default() {
            return Err(SetupError::GivesOut { workdir: workdir.to_owned() });
        }
        let mut regions: Vec<_> = opened.take_snapshot().regions.iter().cloned().map(Arc::new).collect();
        let leaders: HashMap<RegionId, StoreId> =
            first.iter().map(|FirstRegion { region, leader }| (region.id(), *leader)).collect();
        let mut bootstrap = None;
        if regions.is_empty() {
            let hosted = first.into_iter().map(|first| first.region).filter(|region| region.peer_on(store).is_some());
            regions = hosted.map(Arc::new).collect();
            bootstrap = catalog(&mut regions)?;
        } else {
            let elsewhere = regions.iter().filter(|region| region.peer_on(store).is_none()).count();
            if elsewhere > 0 {
                log::warn!("{elsewhere} region(s) in {} have no peer on store {store}: left alone", workdir.display());
            }
            Cluster::restore(regions.clone()).map_err(|overlap| opened.overlap(overlap))?;
        }
        let saved = saved.map(|saved| saved.rows);
        let leads = Leads::new(store, &regions, saved.as_deref().unwrap_or_default(), |region| {
            first_leader(region, leaders.get(&region.id()).copied())
        });
        Ok(Self { workdir: workdir.to_owned(), opened, leads, saved, bootstrap })
    }

    #[must_use]
    pub fn workdir(&self) -> &Path {
        &self.workdir
    }

    /// How many regions the store has, and how many of them it leads.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let stats = self.leads.stats();
        (stats.region_num, stats.leader_num)
    }

    /// Whether the regions are the configuration's, because the workdir had none.
    #[must_use]
    pub fn is_first_start(&self) -> bool {
        self.bootstrap.is_some()
    }

    /// Makes regions and leads durable.
    pub(super) fn commit(self) -> Result<Ready, StorageError> {
        if let Some(cluster) = self.bootstrap {
            self.opened.bootstrap(cluster)?;
        }
        let Self { leads, saved, .. } = self;
        let store = leads.store();
        let workdir = self.opened.into_store(store)?;
        let led = saved.iter().flatten().filter(|row| row.lead.leader == store);
        let gone: Vec<LeadRow> = led.filter(|row| leads.lead(row.region).is_none()).copied().collect();
        let kept = Kept { workdir, gone };
        if saved.is_none_or(|saved| !saved.iter().copied().eq(kept.with_gone(leads.rows()))) {
            kept.save(leads.rows()).map_err(StorageError::from)?;
        }
        Ok(Ready { kept, leads })
    }
}

impl Kept {
    /// Makes the rows durable.
    pub(super) fn save(&self, rows: impl Iterator<Item = LeadRow>) -> Result<(), SaveError> {
        self.workdir.save(self.with_gone(rows))
    }

    /// The rows of the file, by ascending region id.
    fn with_gone(&self, rows: impl Iterator<Item = LeadRow>) -> impl Iterator<Item = LeadRow> {
        let mut rows: Vec<LeadRow> = rows.chain(self.gone.iter().copied()).collect();
        rows.sort_unstable_by_key(|row| row.region);
        rows.into_iter()
    }
}

/// The catalog of a configuration's regions, which it sorts by id; `None`: there are none.
fn catalog(regions: &mut [Arc<Region>]) -> Result<Option<Cluster>, SetupError> {
    let refused = |reason: String| Err(SetupError::Regions { reason });
    regions.sort_by_key(|region| region.id());
    if let Some(pair) = regions.windows(2).find(|pair| pair[0].id() == pair[1].id()) {
        return refused(format!("region {} is there twice", pair[0].id()));
    }
    if let Some(region) = regions.iter().find(|region| !region.range().is_well_formed()) {
        return refused(format!("the start key of region {} is not below its end key", region.id()));
    }
    match Cluster::restore(regions.to_vec()) {
        Err(Overlap { region, with }) => refused(format!("regions {with} and {region} overlap")),
        Ok(cluster) => Ok(Some(cluster).filter(|cluster| !cluster.is_empty())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Epoch, Lead, Peer, PeerId};

    fn region(id: u64, start: &str, end: &str, stores: &[u64]) -> Region {
        let peers = stores.iter().map(|store| Peer { store_id: StoreId(*store), peer_id: PeerId(id * 10 + store) });
        Region::new(RegionId(id), start.as_bytes(), end.as_bytes(), Epoch { version: 1, conf_version: 1 }, peers)
    }

    fn first(regions: Vec<Region>, leader: u64) -> Vec<FirstRegion> {
        regions.into_iter().map(|region| FirstRegion { region, leader: StoreId(leader) }).collect()
    }

    fn open(workdir: &Path, store: u64, first: Vec<FirstRegion>) -> Result<Setup, String> {
        Setup::open(workdir, StoreId(store), first).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_workdir_gets_the_store_s_share_of_the_configuration_once() {
        let workdir = tempfile::tempdir().unwrap();
        let regions = || vec![region(7, "m", "", &[1, 2]), region(1, "", "m", &[1, 2]), region(9, "a", "b", &[2])];
        let setup = open(workdir.path(), 1, first(regions(), 2)).unwrap();
        assert_eq!((setup.counts(), setup.is_first_start()), ((2, 0), true));
        drop(setup);
        assert_eq!(std::fs::read_dir(workdir.path()).unwrap().count(), 1, "nothing but the lock is written by a look");

        open(workdir.path(), 1, first(regions(), 2)).unwrap().commit().unwrap();
        let again = open(workdir.path(), 1, first(vec![region(5, "", "", &[1])], 1)).unwrap();
        assert_eq!((again.counts(), again.is_first_start()), ((2, 0), false));
        let leads: Vec<_> = again.leads.rows().map(|row| (row.region.0, row.lead.term, row.lead.leader.0)).collect();
        assert_eq!(leads, [(1, 1, 2), (7, 1, 2)]);
    }

    #[test]
    fn a_region_that_went_while_the_store_was_down_is_remembered_if_it_was_led() {
        let workdir = tempfile::tempdir().unwrap();
        open(workdir.path(), 1, first(vec![region(1, "", "m", &[1])], 1)).unwrap().commit().unwrap();
        let row = |region, leader| {
            let lead = Lead { term: 3, leader: StoreId(leader) };
            LeadRow { region: RegionId(region), lead, offered_to: None }
        };
        let ready = open(workdir.path(), 1, vec![]).unwrap().commit().unwrap();
        ready.kept.workdir.save([row(1, 2), row(4, 1), row(5, 2)].into_iter()).unwrap();
        drop(ready);
        for _ in 0..2 {
            let Ready { kept, leads } = open(workdir.path(), 1, vec![]).unwrap().commit().unwrap();
            assert_eq!(kept.gone, [row(4, 1)]);
            assert_eq!(leads.rows().collect::<Vec<_>>(), [row(1, 2)]);
        }
    }

    #[test]
    fn what_is_no_workdir_of_this_store_is_refused() {
        let workdir = tempfile::tempdir().unwrap();
        open(workdir.path(), 1, vec![]).unwrap().commit().unwrap();
        let refused = |setup: Result<Setup, String>| setup.map(drop).unwrap_err();
        assert!(refused(open(workdir.path(), 2, vec![])).contains("is the workdir of store 1, not 2"));
        std::fs::write(workdir.path().join("PD_STATE.json"), r#"{"id_current":1,"ts_current":0}"#).unwrap();
        assert!(refused(open(workdir.path(), 1, vec![])).contains("is the workdir of a placement driver"));
        let workdir = tempfile::tempdir().unwrap();
        for (regions, reason) in [
            (vec![region(1, "", "m", &[1]), region(2, "l", "", &[1])], "regions 1 and 2 overlap"),
            (vec![region(1, "", "m", &[1]), region(1, "m", "", &[1])], "region 1 is there twice"),
            (vec![region(1, "m", "m", &[1])], "the start key of region 1 is not below its end key"),
        ] {
            let error = refused(open(workdir.path(), 1, first(regions, 0)));
            assert_eq!(error, format!("the configuration's regions cannot be taken over: {reason}"));
        }
    }
}
