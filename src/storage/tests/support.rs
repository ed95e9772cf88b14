//! A workdir that is opened and served as the server does it.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use crossbeam_channel::{Receiver, bounded};
use futures::channel::oneshot;

use super::super::fs::Fs;
use super::super::state::{Checkpoint, STATE_FILE};
use super::super::writer::Writer;
use super::super::{Edit, EditError, EditOutcome, Opened, State, StorageError};
use crate::core::{
    AllocError, Allocators, Cluster, Epoch, Kind, Limits, Peer, PeerId, Region, RegionId, StoreId, Take,
};

pub type Answer = Result<EditOutcome, EditError>;

/// The answer to come of a parked allocation.
pub type Parked = oneshot::Receiver<Result<u64, AllocError>>;

/// A workdir in use.
pub struct Running {
    pub state: Arc<State>,
    pub writer: Writer,
    pub fatal: Receiver<StorageError>,
}

/// Opens a workdir and starts its writer.
pub fn run(fs: impl Fs, dir: &Path) -> Result<Running, StorageError> {
    run_after(fs, dir, || {})
}

/// As [`run`], with something that happens between the two.
pub fn run_after(fs: impl Fs, dir: &Path, between: impl FnOnce()) -> Result<Running, StorageError> {
    let mut opened = Opened::open(Arc::new(fs), dir)?;
    between();
    let snapshot = opened.take_snapshot();
    let state = Arc::new(State {
        cluster: Mutex::new(Cluster::restore(snapshot.regions).unwrap()),
        allocators: Mutex::new(Allocators::durable(snapshot.issued)),
    });
    let (sender, fatal) = bounded(1);
    let writer = opened.start(state.clone(), sender)?;
    Ok(Running { state, writer, fatal })
}

impl Running {
    /// Queues an edit.
    pub fn submit(&self, edit: Edit) -> Result<oneshot::Receiver<Answer>, EditError> {
        let id = edit.region_id();
        self.state.cluster.lock().unwrap().begin_edit(id);
        let (reply, receiver) = oneshot::channel();
        let submitted = self.writer.submit(edit, reply);
        if submitted.is_err() {
            self.state.cluster.lock().unwrap().end_edit(id);
        }
        submitted.map(|()| receiver)
    }

    /// Queues an edit and waits for its answer.
    pub fn edit(&self, edit: Edit) -> Answer {
        wait(self.submit(edit)?)
    }

    /// Allocates, waiting for a refill when that is needed.
    pub fn take(&self, kind: Kind, count: u64) -> Result<u64, AllocError> {
        match self.ask(kind, count)? {
            Ok(first) => Ok(first),
            Err(parked) => wait(parked),
        }
    }

    /// Allocates, or parks the request.
    pub fn ask(&self, kind: Kind, count: u64) -> Result<Result<u64, Parked>, AllocError> {
        let (reply, receiver) = oneshot::channel();
        let taken = self.state.allocators.lock().unwrap().take(kind, count, || reply)?;
        let (Take::Given { poke, .. } | Take::Parked { poke }) = taken;
        if poke {
            self.writer.poke();
        }
        match taken {
            Take::Given { first, .. } => Ok(Ok(first)),
            Take::Parked { .. } => Ok(Err(receiver)),
        }
    }

    pub fn regions(&self) -> Vec<Arc<Region>> {
        let cluster = self.state.cluster.lock().unwrap();
        cluster.check_invariants();
        cluster.regions_from(RegionId(0)).cloned().map(Arc::new).collect()
    }
}

/// What a workdir holds, by opening it without serving.
pub fn read(fs: impl Fs, dir: &Path) -> Result<(Vec<Arc<Region>>, Limits), StorageError> {
    let snapshot = Opened::open(Arc::new(fs), dir)?.take_snapshot();
    Ok((snapshot.regions.iter().cloned().map(Arc::new).collect(), snapshot.issued))
}

/// The state file as it is.
pub fn checkpoint(dir: &Path) -> Checkpoint {
    Checkpoint::decode(&std::fs::read(dir.join(STATE_FILE)).unwrap()).unwrap()
}

/// The manifest that `CURRENT` names.
pub fn current(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("CURRENT")).unwrap()
}

/// The length of the current manifest.
pub fn manifest_len(dir: &Path) -> u64 {
    std::fs::metadata(dir.join(current(dir))).unwrap().len()
}

/// The manifests in a workdir, copies of damaged ones included.
pub fn manifests(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names = names.filter(|name| name.starts_with("MANIFEST")).collect::<Vec<_>>();
    names.sort();
    names
}

pub fn region(id: u64, start: &str, end: &str, version: u64) -> Arc<Region> {
    let peers = [1, 2, 3].map(|store| Peer { store_id: StoreId(store), peer_id: PeerId(id * 10 + store) });
    let epoch = Epoch { version, conf_version: 1 };
    Arc::new(Region::new(RegionId(id), start.as_bytes(), end.as_bytes(), epoch, peers))
}

/// What a kill at this moment would leave.
pub fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A region of its own range: one key, named by the id.
pub fn narrow(id: u64, version: u64) -> Edit {
    Edit::Put(region(id, &format!("{id:08}"), &format!("{id:08}~"), version))
}

pub fn delete(id: u64) -> Edit {
    Edit::Delete(RegionId(id))
}

/// What a catalog holds after edits that were all applied.
pub fn apply(regions: &mut BTreeMap<RegionId, Arc<Region>>, edit: &Edit) {
    match edit {
        Edit::Put(region) => regions.insert(region.id(), region.clone()),
        Edit::Delete(id) => regions.remove(id),
    };
}

/// Waits for an answer. A reply that is dropped without one fails the test.
pub fn wait<T>(mut receiver: oneshot::Receiver<T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match Future::poll(Pin::new(&mut receiver), &mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => return answer.expect("every request is answered"),
            Poll::Pending => std::thread::park(),
        }
    }
}
