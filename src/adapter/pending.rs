//! What a PD has still to be told: the newest state of each region, the removals, and the stores' newest numbers. Pure state,
//! without clock, lock or thread.
//!
//! A region has one entry, whatever the number of its updates: a newer state takes the place of an older one that was not
//! sent. A removal stays in front of a state that follows it, for the PD must forget the old epoch before it takes a lower
//! one. What was sent stays an entry until its answer is here; an answer to anything but the newest state changes nothing.
//!
//! An entry's next step waits in one of four queues:
//!
//! | queue | what waits there | until |
//! |---|---|---|
//! | `removals` | removals | they are sent |
//! | `puts` | states that the PD is to be told now | they are sent |
//! | `blocked` | states that were refused for an epoch or an overlap, a few times at most | a change was accepted, or the next round |
//! | `round` | acknowledged states that the store has reported again, and what was refused otherwise or too often | the next round |
//!
//! Removals go first: they make room, and nothing can be in their way. States follow in the order in which their regions
//! became due, so that a split's parent shrinks before its children come; what a coalesced order spoils, `blocked` heals.
//! Whose turn it is while some of them get no answers is told in `turns.rs`.
//!
//! Invariants, which tests assert after every step by `check_invariants`:
//!
//! - an entry that waits is in the queue of its place, once, and a queue holds nothing else
//! - an entry without a place is acknowledged; one without a region is a removal
//! - only states whose region has no removal in front of them are in `puts` and `blocked`
//!
//! Memory: one entry and one region for each region that was reported and not removed, one entry for each removal that is
//! not acknowledged, one set of numbers a store.

mod turns;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::core::{Region, RegionId, StoreId, StoreStats};

use self::turns::{Due, Kind, Turns};

/// So often a state is tried again as soon as another change was accepted; then it waits for the rounds. It keeps regions
/// that are stale for good from being sent after every change of another one.
const RETRIES_AT_ONCE: u8 = 4;

/// About how many bytes of a message a region takes beside its keys and peers.
const FIELDS_LEN: usize = 48;

/// A step: what is to be sent next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Batch {
    Removals(Vec<RegionId>),
    Puts(Vec<Put>),
    Store(Numbers),
}

/// A state of a region, and which one it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Put {
    pub(super) region: Arc<Region>,
    state: u64,
}

/// A store's numbers, and which ones they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) store: StoreId,
    pub(super) stats: StoreStats,
    place: u64,
}

/// What a PD answers to a state or a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    /// The epoch is stale, or the range overlaps another region's: it may be right later.
    Blocked,
    /// Refused for any other reason, which somebody is to be told once; now, if `may_tell`.
    Refused {
        may_tell: bool,
    },
}

/// What a batch may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchLimits {
    pub(super) removals: usize,
    /// States, of which one is always let in.
    pub(super) regions: usize,
    /// About so many bytes of states.
    pub(super) bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Pending {
    entries: HashMap<RegionId, Entry>,
    removals: Queue,
    puts: Queue,
    blocked: Queue,
    round: Queue,
    stores: BTreeMap<StoreId, (u64, StoreStats)>,
    /// A change was accepted since blocked states were last tried.
    progress: bool,
    turns: Turns,
    /// The last place or state given out: no place is that of another state.
    number: u64,
}

/// Regions by place: first come, first served.
type Queue = BTreeMap<u64, RegionId>;

#[derive(Debug)]
struct Entry {
    /// The PD is to forget the region, before anything else.
    removal: bool,
    /// What the region is; `None`: gone.
    region: Option<Arc<Region>>,
    /// Which of the region's states that is.
    state: u64,
    /// The PD has accepted this state, and not refused it since.
    acknowledged: bool,
    /// How often in turn this state was refused.
    refusals: u8,
    /// Somebody was told why this state (or the removal) is refused.
    told: bool,
    place: Option<Place>,
}

/// A queue and the number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Removals(u64),
    Puts(u64),
    Blocked(u64),
    Round(u64),
}

impl Entry {
    /// Whether somebody is to be told of an answer now, which it notes.
    fn tells_of(&mut self, answer: Answer) -> bool {
        let tells = matches!(answer, Answer::Refused { may_tell: true }) && !self.told;
        self.told |= tells;
        tells
    }

    fn new(region: Option<Arc<Region>>) -> Self {
        Self { removal: false, region, state: 0, acknowledged: false, refusals: 0, told: false, place: None }
    }
}

impl Pending {
    /// The store says what a region is.
    pub(super) fn region_heartbeat(&mut self, region: Region) {
        let id = region.id();
        let Some(entry) = self.entries.get(&id) else {
            let entry = Entry::new(Some(Arc::new(region)));
            self.entries.insert(id, entry);
            return self.renew_state(id);
        };
        if entry.region.as_deref() != Some(&region) {
            let entry = self.entry(id);
            entry.region = Some(Arc::new(region));
            self.renew_state(id);
        } else if entry.place.is_none() {
            let number = self.next_number();
            self.move_to(id, Some(Place::Round(number)));
        }
    }

