//! Three stores over a network that loses, doubles and reorders messages, with processes that are killed at any moment: what
//! the module's page promises holds after every step, and everything heals once the network does.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::leads::{Leads, Offer, first_leader};
use super::store::{Answer, Message, Outside, Store};
use crate::core::{Epoch, LeadRow, LeaderTransfer, Peer, PeerId, Region, RegionId, StoreId, StoreStats};
use crate::storage::StorageError;
use crate::storage::leads::SaveError;

const STORES: u64 = 3;
const REGIONS: u64 = 4;
/// Packets on their way at most; further ones are lost.
const PACKETS_MAX: usize = 40;

#[derive(Clone, Debug)]
enum Packet {
    Message {
        from: StoreId,
        to: StoreId,
        message: Message,
    },
    /// To the sender of a message, at the process that sent it: a call ends with its process.
    Answer {
        from: StoreId,
        to: StoreId,
        life: u64,
        answer: Answer,
    },
}

#[derive(Default)]
struct Net {
    packets: Vec<Packet>,
    /// By store: the rows on its disk.
    disks: BTreeMap<StoreId, Vec<LeadRow>>,
    /// Saving fails so often.
    full: u32,
    /// What a placement driver was last told of each region, by each store.
    reported: BTreeMap<(StoreId, RegionId), StoreId>,
}

struct World {
    net: Rc<RefCell<Net>>,
    this: StoreId,
}

impl Outside for World {
    fn save(&mut self, rows: &mut dyn Iterator<Item = LeadRow>) -> Result<(), SaveError> {
        let mut net = self.net.borrow_mut();
        if net.full > 0 {
            net.full -= 1;
            let source = io::ErrorKind::StorageFull.into();
            return Err(SaveError::NoSpace(StorageError::Io { action: "write", path: "leads".into(), source }));
        }
        net.disks.insert(self.this, rows.collect());
        Ok(())
    }

    fn report_region(&mut self, region: Region) {
        let first = region.peers().next().unwrap().store_id;
        self.net.borrow_mut().reported.insert((self.this, region.id()), first);
    }

    fn report_store(&mut self, _: StoreId, _: StoreStats) {}

    fn send(&mut self, to: StoreId, message: Message) {
        self.net.borrow_mut().push(Packet::Message { from: self.this, to, message });
    }

    fn withdraw(&mut self, offer: Offer) {
        let is_it =
            |packet: &Packet| matches!(packet, Packet::Message { message: Message::TakeLead(at), .. } if *at == offer);
        self.net.borrow_mut().packets.retain(|packet| !is_it(packet));
    }
}

impl Net {
    fn push(&mut self, packet: Packet) {
        if self.packets.len() < PACKETS_MAX {
            self.packets.push(packet);
        }
    }
}

struct Cluster {
    net: Rc<RefCell<Net>>,
    stores: BTreeMap<StoreId, Store<World>>,
    /// How often each store was started.
    lives: BTreeMap<StoreId, u64>,
    /// Whoever led a region in a term, ever.
    led: BTreeMap<(RegionId, u64), StoreId>,
}

#[derive(Clone, Debug)]
enum Step {
    /// A store does what is due every few seconds.
    Round(u64),
    /// A placement driver's hint, which may make no sense.
    Hint {
        store: u64,
        region: u64,
        target: u64,
    },
    /// A packet arrives: any of those on their way.
    Deliver(usize),
    /// The same, and it stays on its way.
    DeliverTwice(usize),
    Lose(usize),
    /// A process is killed and started again. The disk keeps what was saved.
    Kill(u64),
    /// The next save finds no space.
    Full,
}

/// Whether a store holds a region: region 4 has a peer on store 3, which has not heard of that.
fn holds(store: StoreId, region: RegionId) -> bool {
    (store, region) != (StoreId(STORES), RegionId(REGIONS))
}

fn regions() -> Vec<Arc<Region>> {
    let region = |id: u64| {
        let peers = (1..=STORES).map(|store| Peer { store_id: StoreId(store), peer_id: PeerId(id * 10 + store) });
        let key = |id: u64| vec![u8::try_from(id).unwrap()];
        Arc::new(Region::new(RegionId(id), &key(id), &key(id + 1), Epoch::default(), peers))
    };
    (1..=REGIONS).map(region).collect()
}

impl Cluster {
    fn new() -> Self {
        let mut cluster =
            Self { net: Rc::default(), stores: BTreeMap::new(), lives: BTreeMap::new(), led: BTreeMap::new() };
        (1..=STORES).for_each(|store| cluster.start(StoreId(store)));
        cluster.check();
        cluster
    }

