//! Random lives of a store and its PD, with the real catalog as the PD.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;

use super::LIMITS;
use crate::adapter::pending::{Answer, Batch, BatchLimits, Pending};
use crate::core::{Cluster, Epoch, Peer, PeerId, Region, RegionId, StoreId, StoreStats, Verdict};

/// What a batch comes to.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Answered,
    /// The PD has not seen it.
    Lost,
    /// The PD takes in all of it, and the answers are lost.
    AnswersLost,
    /// The PD takes in half of it before it ends.
    HalfLost,
}

#[derive(Clone, Debug)]
enum Step {
    /// A region gives a part away to a new one, which is to its right or its left.
    Split(Index, Index, bool),
    /// A region takes in its right neighbour, which goes.
    Merge(Index),
    ChangePeers(Index),
    ReportAgain(Index),
    /// A region goes and comes back with the lowest epoch.
    Recreate(Index),
    StoreHeartbeat,
    Send(Fate),
    Round,
    /// The PD restarts without a workdir.
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    let fate = prop_oneof![
        3 => Just(Fate::Answered),
        1 => Just(Fate::Lost),
        1 => Just(Fate::AnswersLost),
        1 => Just(Fate::HalfLost),
    ];
    prop_oneof![
        10 => (index(), index(), any::<bool>()).prop_map(|(which, at, right)| Step::Split(which, at, right)),
        8 => index().prop_map(Step::Merge),
        3 => index().prop_map(Step::ChangePeers),
        3 => index().prop_map(Step::ReportAgain),
        2 => index().prop_map(Step::Recreate),
        1 => Just(Step::StoreHeartbeat),
        10 => fate.prop_map(Step::Send),
        2 => Just(Step::Round),
        1 => Just(Step::Forget),
    ]
}

/// Borders are one byte, but for the first and the last one, which are the empty key.
const END: u8 = 40;

/// A region in the store's eyes.
#[derive(Clone, Copy)]
struct Own {
    start: u8,
    end: u8,
    epoch: Epoch,
}

struct World {
    /// The store's regions by id.
    store: BTreeMap<u64, Own>,
    /// The highest id so far.
    ids: u64,
    pending: Pending,
    pd: Cluster,
    /// The PD has forgotten what it may have acknowledged.
    forgot: bool,
}

impl World {
    fn new() -> Self {
        let whole = Own { start: 0, end: END, epoch: Epoch { version: 1, conf_version: 1 } };
        let store = BTreeMap::from([(1, whole)]);
        let mut world = Self { store, ids: 1, pending: Pending::default(), pd: Cluster::default(), forgot: false };
        world.report(1);
        world
    }

    fn region(&self, id: u64) -> Region {
        let own = self.store[&id];
        let key = |border| if border == 0 || border == END { Vec::new() } else { vec![border] };
        let peer = Peer { store_id: StoreId(1), peer_id: PeerId(id) };
        Region::new(RegionId(id), &key(own.start), &key(own.end), own.epoch, [peer])
    }

    fn report(&mut self, id: u64) {
        let region = self.region(id);
        self.pending.region_heartbeat(region);
    }

