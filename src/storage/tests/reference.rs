//! The reference's placement driver as far as its workdir goes, by its rules: what it reads, what it appends, what it makes
//! of our records, and when it refuses to start. It takes no lock and syncs nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::decode::{self, Change};
use super::super::record::{self, HEADER_LEN, MAGIC, RegionState, TYPE_REGION};
use super::super::state::{Checkpoint, STATE_FILE};
use crate::core::{Cluster, Kind, Limits, Region, RegionId};

/// A process of the reference.
pub struct Reference {
    dir: PathBuf,
    manifest: PathBuf,
    cluster: Cluster,
    given: Limits,
    /// Whether it has appended anything.
    pub has_appended: bool,
}

impl Reference {
    /// Starts it on a workdir.
    ///
    /// # Errors
    ///
    /// Why it refuses.
    pub fn start(dir: &Path) -> Result<Self, String> {
        let current = fs::read_to_string(dir.join("CURRENT")).unwrap_or_else(|_| {
            fs::write(dir.join("MANIFEST-000001"), "").unwrap();
            fs::write(dir.join("CURRENT"), "MANIFEST-000001").unwrap();
            "MANIFEST-000001".to_owned()
        });
        let manifest = dir.join(current);
        let content = fs::read(&manifest).map_err(|error| error.to_string())?;
        let regions = replay(&content)?;
        let cluster =
            Cluster::restore(regions.into_values().collect::<Vec<_>>()).map_err(|overlap| format!("{overlap:?}"))?;
        let given = match fs::read(dir.join(STATE_FILE)) {
            Ok(bytes) => Checkpoint::decode(&bytes)?.limits,
            Err(_) => Limits::default(),
        };
        Ok(Self { dir: dir.to_owned(), manifest, cluster, given, has_appended: false })
    }

    pub fn regions(&self) -> BTreeMap<RegionId, Arc<Region>> {
        self.cluster.regions_from(RegionId(0)).map(|region| (region.id(), Arc::new(region.clone()))).collect()
    }

    /// Stores a region and appends it, of which `written` bytes get into the file (all, unless it is killed there). Returns
    /// whether it was accepted.
    pub fn put(&mut self, region: &Arc<Region>, written: usize) -> bool {
        if self.cluster.judge(region).is_err() {
            return false;
        }
        self.cluster.put(Region::clone(region));
        let mut bytes = Vec::new();
        record::push_put(&mut bytes, region, RegionState::Plain, false);
        self.append(&bytes[..written.min(bytes.len())]);
        true
    }

    pub fn remove(&mut self, id: RegionId) -> bool {
        let existed = self.cluster.remove(id);
        if existed {
            let mut bytes = Vec::new();
            record::push_delete(&mut bytes, id, false);
            self.append(&bytes);
        }
        existed
    }

    fn append(&mut self, bytes: &[u8]) {
        self.has_appended = true;
        File::options().append(true).open(&self.manifest).unwrap().write_all(bytes).unwrap();
    }

    /// Gives out `count` values, the checkpoint first. Returns the first.
    pub fn take(&mut self, kind: Kind, count: u64) -> u64 {
        let last = match kind {
            Kind::Id => &mut self.given.ids,
            Kind::Timestamp => &mut self.given.timestamps,
        };
        let first = *last + 1;
        *last += count;
        let temporary = self.dir.join("PD_STATE.json.tmp");
        fs::write(&temporary, Checkpoint { limits: self.given, synced: None }.encode()).unwrap();
        fs::rename(temporary, self.dir.join(STATE_FILE)).unwrap();
        first
    }
}

/// The last record of each id.
fn replay(mut rest: &[u8]) -> Result<BTreeMap<RegionId, Arc<Region>>, String> {
    let mut regions = BTreeMap::new();
    while !rest.is_empty() {
        let len = rest.first_chunk().ok_or("unexpected EOF in a length")?;
        let len = usize::try_from(u32::from_le_bytes(*len)).unwrap();
        rest = &rest[4..];
        // It stops without an error where a length is all there is.
        if rest.is_empty() {
            break;
        }
        let (payload, behind) = rest.split_at_checked(len).ok_or("unexpected EOF in a payload")?;
        if len < 5 || payload[..4] != MAGIC {
            return Err("bad magic".into());
        }
        if payload[4] == TYPE_REGION {
            match decode::region(&payload[HEADER_LEN - 4..]).map_err(str::to_owned)?.0 {
                Change::Put(region) => {
                    regions.insert(region.id(), Arc::new(region));
                }
                Change::Delete(id) => {
                    regions.remove(&id);
                }
                Change::Skip(id, oddity) => return Err(format!("it would serve a region {id} that is {oddity:?}")),
            }
        }
        rest = behind;
    }
    Ok(regions)
}

#[test]
fn it_starts_and_reads_as_in_the_recordings() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/workdirs");
    let (mut started, mut refused) = (0, 0);
    for fixture in fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().path()) {
        let expect: serde_json::Value =
            serde_json::from_slice(&fs::read(fixture.join("expect.json")).unwrap()).unwrap();
        let (good, recorded) = (&expect["good"], &expect["reference"]);
        let dir = tempfile::tempdir().unwrap();
        super::support::copy(&fixture, dir.path());
        let reference = Reference::start(dir.path());
        if recorded["starts"] == false {
            assert!(reference.is_err(), "{}", fixture.display());
            refused += 1;
        } else if recorded["regions"] == "as in good" && good["starts"] == true {
            let mut reference = reference.unwrap();
            let regions = reference.regions().values().map(|region| super::super::testing::in_json(region)).collect();
            assert_eq!(serde_json::Value::Array(regions), good["regions"], "{}", fixture.display());
            assert_eq!(Some(reference.take(Kind::Id, 1)), recorded["first_id"].as_u64(), "{}", fixture.display());
            started += 1;
        }
    }
    assert!(started >= 5 && refused >= 3, "{started} started, {refused} refused");
}