    /// Starts a store from its disk, as a process does.
    fn start(&mut self, store: StoreId) {
        let saved = self.net.borrow().disks.get(&store).cloned().unwrap_or_default();
        let regions: Vec<_> = regions().into_iter().filter(|region| holds(store, region.id())).collect();
        let leads = Leads::new(store, &regions, &saved, |region| first_leader(region, None));
        self.net.borrow_mut().disks.insert(store, leads.rows().collect());
        let others = (1..=STORES).map(StoreId).filter(|other| *other != store).collect();
        self.stores.insert(store, Store::new(leads, others, World { net: Rc::clone(&self.net), this: store }));
        *self.lives.entry(store).or_default() += 1;
    }

    fn step(&mut self, step: &Step) {
        let packets = self.net.borrow().packets.len();
        match *step {
            Step::Round(store) => self.stores.get_mut(&StoreId(store)).unwrap().round(),
            Step::Hint { store, region, target } => {
                let peer = |store: u64| PeerId(region * 10 + store);
                let hint = LeaderTransfer {
                    region_id: RegionId(region),
                    source_peer_id: peer(store),
                    target_peer_id: peer(target),
                };
                let _ = self.stores.get_mut(&StoreId(store)).unwrap().follow(&hint);
            }
            Step::Deliver(at) | Step::DeliverTwice(at) | Step::Lose(at) if packets > 0 => {
                let packet = match step {
                    Step::DeliverTwice(_) => self.net.borrow().packets[at % packets].clone(),
                    _ => self.net.borrow_mut().packets.remove(at % packets),
                };
                if !matches!(step, Step::Lose(_)) {
                    self.deliver(packet);
                }
            }
            Step::Deliver(_) | Step::DeliverTwice(_) | Step::Lose(_) => {}
            Step::Kill(store) => self.start(StoreId(store)),
            Step::Full => self.net.borrow_mut().full += 1,
        }
        self.check();
    }

    fn deliver(&mut self, packet: Packet) {
        match packet {
            Packet::Message { from, to, message } => {
                let store = self.stores.get_mut(&to).unwrap();
                let answer = match &message {
                    Message::TakeLead(offer) => {
                        store.take(from, offer.region, offer.term).map(|lead| Answer::Lead(*offer, lead))
                    }
                    Message::ShareLeads(told) => store.share(from, told).map(Answer::Newer),
                };
                if let Ok(answer) = answer {
                    let life = self.lives[&from];
                    self.net.borrow_mut().push(Packet::Answer { from: to, to: from, life, answer });
                }
            }
            Packet::Answer { from, to, life, answer } if life == self.lives[&to] => {
                let _ = self.stores.get_mut(&to).unwrap().answered(from, &answer);
            }
            Packet::Answer { .. } => {}
        }
    }

    /// The invariants of the module's page.
    fn check(&mut self) {
        for (id, store) in &self.stores {
            store.leads().check_invariants();
            let disk = &self.net.borrow().disks[id];
            assert!(store.leads().rows().eq(disk.iter().copied()), "1: what a store knows is on its disk");
            for row in disk {
                // 2: `Leads::apply` asserts that no lead goes back.
                let first = self.led.entry((row.region, row.lead.term)).or_insert(row.lead.leader);
                assert_eq!(*first, row.lead.leader, "3: two leaders in term {} of {}", row.lead.term, row.region);
            }
        }
    }

    /// Everything arrives for as long as it takes: then all stores agree, and nothing is pending.
    fn heal(&mut self) {
        self.net.borrow_mut().full = 0;
        for _ in 0..4 {
            for store in 1..=STORES {
                self.step(&Step::Round(store));
                while !self.net.borrow().packets.is_empty() {
                    self.step(&Step::Deliver(0));
                }
            }
        }
        (1..=STORES).for_each(|store| self.step(&Step::Round(store)));
        for region in regions() {
            let known: BTreeSet<_> = self.stores.values().filter_map(|store| store.leads().lead(region.id())).collect();
            assert_eq!(known.len(), 1, "{known:?}");
            let leader = known.first().unwrap().leader;
            let reported = &self.net.borrow().reported;
            for store in self.stores.keys().filter(|store| holds(**store, region.id())) {
                assert_eq!(reported[&(*store, region.id())], leader);
            }
        }
        assert!(self.stores.values().all(|store| store.leads().offers().next().is_none()), "an offer is pending");
        let led: u64 = self.stores.values().map(|store| store.leads().stats().leader_num).sum();
        assert_eq!(led, REGIONS);
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let store = || 1..=STORES;
    let step = prop_oneof![
        2 => store().prop_map(Step::Round),
        4 => (store(), 1..=REGIONS, store()).prop_map(|(store, region, target)| Step::Hint { store, region, target }),
        8 => any::<usize>().prop_map(Step::Deliver),
        2 => any::<usize>().prop_map(Step::DeliverTwice),
        2 => any::<usize>().prop_map(Step::Lose),
        1 => store().prop_map(Step::Kill),
        1 => Just(Step::Full),
    ];
    proptest::collection::vec(step, 0..200)
}

#[test]
fn whatever_is_lost_a_term_has_one_leader_and_everything_heals() {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config { cases: 1000, ..Config::default() }, rng);
    let term_max = Cell::new(0);
    let run = runner.run(&steps(), |steps| {
        let mut cluster = Cluster::new();
        steps.iter().for_each(|step| cluster.step(step));
        cluster.heal();
        let terms = cluster.led.keys().map(|(_, term)| *term);
        term_max.set(terms.max().unwrap().max(term_max.get()));
        Ok(())
    });
    run.unwrap();
    assert!(term_max.get() > 5, "leads did move: {}", term_max.get());
}

