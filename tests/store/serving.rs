//! A cluster of a test's own: a PD, and stores that are `pd-lite serve` processes, from one `raft_config.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::adapting::eventually;
use crate::support::launch::{Exit, start};
use crate::support::{Client, Launch, Server, own_host};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_pd-lite");
/// Rounds follow each other fast: no test waits for seconds.
const ROUND: &str = "50ms";

/// Three stores and a PD, all of which may be down.
pub struct Cluster {
    dir: TempDir,
    host: String,
    pd: Option<Server>,
    stores: BTreeMap<u64, Server>,
}

/// A region's leader by a store's file: term, store, and the store that it is offered to (0: none).
pub type Lead = (u64, u64, u64);

/// A region of a configuration, with a peer on each of the stores 1, 2 and 3: the ids 11, 12, 13 in region 1, and so on.
pub fn region(id: u64, start: &str, end: &str, leader: u64) -> Value {
    let peers: Vec<Value> = (1..=3).map(|store| json!({"store_id": store, "peer_id": id * 10 + store})).collect();
    let epoch = json!({"version": 1, "conf_version": 1});
    json!({"id": id, "start_key": start, "end_key": end, "epoch": epoch, "peers": peers, "leader_store_id": leader})
}

/// `count` regions that cover all keys, led by `leader`: [-,b), [b,c), and so on.
pub fn regions(count: u8, leader: u64) -> Vec<Value> {
    let key = |at: u8| if at == 0 || at == count { String::new() } else { char::from(b'a' + at).to_string() };
    (0..count).map(|at| region(u64::from(at) + 1, &key(at), &key(at + 1), leader)).collect()
}

impl Cluster {
    /// Nothing runs yet.
    pub fn new(regions: &[Value]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = own_host();
        let stores: Vec<Value> =
            (1..=3).map(|store| json!({"store_id": store, "addr": format!("{host}:{}", 20160 + store)})).collect();
        let config = json!({
            "pd": {"addr": format!("{host}:2379"), "work_dir": dir.path().join("pd")},
            "store_work_dir_template": dir.path().join("store-{id}"),
            "stores": stores,
            "regions": regions,
        });
        fs::write(dir.path().join("raft_config.json"), config.to_string()).unwrap();
        Self { dir, host, pd: None, stores: BTreeMap::new() }
    }

    /// The PD and the stores 1 to 3 run.
    pub fn start(regions: &[Value]) -> Self {
        let mut cluster = Self::new(regions);
        cluster.start_pd();
        (1..=3).for_each(|store| cluster.start_store(store));
        cluster
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("raft_config.json")
    }

    pub fn workdir(&self, store: u64) -> PathBuf {
        self.dir.path().join(format!("store-{store}"))
    }

    pub fn pd_addr(&self) -> String {
        format!("{}:2379", self.host)
    }

    pub fn start_pd(&mut self) {
        let workdir = self.dir.path().join("pd");
        self.pd = Some(Launch::durable(&workdir).on(&self.pd_addr()).start());
    }

    pub fn pd(&self) -> &Server {
        self.pd.as_ref().unwrap()
    }

    pub fn take_pd(&mut self) -> Server {
        self.pd.take().unwrap()
    }

    /// A client with a new connection to the PD.
    pub fn client(&self) -> Client {
        Client::connect(&self.pd_addr())
    }

    pub fn start_store(&mut self, store: u64) {
        self.start_store_with_rounds(store, ROUND);
    }

    /// The same, with so much time between two rounds.
    pub fn start_store_with_rounds(&mut self, store: u64, round: &str) {
        let started = start(self.command(store, round)).unwrap_or_else(|exit| panic!("store {store} ended: {exit:#?}"));
        self.stores.insert(store, started);
    }

    /// Starts a store that is expected to refuse.
    pub fn refused(&self, store: u64, args: &[&str]) -> Exit {
        let mut command = self.command(store, ROUND);
        match start({
            command.args(args);
            command
        }) {
            Ok(server) => panic!("it serves instead of refusing: {:#?}", server.start_lines()),
            Err(exit) => exit,
        }
    }

    fn command(&self, store: u64, round: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--heartbeat-interval", round, "--pd-timeout=1s", "--log-level=info", "--config"]);
        command.arg(self.config()).args(["--store-id", &store.to_string()]);
        command
    }

    pub fn store(&self, store: u64) -> &Server {
        &self.stores[&store]
    }

    pub fn take_store(&mut self, store: u64) -> Server {
        self.stores.remove(&store).unwrap()
    }

    /// Who leads by a store's file; none before its first start.
    pub fn leads(&self, store: u64) -> BTreeMap<u64, Lead> {
        let Ok(text) = fs::read_to_string(self.workdir(store).join("STORE_LEADS.json")) else { return BTreeMap::new() };
        let file: Value = serde_json::from_str(&text).unwrap();
        let number = |row: &Value, at: usize| row[at].as_u64().unwrap();
        let rows = file["leads"].as_array().unwrap();
        rows.iter().map(|row| (number(row, 0), (number(row, 1), number(row, 2), number(row, 3)))).collect()
    }

    /// How many regions each store leads, if all stores agree on it and nothing is pending.
    pub fn agreed(&self) -> Option<[usize; 3]> {
        let leads = self.leads(1);
        let is_settled = leads.values().all(|(_, _, offered_to)| *offered_to == 0);
        if !is_settled || (2..=3).any(|store| self.leads(store) != leads) {
            return None;
        }
        Some([1, 2, 3].map(|store| leads.values().filter(|(_, leader, _)| *leader == store).count()))
    }

    /// Waits until the stores agree, lead equally many regions, and the PD knows each leader as the region's first peer.
    pub fn wait_until_even(&self) {
        let client = self.client();
        eventually("leaders are even and everybody agrees", || {
            let Some(counts) = self.agreed() else { return false };
            let is_even = counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1;
            is_even
                && self
                    .leads(1)
                    .iter()
                    .all(|(region, (_, leader, _))| self.pd_s_leader(&client, *region) == Some(*leader))
        });
    }

    /// The store of the first peer of a region of [`regions`] by the PD.
    pub fn pd_s_leader(&self, client: &Client, region: u64) -> Option<u64> {
        let key = vec![b'a' + u8::try_from(region - 1).unwrap()];
        let found = client.lookup(&key).ok()??;
        (found.id == region).then(|| found.peers[0].store_id)
    }

    /// Appends a region to a store's manifest, as the reference's scripts do. The store must be down.
    pub fn log_region(&self, store: u64, region: u64, keys: [&str; 2], version: u64, state: &str) {
        self.log_region_with(store, region, keys, version, state, &[1, 2, 3]);
    }

    /// The same, with peers on the stores of `peers`.
    pub fn log_region_with(&self, store: u64, region: u64, keys: [&str; 2], version: u64, state: &str, peers: &[u64]) {
        let mut command = Command::new(PROGRAM);
        command.args(["config", "manifest", "--workdir"]).arg(self.workdir(store));
        command.args(["--start-key", keys[0], "--end-key", keys[1], "--state", state]);
        command.args(["--region-id", &region.to_string(), "--epoch-version", &version.to_string()]);
        command.args(peers.iter().map(|store| format!("--peer={store}:{}", region * 10 + store)));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}
