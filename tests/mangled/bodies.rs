//! What must hold for any bytes: one function for each reader of bytes that come from outside. A fuzz target and a seeded
//! test share each of them.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use pd_lite::config::{RaftConfig, Scope};
use pd_lite::core::{Allocators, Cluster, Limits, Region};
use pd_lite::proto::pd as pb;
use pd_lite::service::{Answer, Pd, Reply, RequestLimits};
use pd_lite::storage::State;
use pd_lite::storage::decode::{self, Change};
use pd_lite::storage::fs::{File, Identity};
use pd_lite::storage::record::{self, HEADER_LEN, RegionState};
use pd_lite::storage::replay::{Form, Replayed, replay as replay_file};
use pd_lite::storage::state::Checkpoint;
use protobuf::Message;

/// The body of a record: a region that is read is read again from what we write of it.
pub fn record(bytes: &[u8]) {
    let _ = (decode::opening(bytes), decode::commit(bytes), decode::commit_fields(bytes));
    let _ = (decode::is_opening_like(bytes), decode::is_commit_like(bytes), decode::is_piece_of_an_opening(bytes));
    let Ok((change, _)) = decode::region(bytes) else { return };
    let mut written = Vec::new();
    match &change {
        Change::Put(region) => record::push_put(&mut written, region, RegionState::Plain, false),
        Change::Delete(id) => record::push_delete(&mut written, *id, false),
        Change::Skip(..) => return,
    }
    assert_eq!(decode::region(&written[HEADER_LEN..]).map(|(again, _)| again), Ok(change));
}

/// A manifest, behind one byte and four more that say how much of it is known as synced, if anything is. What is taken in
/// is read again from as much of the file as was taken in, and nothing longer than the file is ever read at once.
pub fn replay(bytes: &[u8]) {
    let Some((head, content)) = bytes.split_first_chunk::<5>() else { return };
    let synced = u64::from(u32::from_le_bytes([head[1], head[2], head[3], head[4]]));
    let synced = (head[0].is_multiple_of(4)).then_some(synced);
    let Some(replayed) = replay_bytes(content, synced) else { return };
    let Replayed { form, regions, issued, end, file_len, appended_by_reference, .. } = replayed;
    assert_eq!(file_len, len(content));
    assert!(end <= file_len && (matches!(form, Form::Reference) || synced.is_none_or(|synced| synced <= end)));
    regions.check_invariants();
    assert!(regions.iter().all(|region| region.id().0 > 0 && region.range().is_well_formed()));

    let whole = &content[..usize::try_from(end).expect("less than the content")];
    // Of an opening record that is torn nothing is left.
    let again = replay_bytes(whole, synced.filter(|_| end > 0)).expect("what was taken in is whole");
    assert_eq!((again.form, again.regions, again.issued), (form, regions, issued));
    assert_eq!((again.end, again.file_len, again.appended_by_reference), (end, end, appended_by_reference));
}

fn replay_bytes(content: &[u8], synced: Option<u64>) -> Option<Replayed> {
    replay_file(&Memory(content.to_vec()), Path::new("wd/MANIFEST-000001"), synced).ok()
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a slice is shorter than 2^64 bytes")
}

/// A file that is only read, never beyond a chunk or what it has.
struct Memory(Vec<u8>);

impl File for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(len(&self.0))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        assert!(buffer.len() <= self.0.len().max(1 << 20), "a buffer of {} bytes", buffer.len());
        let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        unreachable!("a replay writes nothing")
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        unreachable!("a replay writes nothing")
    }

    fn sync(&self) -> io::Result<()> {
        unreachable!("a replay writes nothing")
    }

    fn identity(&self) -> io::Result<Identity> {
        Ok(Identity { device: 0, inode: 0 })
    }
}

/// A checkpoint: one that is read is read again from what we write of it.
pub fn state(bytes: &[u8]) {
    if let Ok(checkpoint) = Checkpoint::decode(bytes) {
        assert_eq!(Checkpoint::decode(checkpoint.encode().as_bytes()), Ok(checkpoint));
    }
}

/// A configuration: what is valid can be resolved.
pub fn config(bytes: &[u8]) {
    let Ok(config) = RaftConfig::parse(bytes) else { return };
    if config.validate().is_ok() {
        for scope in [Scope::Host, Scope::Docker] {
            let _ = config.pd.as_ref().map(|pd| (pd.addr(scope).len(), pd.work_dir(scope).len()));
            for store in config.stores.iter().flatten() {
                let _ = config.store_work_dir(store, scope);
            }
        }
    }
}

/// Requests, each behind a byte that names its kind and one with its length: the catalog keeps its invariants, and no value
/// is given twice.
pub fn requests(mut bytes: &[u8]) {
    let state = Arc::new(State {
        cluster: Mutex::new(Cluster::default()),
        allocators: Mutex::new(Allocators::unbounded(Limits::default())),
    });
    let pd = Pd::in_memory(Arc::clone(&state), RequestLimits::default());
    let mut last = [0, 0];
    while let [kind, length, rest @ ..] = bytes {
        let (message, behind) = rest.split_at(usize::from(*length).min(rest.len()));
        bytes = behind;
        match kind % 6 {
            0 => with(message, |request| now(pd.store_heartbeat(&request)).map(drop)),
            1 => with(message, |request| {
                let region = now(pd.region_heartbeat(&request)).map(|_| Region::from(&*request.region));
                region.map(|region| assert_eq!(lookup(&pd, region.start_key()), Some(region)))
            }),
            2 => with(message, |request| now(pd.remove_region(&request)).map(drop)),
            3 => with(message, |request: pb::GetRegionByKeyRequest| {
                lookup(&pd, &request.key).map(|region| assert!(region.range().contains(&request.key)))
            }),
            4 => with(message, |request| {
                let given = now(pd.alloc_id(&request)).map(|answer| (answer.first_id, answer.count));
                given.map(|given| take(&mut last[0], given))
            }),
            _ => with(message, |request| {
                let given = now(pd.tso(&request)).map(|answer| (answer.timestamp, answer.count));
                given.map(|given| take(&mut last[1], given))
            }),
        }
        state.cluster.lock().expect("no call panicked").check_invariants();
        state.allocators.lock().expect("no call panicked").check_invariants();
    }
}

fn with<M: Message>(bytes: &[u8], call: impl FnOnce(M) -> Option<()>) {
    if let Ok(request) = M::parse_from_bytes(bytes) {
        let _ = call(request);
    }
}

/// What is answered in memory is answered at once.
fn now<T>(answer: Answer<T>) -> Option<T> {
    match answer {
        Ok(Reply::Now(answer)) => Some(answer),
        Ok(Reply::Later(_)) => unreachable!("nothing waits in memory"),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

fn lookup(pd: &Pd, key: &[u8]) -> Option<Region> {
    let request = pb::GetRegionByKeyRequest { key: key.to_vec(), ..Default::default() };
    now(pd.get_region_by_key(&request))?.region.as_ref().map(Region::from)
}

fn take(last: &mut u64, (first, count): (u64, u64)) {
    assert!(first > *last && count > 0);
    *last = first + (count - 1);
}