    /// The store says that a region is gone.
    pub(super) fn remove_region(&mut self, id: RegionId) {
        let number = self.next_number();
        let entry = self.entries.entry(id).or_insert_with(|| Entry::new(None));
        entry.region = None;
        if !entry.removal {
            (entry.removal, entry.acknowledged, entry.told) = (true, false, false);
            self.move_to(id, Some(Place::Removals(number)));
        }
    }

    /// The store tells its numbers.
    pub(super) fn store_heartbeat(&mut self, store: StoreId, stats: StoreStats) {
        let place = self.next_number();
        self.stores.insert(store, (place, stats));
    }

    /// What is to be sent now, if anything. It stays due until its answers are here.
    pub(super) fn next_batch(&mut self, limits: BatchLimits) -> Option<Batch> {
        if self.removals.is_empty() && self.puts.is_empty() && std::mem::take(&mut self.progress) {
            // Backwards: a chain of regions that make room for each other is then in its right order the second time.
            self.make_due(|pending| pending.blocked.values().rev().copied().collect());
        }
        let numbers = self.stores.iter().map(|(&store, &(place, stats))| Numbers { store, stats, place });
        let numbers = numbers.min_by_key(|numbers| numbers.place);
        let due = Due {
            removals: self.removals.keys().next().copied().zip(self.removals.keys().next_back().copied()),
            put: self.puts.keys().next().copied(),
            numbers: numbers.map(|numbers| numbers.place),
        };
        match self.turns.next(due)? {
            Kind::Removals => {
                let front: Vec<(u64, RegionId)> =
                    self.removals.iter().map(|(&place, &id)| (place, id)).take(limits.removals).collect();
                self.turns.removals_given_out(front.last().map_or(0, |&(place, _)| place));
                Some(Batch::Removals(front.into_iter().map(|(_, id)| id).collect()))
            }
            Kind::Puts => Some(Batch::Puts(self.front(limits))),
            Kind::Numbers => numbers.map(Batch::Store),
        }
    }

    /// The states at the front of `puts`.
    fn front(&self, limits: BatchLimits) -> Vec<Put> {
        let mut bytes = 0;
        let mut front = Vec::new();
        for entry in self.puts.values().take(limits.regions).map(|id| &self.entries[id]) {
            let region = entry.region.as_ref().expect("what is in `puts` has a region");
            bytes += region.heap_len() + FIELDS_LEN;
            if bytes > limits.bytes && !front.is_empty() {
                break;
            }
            front.push(Put { region: Arc::clone(region), state: entry.state });
        }
        front
    }

    /// Takes in that a state which was sent alone got no answer: the others go before it.
    pub(super) fn postpone(&mut self, put: &Put) {
        let id = put.region.id();
        let number = self.next_number();
        if self.entries.get(&id).is_some_and(|entry| matches!(entry.place, Some(Place::Puts(_)))) {
            self.move_to(id, Some(Place::Puts(number)));
        }
    }

