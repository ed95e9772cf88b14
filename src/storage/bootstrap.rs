//! Gives a workdir without regions its first ones: all of them or none.

use std::sync::Arc;

use super::dir::Dir;
use super::start::{convert, create, keep_copy, remove_left_overs, supersede, sync_path};
use super::sync::Mutex;
use super::{Found, Opened, StorageError};
use crate::core::{Cluster, Limits};

impl Opened {
    /// Writes the regions of `cluster` into a workdir that holds none, durable when it returns: a new manifest, which counts
    /// once `CURRENT` names it. What an earlier start has left of one that did not come to count is removed.
    ///
    /// # Errors
    ///
    /// `Io` when the files cannot be written, `ChangedUnderUs` when a file is not as it was read.
    pub fn bootstrap(&self, cluster: Cluster) -> Result<(), StorageError> {
        let dir = Dir::new(Arc::clone(&self.fs), self.workdir.clone());
        // What was found may be a rename that is not durable yet.
        dir.sync()?;
        remove_left_overs(&dir, &self.found)?;
        let cluster = Mutex::new(cluster);
        match &self.found {
            Found::Nothing { checkpoint } => {
                sync_path(&dir)?;
                let (manifest, _) = create(&dir, *checkpoint)?;
                supersede(&dir, manifest.name(), manifest.end(), *checkpoint, &cluster)
            }
            Found::Ours { name, end, file_len, checkpoint, .. } => {
                keep_torn(&dir, name, *end, *file_len)?;
                supersede(&dir, name, *file_len, checkpoint.limits, &cluster)
            }
            Found::Rewrite { name, end, file_len, checkpoint } => {
                keep_torn(&dir, name, *end, *file_len)?;
                convert(&dir, name, *file_len, *checkpoint, &cluster).map(drop)
            }
        }
    }

    /// The highest values that the workdir's placement driver may have given out; a store's gives out none.
    #[must_use]
    pub fn given_out(&self) -> Limits {
        match &self.found {
            Found::Ours { checkpoint, .. } => checkpoint.limits,
            Found::Nothing { checkpoint } | Found::Rewrite { checkpoint, .. } => *checkpoint,
        }
    }
}

/// Keeps a manifest with a torn tail, which is about to be replaced.
fn keep_torn(dir: &Dir, name: &str, end: u64, file_len: u64) -> Result<(), StorageError> {
    if file_len > end { keep_copy(dir, name) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::core::Region;
    use crate::storage::fs::OsFs;
    use crate::storage::testing::region;

    fn open(workdir: &Path) -> (Opened, Vec<Arc<Region>>) {
        let mut opened = Opened::open(Arc::new(OsFs), workdir).unwrap();
        let regions = opened.take_snapshot().regions.iter().cloned().map(Arc::new).collect();
        (opened, regions)
    }

    #[test]
    fn the_regions_are_there_at_the_next_start() {
        let regions: Vec<_> = [region(1, "", "m"), region(7, "m", "")].into_iter().map(Arc::new).collect();
        for manifest in [None, Some("")] {
            let workdir = tempfile::tempdir().unwrap();
            if let Some(content) = manifest {
                std::fs::write(workdir.path().join("MANIFEST-000001"), content).unwrap();
                std::fs::write(workdir.path().join("CURRENT"), "MANIFEST-000001").unwrap();
            }
            let (opened, none) = open(workdir.path());
            assert_eq!(none, []);
            opened.bootstrap(Cluster::restore(regions.clone()).unwrap()).unwrap();
            drop(opened);
            let (opened, found) = open(workdir.path());
            assert_eq!(found, regions);
            assert_eq!(opened.given_out(), Limits::default());
        }
    }
}