#[test]
fn a_transfer_moves_the_lead_and_is_reported_at_once() {
    let mut cluster = Cluster::new();
    cluster.step(&Step::Hint { store: 1, region: 1, target: 2 });
    assert_eq!(cluster.stores[&StoreId(1)].leads().stats().leader_num, REGIONS, "an offer moves nothing yet");
    cluster.step(&Step::Deliver(0));
    cluster.step(&Step::Deliver(0));
    let numbers: Vec<_> = cluster.stores.values().map(|store| store.leads().stats().leader_num).collect();
    assert_eq!(numbers, [REGIONS - 1, 1, 0]);
    let reported = cluster.net.borrow().reported.clone();
    let region = RegionId(1);
    assert_eq!((reported[&(StoreId(1), region)], reported[&(StoreId(2), region)]), (StoreId(2), StoreId(2)));
    cluster.heal();
}

#[test]
fn a_target_that_is_down_leaves_the_lead_where_it_is() {
    let mut cluster = Cluster::new();
    cluster.step(&Step::Hint { store: 1, region: 1, target: 2 });
    cluster.step(&Step::Lose(0));
    cluster.step(&Step::Hint { store: 1, region: 1, target: 3 });
    assert!(cluster.net.borrow().packets.is_empty(), "the first offer binds");
    assert_eq!(cluster.stores[&StoreId(1)].leads().stats().leader_num, REGIONS);
    cluster.step(&Step::Kill(1));
    cluster.heal();
    assert_eq!(cluster.stores[&StoreId(2)].leads().stats().leader_num, 1, "it was offered again");
}

#[test]
fn a_target_to_which_there_is_no_way_gets_no_offer() {
    let mut cluster = Cluster::new();
    let net = Rc::clone(&cluster.net);
    let leads = cluster.stores[&StoreId(1)].leads().clone();
    let alone = Store::new(leads, BTreeSet::from([StoreId(3)]), World { net, this: StoreId(1) });
    cluster.stores.insert(StoreId(1), alone);
    cluster.step(&Step::Hint { store: 1, region: 1, target: 2 });
    assert!(cluster.stores[&StoreId(1)].leads().offers().next().is_none(), "the region stays free");
    cluster.step(&Step::Hint { store: 1, region: 1, target: 3 });
    cluster.heal();
    assert_eq!(cluster.stores[&StoreId(3)].leads().stats().leader_num, 1);
}

#[test]
fn a_target_without_the_region_leaves_the_leader_free_to_offer_it_elsewhere() {
    let mut cluster = Cluster::new();
    let offer = |cluster: &mut Cluster, target| {
        cluster.step(&Step::Hint { store: 1, region: 4, target });
        while !cluster.net.borrow().packets.is_empty() {
            cluster.step(&Step::Deliver(0));
        }
        cluster.stores[&StoreId(target)].leads().stats().leader_num
    };
    assert_eq!(offer(&mut cluster, 3), 0);
    assert_eq!(offer(&mut cluster, 2), 1);
}

/// An offer is sent again each round, so a copy could wait for its turn while the first one was answered. The target that had
/// answered that it does not have the region was restarted with it and took that copy, and another store the next offer of
/// the same term.
#[test]
fn nothing_of_an_offer_that_is_withdrawn_is_sent_any_more() {
    let mut cluster = Cluster::new();
    let offers = |cluster: &Cluster| {
        let is_offer = |packet: &&Packet| matches!(packet, Packet::Message { message: Message::TakeLead(_), .. });
        cluster.net.borrow().packets.iter().filter(is_offer).count()
    };
    cluster.step(&Step::Hint { store: 1, region: 4, target: 3 });
    cluster.step(&Step::Round(1));
    assert_eq!(offers(&cluster), 2);
    cluster.step(&Step::Deliver(0));
    let answer = cluster.net.borrow().packets.len() - 1;
    cluster.step(&Step::Deliver(answer));
    assert!(cluster.stores[&StoreId(1)].leads().offers().next().is_none(), "it is withdrawn");
    assert_eq!(offers(&cluster), 0);
}
