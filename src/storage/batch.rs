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
            Edit::Put(region) => cluster.put(Region::clone(region)),
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
        (Edit::Put(earlier), Edit::Put(later)) => **earlier == **later,
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::channel::oneshot;
    use proptest::prelude::*;

    use super::*;
    use crate::core::{Epoch, Peer, PeerId, Region, StoreId};
    use crate::storage::EditReply;
    use crate::storage::queue::Room;

    type Answer = Result<EditOutcome, EditError>;

    fn put(id: u64, start: &str, end: &str, version: u64) -> Edit {
        let epoch = Epoch { version, conf_version: 1 };
        let peer = Peer { store_id: StoreId(1), peer_id: PeerId(id) };
        Edit::Put(Arc::new(Region::new(RegionId(id), start.as_bytes(), end.as_bytes(), epoch, [peer])))
    }

    fn delete(id: u64) -> Edit {
        Edit::Delete(RegionId(id))
    }

    fn apply(edit: &Edit, cluster: &mut Cluster) {
        match edit {
            Edit::Put(region) => cluster.put(Region::clone(region)),
            Edit::Delete(id) => assert!(cluster.remove(*id)),
        }
    }

    /// One edit after the other.
    fn run_serially(edits: &[Edit], cluster: &mut Cluster) -> Vec<Answer> {
        let run = |edit: &Edit| {
            let answer = match edit {
                Edit::Put(region) => match cluster.judge(region) {
                    Ok(Verdict::Unchanged) => return Ok(EditOutcome::Stored),
                    Ok(Verdict::Changed) => EditOutcome::Stored,
                    Err(refusal) => return Err(EditError::Refused(refusal)),
                },
                Edit::Delete(id) if cluster.region(*id).is_none() => {
                    return Ok(EditOutcome::Removed { existed: false });
                }
                Edit::Delete(_) => EditOutcome::Removed { existed: true },
            };
            apply(edit, cluster);
            Ok(answer)
        };
        edits.iter().map(run).collect()
    }

    /// Batch after batch. Returns the answers, and how many edits were settled by each batch.
    fn run_in_batches(edits: &[Edit], cluster: &mut Cluster) -> (Vec<Answer>, Vec<usize>) {
        let mut batch = Batch::default();
        let mut receivers = Vec::new();
        let mut sizes = vec![0];
        let mut queue = edits.iter().peekable();
        while let Some(edit) = queue.peek() {
            let (reply, receiver) = oneshot::channel();
            match batch.offer(request(edit, reply), cluster) {
                Offer::Taken => {}
                Offer::Answered(request, answer) => request.answer(answer),
                Offer::Next(_) => {
                    finish(&mut batch, cluster);
                    sizes.push(0);
                    continue;
                }
            }
            queue.next();
            receivers.push(receiver);
            *sizes.last_mut().unwrap() += 1;
        }
        finish(&mut batch, cluster);
        (receivers.into_iter().map(|mut receiver| receiver.try_recv().unwrap().unwrap()).collect(), sizes)
    }

    fn finish(batch: &mut Batch, cluster: &mut Cluster) {
        let live = |cluster: &Cluster| {
            cluster.regions_from(RegionId(0)).map(|region| record_len(region, &mut Vec::new())).sum::<u64>()
        };
        let expected = live(cluster) + batch.live_added - batch.live_removed;
        batch.taken.iter().for_each(|taken| taken.apply(cluster));
        assert_eq!(live(cluster), expected);
        cluster.check_invariants();
        batch.taken.drain(..).for_each(|taken| taken.answer(Ok(())));
        batch.clear();
    }

    fn sizes(before: &[Edit], edits: &[Edit]) -> Vec<usize> {
        let mut cluster = Cluster::default();
        run_serially(before, &mut cluster);
        run_in_batches(edits, &mut cluster).1
    }

    #[test]
    fn edits_that_have_nothing_in_common_share_a_batch() {
        let before = [put(1, "a", "c", 1), put(2, "c", "e", 1), put(3, "e", "g", 1)];
        assert_eq!(sizes(&[], &before), [3], "touching ranges");
        assert_eq!(sizes(&before, &[delete(1), delete(2), delete(3)]), [3]);
        assert_eq!(sizes(&before, &[put(1, "a", "b", 2), put(2, "d", "e", 2), put(9, "x", "", 1)]), [3]);
    }

    #[test]
    fn an_edit_that_leans_on_an_earlier_one_opens_the_next_batch() {
        let before = [put(1, "a", "c", 1), put(2, "c", "e", 1)];
        assert_eq!(sizes(&before, &[delete(2), put(1, "a", "e", 2)]), [1, 1], "merge");
        assert_eq!(sizes(&before, &[put(2, "d", "e", 2), put(3, "c", "d", 1)]), [1, 1], "split");
        assert_eq!(sizes(&before, &[put(2, "x", "z", 2), put(3, "d", "e", 1)]), [1, 1], "the range that was left");
        assert_eq!(sizes(&before, &[put(2, "x", "z", 2), put(3, "y", "", 1)]), [1, 1], "the range that was taken");
        assert_eq!(sizes(&before, &[put(1, "a", "b", 2), delete(1)]), [1, 1], "the same id");
        assert_eq!(sizes(&before, &[delete(1), put(1, "p", "q", 1), delete(2)]), [1, 2], "a prefix, without skipping");
    }

    #[test]
    fn what_needs_no_record_cuts_nothing() {
        let before = [put(1, "a", "c", 5), put(2, "c", "e", 5)];
        let edits = [put(1, "a", "c", 5), put(1, "a", "b", 4), delete(7), put(2, "b", "e", 6), put(3, "x", "", 1)];
        assert_eq!(sizes(&before, &edits), [5]);
        assert_eq!(sizes(&[], &[put(1, "", "m", 1), put(1, "", "m", 1), put(2, "m", "", 1), put(1, "", "m", 1)]), [4]);
        assert_eq!(sizes(&[], &[put(1, "", "m", 1), put(1, "", "m", 2)]), [1, 1], "not a repetition");
    }

    #[test]
    fn a_batch_is_never_longer_than_its_bounds() {
        let edits = (1..=10_000).map(|id| put(id, &format!("{id:06}"), &format!("{id:06}~"), 1)).collect::<Vec<_>>();
        assert_eq!(sizes(&[], &edits), [4096, 4096, 1808]);

        let long = "k".repeat(100_000);
        let edits = (1..=20).map(|id| put(id, &format!("{id:02}{long}"), &format!("{id:02}~"), 1)).collect::<Vec<_>>();
        let mut batch = Batch::default();
        for edit in &edits[..10] {
            assert!(matches!(offer(&mut batch, edit), Offer::Taken));
        }
        assert!(matches!(offer(&mut batch, &edits[10]), Offer::Next(_)));
        assert!(batch.records.len() + COMMIT_LEN <= BATCH_LEN_MAX);
        assert_eq!(sizes(&[], &edits), [10, 10]);

        let too_long = put(1, &"k".repeat(BATCH_LEN_MAX), "", 1);
        assert!(matches!(offer(&mut Batch::default(), &too_long), Offer::Answered(_, Err(EditError::NoSpace))));
    }

    fn offer(batch: &mut Batch, edit: &Edit) -> Offer {
        batch.offer(request(edit, oneshot::channel().0), &Cluster::default())
    }

    fn request(edit: &Edit, reply: EditReply) -> Request {
        Request { edit: edit.clone(), reply, room: Room::take(&Arc::default(), edit).unwrap() }
    }

    fn any_edit() -> impl Strategy<Value = Edit> {
        let key =
            || (0_u8..9).prop_map(|key| if key == 8 { String::new() } else { char::from(b'a' + key).to_string() });
        let well_formed = (key(), key()).prop_filter("empty", |(start, end)| end.is_empty() || start < end);
        prop_oneof![
            4 => (1_u64..7, well_formed, 1_u64..4).prop_map(|(id, (start, end), version)| put(id, &start, &end, version)),
            1 => (1_u64..7).prop_map(delete),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn batches_answer_and_store_what_one_edit_after_the_other_would(
            edits in prop::collection::vec(any_edit(), 0..60)
        ) {
            let (mut serial, mut batched) = (Cluster::default(), Cluster::default());
            let expected = run_serially(&edits, &mut serial);
            let (answers, _) = run_in_batches(&edits, &mut batched);
            prop_assert_eq!(answers, expected);
            prop_assert!(serial.regions_from(RegionId(0)).eq(batched.regions_from(RegionId(0))));
        }
    }
}
