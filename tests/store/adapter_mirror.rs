//! The mirror: told of everything but ids of 0, before the PD is; without a PD, alone.

use std::sync::{Arc, Mutex};

use pd_lite::adapter::{Adapter, AdapterOptions, Mirror, Snapshot};
use pd_lite::core::{Region, RegionId, StoreId, StoreStats};

use super::adapting::{HANG, NEVER, Told, patient, region, stats};
use crate::support::relay::{PB_PD, Relay, Reply};
use crate::support::{Client, Launch};

/// Notes what it is told, and whether the PD knew a region by then.
#[derive(Default)]
struct Notes {
    pd: Option<Client>,
    lines: Mutex<Vec<String>>,
}

impl Notes {
    fn add(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }

    fn knows(&self, key: &[u8]) -> bool {
        self.pd.as_ref().is_some_and(|pd| pd.lookup(key).unwrap().is_some())
    }
}

impl Mirror for Notes {
    fn region_heartbeat(&self, region: &Region) {
        self.add(format!("region {}, known: {}", region.id(), self.knows(region.start_key())));
    }

    fn remove_region(&self, id: RegionId) {
        self.add(format!("removed {id}, known: {}", self.knows(b"")));
    }

    fn store_heartbeat(&self, store: StoreId, stats: StoreStats) {
        self.add(format!("store {store}, {} leaders", stats.leader_num));
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot { regions: vec![region(1, b"", b"", 1)], stores: vec![(StoreId(1), stats(1, 1))] }
    }
}

/// Calls with an id of 0 among them.
fn tell(adapter: &Adapter) {
    adapter.region_heartbeat(region(0, b"", b"", 1));
    adapter.region_heartbeat(region(1, b"", b"", 1));
    assert!(adapter.flush(HANG));
    adapter.remove_region(RegionId(0));
    adapter.remove_region(RegionId(1));
    assert!(adapter.flush(HANG));
    adapter.store_heartbeat(StoreId(0), stats(1, 8));
    adapter.store_heartbeat(StoreId(1), stats(1, 9));
    assert!(adapter.flush(HANG));
}

fn with_mirror(notes: &Arc<Notes>) -> AdapterOptions {
    AdapterOptions { mirror: Some(notes.clone()), ..Told::default().options(NEVER) }
}

#[test]
fn without_a_pd_the_mirror_alone_is_told() {
    let notes = Arc::new(Notes::default());
    let adapter = Adapter::start(None, with_mirror(&notes));
    tell(&adapter);
    assert_eq!(
        *notes.lines.lock().unwrap(),
        ["region 1, known: false", "removed 1, known: false", "store 1, 9 leaders"]
    );
    assert_eq!(adapter.snapshot(), notes.snapshot());
    assert_eq!((adapter.plan(), adapter.unacknowledged()), (vec![], 0));
    assert!(adapter.stop());
    assert_eq!(Adapter::start(None, AdapterOptions::default()).snapshot(), Snapshot::default());
}

#[test]
fn the_mirror_is_told_before_the_pd() {
    let server = Launch::in_memory().start();
    let notes = Arc::new(Notes { pd: Some(server.client()), ..Notes::default() });
    let adapter = Adapter::start(Some(patient(server.addr())), with_mirror(&notes));
    tell(&adapter);
    assert_eq!(
        *notes.lines.lock().unwrap(),
        ["region 1, known: false", "removed 1, known: true", "store 1, 9 leaders"]
    );
    assert_eq!(server.client().lookup(b"").unwrap(), None);
}

#[test]
fn an_id_of_0_reaches_nobody() {
    let relay = Relay::start("127.0.0.1:0", &PB_PD, None, |_, _| Reply::Silence);
    let notes = Arc::new(Notes::default());
    let adapter = Adapter::start(Some(patient(relay.addr())), with_mirror(&notes));
    adapter.region_heartbeat(region(0, b"", b"", 1));
    adapter.remove_region(RegionId(0));
    adapter.store_heartbeat(StoreId(0), stats(1, 1));
    assert!(adapter.stop(), "nothing was to be sent");
    assert_eq!(adapter.unacknowledged(), 0);
    assert_eq!(*notes.lines.lock().unwrap(), [""; 0]);
    assert!(PB_PD.iter().all(|name| relay.calls(name) == 0));
}