    /// Takes in the answer to a state. Returns whether somebody is to be told of it now.
    pub(super) fn settle_put(&mut self, put: &Put, answer: Answer) -> bool {
        self.turns.note_answer();
        let id = put.region.id();
        let number = self.next_number();
        let is_accepted = answer == Answer::Accepted;
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| !entry.removal) else {
            self.progress |= is_accepted;
            return false;
        };
        if entry.state != put.state {
            // The older state may have made room, too. The newer one goes behind what came before it.
            self.progress |= is_accepted;
            let place = Place::Puts(entry.state);
            self.move_to(id, Some(place));
            return false;
        }
        self.progress |= is_accepted && !entry.acknowledged;
        entry.acknowledged = is_accepted;
        entry.refusals = if is_accepted { 0 } else { entry.refusals.saturating_add(1) };
        let place = match answer {
            Answer::Accepted => None,
            Answer::Blocked if entry.refusals <= RETRIES_AT_ONCE => Some(Place::Blocked(number)),
            Answer::Blocked | Answer::Refused { .. } => Some(Place::Round(number)),
        };
        let tells = entry.tells_of(answer);
        self.move_to(id, place);
        tells
    }

    /// Takes in the answer to a removal. Returns whether somebody is to be told of it now.
    pub(super) fn settle_removal(&mut self, id: RegionId, answer: Answer) -> bool {
        self.turns.note_answer();
        let number = self.next_number();
        // Only this answer ends a removal, so the entry is there and a removal still.
        let entry = self.entry(id);
        if answer != Answer::Accepted {
            let tells = entry.tells_of(answer);
            self.move_to(id, Some(Place::Round(number)));
            return tells;
        }
        entry.removal = false;
        let is_gone = entry.region.is_none();
        self.progress = true;
        self.move_to(id, None);
        if is_gone {
            self.entries.remove(&id);
        } else {
            self.renew_state(id);
        }
        false
    }

    /// Takes in the answer to a store's numbers. Whatever it is, they are done with: newer ones will come. Returns whether
    /// somebody is to be told of it now.
    pub(super) fn settle_store(&mut self, numbers: &Numbers, answer: Answer) -> bool {
        self.turns.note_answer();
        if self.stores.get(&numbers.store).is_some_and(|(place, _)| *place == numbers.place) {
            self.stores.remove(&numbers.store);
        }
        matches!(answer, Answer::Refused { may_tell: true })
    }

    /// Begins a round: everything that waits for one is due.
    pub(super) fn begin_round(&mut self) {
        self.make_due(|pending| pending.blocked.values().rev().chain(pending.round.values()).copied().collect());
    }

    /// Whether something is to be sent now.
    pub(super) fn has_due(&self) -> bool {
        !(self.removals.is_empty() && self.puts.is_empty() && self.stores.is_empty())
            || self.progress && !self.blocked.is_empty()
    }

    /// Whether something waits for the next round.
    pub(super) fn has_waiting(&self) -> bool {
        !(self.blocked.is_empty() && self.round.is_empty())
    }

    /// Regions whose newest state, or whose removal, is not acknowledged.
    pub(super) fn unacknowledged(&self) -> usize {
        self.entries.values().filter(|entry| entry.removal || !entry.acknowledged).count()
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn entry(&mut self, id: RegionId) -> &mut Entry {
        self.entries.get_mut(&id).expect("the caller has seen the entry")
    }

    /// Makes the region of an entry, which was just changed, a state that is due. It keeps its place when it is due already,
    /// and waits while a removal is in front of it.
    fn renew_state(&mut self, id: RegionId) {
        let number = self.next_number();
        let entry = self.entry(id);
        (entry.state, entry.acknowledged) = (number, false);
        if entry.removal {
            return;
        }
        (entry.refusals, entry.told) = (0, false);
        if !matches!(entry.place, Some(Place::Puts(_))) {
            self.move_to(id, Some(Place::Puts(number)));
        }
    }

    /// Moves entries to the ends of `removals` and `puts`.
    fn make_due(&mut self, which: impl FnOnce(&Self) -> Vec<RegionId>) {
        for id in which(self) {
            let number = self.next_number();
            let removal = self.entry(id).removal;
            self.move_to(id, Some(if removal { Place::Removals(number) } else { Place::Puts(number) }));
        }
    }

    /// Moves an entry from its place to another one, or to none.
    fn move_to(&mut self, id: RegionId, place: Option<Place>) {
        let old = std::mem::replace(&mut self.entry(id).place, place);
        if let Some(old) = old {
            let (queue, number) = self.queue_of(old);
            queue.remove(&number);
        }
        if let Some(new) = place {
            let (queue, number) = self.queue_of(new);
            queue.insert(number, id);
        }
    }

    fn queue_of(&mut self, place: Place) -> (&mut Queue, u64) {
        match place {
            Place::Removals(number) => (&mut self.removals, number),
            Place::Puts(number) => (&mut self.puts, number),
            Place::Blocked(number) => (&mut self.blocked, number),
            Place::Round(number) => (&mut self.round, number),
        }
    }

    #[cfg(test)]
    fn check_invariants(&self) {
        let mut queued = 0;
        let mut check = |queue: &Queue, place: fn(u64) -> Place| {
            for (&number, id) in queue {
                assert!(number <= self.number);
                assert_eq!(self.entries[id].place, Some(place(number)));
                queued += 1;
            }
        };
        check(&self.removals, Place::Removals);
        check(&self.puts, Place::Puts);
        check(&self.blocked, Place::Blocked);
        check(&self.round, Place::Round);
        let mut placed = 0;
        for (id, entry) in &self.entries {
            assert!(entry.region.as_ref().is_none_or(|region| region.id() == *id));
            assert!(entry.removal || entry.region.is_some());
            assert!(!entry.removal || !entry.acknowledged);
            match entry.place {
                None => assert!(entry.acknowledged),
                Some(Place::Removals(_)) => assert!(entry.removal),
                Some(Place::Puts(_) | Place::Blocked(_)) => assert!(!entry.removal),
                Some(Place::Round(_)) => {}
            }
            placed += usize::from(entry.place.is_some());
        }
        assert_eq!(queued, placed);
    }
}

#[cfg(test)]
mod tests;