    fn pick(&self, which: &Index) -> u64 {
        *which.get(&self.store.keys().copied().collect::<Vec<_>>())
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Split(which, at, right) => self.split(self.pick(which), at, *right),
            Step::Merge(which) => self.merge(self.pick(which)),
            Step::ChangePeers(which) => {
                let id = self.pick(which);
                self.store.get_mut(&id).unwrap().epoch.conf_version += 1;
                self.report(id);
            }
            Step::ReportAgain(which) => self.report(self.pick(which)),
            Step::Recreate(which) => {
                let id = self.pick(which);
                self.pending.remove_region(RegionId(id));
                self.store.get_mut(&id).unwrap().epoch = Epoch::default();
                self.report(id);
            }
            Step::StoreHeartbeat => self.pending.store_heartbeat(StoreId(1), StoreStats::default()),
            Step::Send(fate) => {
                self.send(*fate);
            }
            Step::Round => self.pending.begin_round(),
            Step::Forget => {
                self.pd = Cluster::default();
                self.forgot = true;
            }
        }
        self.pending.check_invariants();
        let entries = u64::try_from(self.pending.entries.len()).unwrap();
        assert!(entries <= self.ids, "one entry a region, gone or not");
    }

    fn split(&mut self, id: u64, at: &Index, right: bool) {
        let own = self.store[&id];
        let inner: Vec<u8> = (own.start + 1..own.end).collect();
        if inner.is_empty() {
            return;
        }
        let at = *at.get(&inner);
        let epoch = Epoch { version: own.epoch.version + 1, ..own.epoch };
        let (left_part, right_part) = (Own { end: at, epoch, ..own }, Own { start: at, epoch, ..own });
        let (kept, given) = if right { (left_part, right_part) } else { (right_part, left_part) };
        self.ids += 1;
        self.store.insert(id, kept);
        self.store.insert(self.ids, given);
        self.report(id);
        self.report(self.ids);
    }

    fn merge(&mut self, id: u64) {
        let own = self.store[&id];
        let Some((&right, &other)) = self.store.iter().find(|(_, other)| other.start == own.end) else { return };
        let version = own.epoch.version.max(other.epoch.version) + 1;
        self.store.remove(&right);
        self.store.insert(id, Own { end: other.end, epoch: Epoch { version, ..own.epoch }, ..own });
        self.pending.remove_region(RegionId(right));
        self.report(id);
    }

    /// Sends the next batch. Returns whether there was one.
    fn send(&mut self, fate: Fate) -> bool {
        let limits = BatchLimits { removals: 2, regions: 3, ..LIMITS };
        let Some(batch) = self.pending.next_batch(limits) else { return false };
        let is_answered = matches!(fate, Fate::Answered);
        let seen = |len| match fate {
            Fate::Answered | Fate::AnswersLost => len,
            Fate::HalfLost => len / 2,
            Fate::Lost => 0,
        };
        match &batch {
            Batch::Removals(ids) => {
                for &id in &ids[..seen(ids.len())] {
                    self.pd.remove(id);
                    if is_answered {
                        self.pending.settle_removal(id, Answer::Accepted);
                    }
                }
            }
            Batch::Puts(puts) => {
                for put in &puts[..seen(puts.len())] {
                    let answer = self.put(&put.region);
                    if is_answered {
                        self.pending.settle_put(put, answer);
                    }
                }
            }
            Batch::Store(numbers) => {
                if is_answered {
                    self.pending.settle_store(numbers, Answer::Accepted);
                }
            }
        }
        if let (false, Batch::Puts(puts)) = (is_answered, &batch) {
            self.pending.postpone(&puts[0]);
        }
        self.pd.check_invariants();
        true
    }

    fn put(&mut self, region: &Arc<Region>) -> Answer {
        match self.pd.judge(region) {
            Err(_) => return Answer::Blocked,
            Ok(Verdict::Unchanged) => {}
            Ok(Verdict::Changed) => self.pd.put(Region::clone(region)),
        }
        Answer::Accepted
    }

    /// Sends everything, with no further loss.
    fn settle(&mut self) {
        for _ in 0..100 {
            while self.send(Fate::Answered) {
                self.pending.check_invariants();
            }
            if !self.pending.has_waiting() {
                return;
            }
            self.pending.begin_round();
        }
        panic!("the PD never takes it: {:?}", self.pending);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_pd_that_is_back_learns_the_newest_state_of_every_region(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        if world.forgot {
            // The store's own round.
            let ids: Vec<u64> = world.store.keys().copied().collect();
            ids.into_iter().for_each(|id| world.report(id));
        }
        world.settle();
        let known: Vec<Region> = world.pd.regions_from(RegionId(0)).cloned().collect();
        let own: Vec<Region> = world.store.keys().map(|&id| world.region(id)).collect();
        prop_assert_eq!(known, own);
        prop_assert_eq!(world.pending.unacknowledged(), 0);
        prop_assert_eq!(world.pending.entries.len(), world.store.len());
    }
}
