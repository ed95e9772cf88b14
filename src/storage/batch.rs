//! The cut rule: which edits of the queue may be judged together, against the catalog as it is before any of them.
//!
//! Judging an edit reads its id's region and the other regions that meet its range. An edit that changes something writes
//! its id, the range its region had and the range it gets. So an edit may join a batch as long as its id is new to the
//! batch and its range meets no range written by the batch: then the catalog answers for it exactly as if every earlier
//! edit had been applied. The first edit for which that does not hold opens the next batch, whatever stands behind it.
//! A removal reads no range.
//!
//! One exception, because every replica reports a new region at once: a repetition of an edit that is in the batch joins
//! it without a record. Nothing else in the batch has its id, so it would be found unchanged right after.
//!
//! Invariants: the ranges in `touched` share no key; each id is in the batch once, repetitions apart; `records` plus a
//! commit is at most [`BATCH_LEN_MAX`].

use std::collections::{BTreeMap, HashMap};

use super::queue::Request;
use super::record::{self, BATCH_LEN_MAX, COMMIT_LEN, RegionState};
use super::rewrite::record_len;
use super::{Edit, EditError, EditOutcome};
use crate::core::{Cluster, KeyRange, Region, RegionId, Verdict};

/// Edits in one batch.
pub(super) const BATCH_EDITS_MAX: usize = 4096;

/// What becomes of an edit that is offered to a batch.
pub(super) enum Offer {
    /// It is in the batch.
    Taken,
    /// It needs no record: this is its answer.
    Answered(Request, Result<EditOutcome, EditError>),
    /// It belongs into the next batch, and so does everything behind it.
    Next(Request),
}

/// An edit in the batch.
pub(super) struct Taken {
    request: Request,
    /// It repeats an earlier one and has no record.
    repeats: bool,
}

impl Taken {
    pub(super) fn region_id(&self) -> RegionId {
        self.request.edit.region_id()
    }

    /// Makes the edit, which is durable, visible.
    pub(super) fn apply(&self, cluster: &mut Cluster) {
        match &self.request.edit {
            _ if self.repeats => {}
            Edit::Put(region) => cluster.put(region.clone()),
            Edit::Delete(id) => {
                cluster.remove(*id);
            }
        }
    }

    /// Answers, with what came of the whole batch.
    pub(super) fn answer(self, result: Result<(), EditError>) {
        let outcome = match &self.request.edit {
            Edit::Put(_) => EditOutcome::Stored,
            Edit::Delete(_) => EditOutcome::Removed { existed: true },
        };
        self.request.answer(result.map(|()| outcome));
    }
}

/// Edits to be written, applied and answered together, in queue order.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) taken: Vec<Taken>,
    /// The records of `taken`, encoded.
    pub(super) records: Vec<u8>,
    /// Bytes of records that the batch makes part of the live catalog.
    pub(super) live_added: u64,
    /// Bytes of records that it replaces or removes.
    pub(super) live_removed: u64,
    /// Where in `taken` the edit of an id is.
    at: HashMap<RegionId, usize>,
    touched: Ranges,
    scratch: Vec<u8>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    /// Empties the batch, keeping its buffers.
    pub(super) fn clear(&mut self) {
        self.taken.clear();
        self.records.clear();
        self.live_added = 0;
        self.live_removed = 0;
        self.at.clear();
        self.touched.by_start.clear();
    }

    /// Judges the next edit of the queue. `cluster` is as it was when the batch was empty.
    pub(super) fn offer(&mut self, request: Request, cluster: &Cluster) -> Offer {
        if self.taken.len() >= BATCH_EDITS_MAX {
            return Offer::Next(request);
        }
        let id = request.edit.region_id();
        if let Some(&at) = self.at.get(&id) {
            if !repeats(&self.taken[at].request.edit, &request.edit) {
                return Offer::Next(request);
            }
            self.taken.push(Taken { request, repeats: true });
            return Offer::Taken;
        }
        match &request.edit {
            Edit::Put(region) if self.touched.meet(&region.range()) => return Offer::Next(request),
            Edit::Put(region) => match cluster.judge(region) {
                Ok(Verdict::Changed) => {}
                Ok(Verdict::Unchanged) => return Offer::Answered(request, Ok(EditOutcome::Stored)),
                Err(refusal) => return Offer::Answered(request, Err(EditError::Refused(refusal))),
            },
            Edit::Delete(id) if cluster.region(*id).is_none() => {
                return Offer::Answered(request, Ok(EditOutcome::Removed { existed: false }));
            }
            Edit::Delete(_) => {}
        }
        self.admit(request, cluster)
    }

    /// Takes an edit that changes something, if its record fits.
    fn admit(&mut self, request: Request, cluster: &Cluster) -> Offer {
        let id = request.edit.region_id();
        let before = self.records.len();
        let (new, live) = match &request.edit {
            Edit::Put(region) => {
                record::push_put(&mut self.records, region, RegionState::Plain, true);
                (Some(region), self.records.len() - before)
            }
            Edit::Delete(id) => {
                record::push_delete(&mut self.records, *id, true);
                (None, 0)
            }
        };
        if self.records.len() + COMMIT_LEN > BATCH_LEN_MAX {
            self.records.truncate(before);
            if self.is_empty() {
                log::error!("region {id} is too long for a batch of {BATCH_LEN_MAX} bytes and was refused");
                return Offer::Answered(request, Err(EditError::NoSpace));
            }
            return Offer::Next(request);
        }
        self.live_added += u64::try_from(live).expect("at most BATCH_LEN_MAX");
        let old = cluster.region(id);
        if let Some(old) = old {
            self.live_removed += record_len(old, &mut self.scratch);
        }
        self.touched.insert(old.map(|old| old.range()), new.map(|new| new.range()));
        self.at.insert(id, self.taken.len());
        self.taken.push(Taken { request, repeats: false });
        Offer::Taken
    }
}

/// Tells whether `later` stores what `earlier` stores.
fn repeats(earlier: &Edit, later: &Edit) -> bool {
    match (earlier, later) {
        (Edit::Put(earlier), Edit::Put(later)) => Region::eq(earlier, later),
        _ => false,
    }
}

/// Ranges that share no key, by their starts.
#[derive(Default)]
struct Ranges {
    by_start: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

impl Ranges {
    /// Tells whether `range` shares a key with one of them.
    fn meet(&self, range: &KeyRange<'_>) -> bool {
        use std::ops::Bound::{Excluded, Unbounded};
        let below_end = if range.end.is_empty() { Unbounded } else { Excluded(range.end) };
        // They share no key, so of those that start below the end the last one also ends last.
        let last = self.by_start.range::<[u8], _>((Unbounded, below_end)).next_back();
        last.is_some_and(|(_, end)| end.is_empty() || **end > *range.start)
    }

    /// Adds the old and the new range of one region. Neither meets a range that is there: the old one because regions never
    /// share keys and no earlier edit moved into it unrefused, the new one because it was asked for by `meet`.
    fn insert(&mut self, old: Option<KeyRange<'_>>, new: Option<KeyRange<'_>>) {
        match (old, new) {
            (Some(old), Some(new)) if old.overlaps(&new) => {
                let end = if old.end.is_empty() || new.end.is_empty() { &[][..] } else { Ord::max(old.end, new.end) };
                self.add(Ord::min(old.start, new.start), end);
            }
            (old, new) => old.into_iter().chain(new).for_each(|range| self.add(range.start, range.end)),
        }
    }

    fn add(&mut self, start: &[u8], end: &[u8]) {
        self.by_start.insert(start.into(), end.into());
    }
}
