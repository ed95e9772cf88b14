//! Each rule by itself, and then all of them together: a store that splits, merges and recreates regions, and a PD that
//! loses calls, answers and all of its memory, end up with the same regions.

mod model;

use super::*;
use crate::core::{Epoch, Peer, PeerId};

const LIMITS: BatchLimits = BatchLimits { removals: 128, regions: 512, bytes: 48 << 10 };

fn region(id: u64, (start, end): (&str, &str), version: u64) -> Region {
    let peer = Peer { store_id: StoreId(1), peer_id: PeerId(id) };
    Region::new(RegionId(id), start.as_bytes(), end.as_bytes(), Epoch { version, conf_version: 1 }, [peer])
}

/// Region `id` with a range of its own.
fn apart(id: u64, version: u64) -> Region {
    region(id, (&format!("{id:03}"), &format!("{id:03}x")), version)
}

fn numbers(leader_num: u64) -> StoreStats {
    StoreStats { leader_num, ..StoreStats::default() }
}

impl Pending {
    /// The next batch, as words.
    fn next(&mut self) -> String {
        let Some(batch) = self.next_batch(LIMITS) else { return "nothing".into() };
        let words: Vec<String> = match batch {
            Batch::Removals(ids) => ids.iter().map(|id| format!("-{id}")).collect(),
            Batch::Puts(puts) => puts.iter().map(|put| format!("{}@{}", put.region.id(), put.region.epoch())).collect(),
            Batch::Store(numbers) => vec![format!("store {}: {}", numbers.store, numbers.stats.leader_num)],
        };
        words.join(" ")
    }

    /// Takes the next batch and answers all of it alike. Returns the batch as words.
    fn answer(&mut self, answer: Answer) -> String {
        self.answer_each(|_| answer)
    }

    fn answer_each(&mut self, answer: impl Fn(RegionId) -> Answer) -> String {
        // A look at the next batch changes whose turn it is, so the words come from the same one.
        let turns = self.turns.clone();
        let words = self.next();
        self.turns = turns;
        match self.next_batch(LIMITS) {
            None => {}
            Some(Batch::Removals(ids)) => {
                for id in ids {
                    self.settle_removal(id, answer(id));
                }
            }
            Some(Batch::Puts(puts)) => {
                for put in &puts {
                    self.settle_put(put, answer(put.region.id()));
                }
            }
            Some(Batch::Store(numbers)) => {
                self.settle_store(&numbers, answer(RegionId(0)));
            }
        }
        self.check_invariants();
        words
    }
}

#[test]
fn updates_of_a_region_become_its_newest_state_in_its_first_place() {
    let mut pending = Pending::default();
    for version in 1..=1_000 {
        for id in 1..=3 {
            pending.region_heartbeat(apart(id, version));
        }
        pending.store_heartbeat(StoreId(7), numbers(version));
    }
    pending.check_invariants();
    assert_eq!((pending.entries.len(), pending.stores.len(), pending.puts.len()), (3, 1, 3));
    assert_eq!(pending.answer(Answer::Accepted), "1@1000/1 2@1000/1 3@1000/1");
    assert_eq!(pending.answer(Answer::Accepted), "store 7: 1000");
    assert_eq!(pending.next(), "nothing");
    assert_eq!(pending.unacknowledged(), 0);
}

#[test]
fn what_has_no_answer_is_sent_again() {
    let mut pending = Pending::default();
    pending.remove_region(RegionId(9));
    pending.region_heartbeat(apart(1, 1));
    pending.store_heartbeat(StoreId(7), numbers(1));
    // They take turns, should all of them fail for long.
    for _ in 0..2 {
        assert_eq!(pending.next(), "-9");
        assert_eq!(pending.next(), "1@1/1");
        assert_eq!(pending.next(), "store 7: 1");
    }
    assert_eq!(pending.unacknowledged(), 2);
    assert!(pending.has_due());
}

#[test]
fn an_answer_to_an_older_state_is_none_to_the_newest() {
    let mut pending = Pending::default();
    pending.region_heartbeat(apart(1, 1));
    pending.store_heartbeat(StoreId(7), numbers(1));
    let Some(Batch::Puts(sent)) = pending.next_batch(LIMITS) else { panic!("a state is due") };
    pending.region_heartbeat(apart(1, 2));
    assert!(!pending.settle_put(&sent[0], Answer::Refused { may_tell: true }), "what is old is no news");
    let Some(Batch::Store(sent)) = pending.next_batch(LIMITS) else { panic!("a changing region keeps nobody waiting") };
    pending.store_heartbeat(StoreId(7), numbers(2));
    pending.settle_store(&sent, Answer::Accepted);
    assert_eq!(pending.answer(Answer::Accepted), "1@2/1");
    assert_eq!(pending.answer(Answer::Accepted), "store 7: 2");
    assert_eq!(pending.next(), "nothing");
}

#[test]
fn a_parent_that_shrinks_while_it_is_on_its_way_still_goes_before_its_child() {
    let mut pending = Pending::default();
    pending.region_heartbeat(region(1, ("", ""), 1));
    let Some(Batch::Puts(sent)) = pending.next_batch(LIMITS) else { panic!("a state is due") };
    pending.region_heartbeat(region(1, ("", "m"), 2));
    pending.region_heartbeat(region(2, ("m", ""), 2));
    pending.settle_put(&sent[0], Answer::Accepted);
    assert_eq!(pending.answer(Answer::Accepted), "1@2/1 2@2/1");
}

#[test]
fn a_removal_is_not_lost_behind_an_answer_to_the_region_it_removes() {
    let mut pending = Pending::default();
    pending.region_heartbeat(apart(1, 1));
    let Some(Batch::Puts(sent)) = pending.next_batch(LIMITS) else { panic!("a state is due") };
    pending.remove_region(RegionId(1));
    pending.settle_put(&sent[0], Answer::Accepted);
    assert_eq!(pending.answer(Answer::Accepted), "-1");
    assert_eq!((pending.entries.len(), pending.unacknowledged()), (0, 0));
}

#[test]
fn a_region_that_comes_back_stays_behind_its_removal() {
    let mut pending = Pending::default();
    pending.region_heartbeat(apart(1, 5));
    pending.answer(Answer::Accepted);
    pending.remove_region(RegionId(1));
    pending.region_heartbeat(apart(1, 1));
    pending.remove_region(RegionId(1));
    pending.region_heartbeat(apart(1, 2));
    pending.check_invariants();
    assert_eq!(pending.answer(Answer::Refused { may_tell: false }), "-1");
    assert_eq!(pending.next(), "nothing", "a refused removal waits for the round, and the region behind it");
    pending.begin_round();
    assert_eq!(pending.answer(Answer::Accepted), "-1");
    assert_eq!(pending.answer(Answer::Accepted), "1@2/1");
    assert_eq!(pending.next(), "nothing");
}

#[test]
fn removals_go_first_but_not_for_ever() {
    let mut pending = Pending::default();
    pending.region_heartbeat(apart(1, 1));
    pending.remove_region(RegionId(8));
    pending.remove_region(RegionId(9));
    assert_eq!(pending.answer(Answer::Accepted), "-8 -9");
    pending.remove_region(RegionId(7));
    assert_eq!(pending.answer(Answer::Accepted), "1@1/1");
    assert_eq!(pending.answer(Answer::Accepted), "-7");
}

#[test]
fn a_run_of_removals_takes_as_many_batches_as_it_needs_and_lets_numbers_go_between() {
    let mut pending = Pending::default();
    pending.region_heartbeat(apart(1, 1));
    (11..=13).for_each(|id| pending.remove_region(RegionId(id)));
    let limits = BatchLimits { removals: 2, ..LIMITS };
    let removals = |pending: &mut Pending| match pending.next_batch(limits) {
        Some(Batch::Removals(ids)) => {
            for &id in &ids {
                pending.settle_removal(id, Answer::Accepted);
            }
            ids.len()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(removals(&mut pending), 2);
    pending.remove_region(RegionId(14));
    pending.store_heartbeat(StoreId(7), numbers(1));
    assert_eq!(pending.answer(Answer::Accepted), "store 7: 1");
    assert_eq!(removals(&mut pending), 2, "the third of the run, and one that came since");
    pending.remove_region(RegionId(15));
    assert_eq!(pending.answer(Answer::Accepted), "1@1/1");
    assert_eq!(removals(&mut pending), 1);
}

/// A PD that hung over the heartbeat of one region got that one again and again, and no numbers of any store any more: a
/// state kept its place in front of all later numbers, and the batch shrank to that one state.
#[test]
fn a_region_over_which_the_pd_hangs_keeps_neither_the_numbers_nor_other_regions_waiting() {
    let mut pending = Pending::default();
    let limits = BatchLimits { regions: 1, ..LIMITS };
    (1..=3).for_each(|id| pending.region_heartbeat(apart(id, 1)));
    for round in 1..=5 {
        pending.store_heartbeat(StoreId(7), numbers(round));
        let Some(Batch::Puts(hung)) = pending.next_batch(limits) else { panic!("a state is due") };
        pending.postpone(&hung[0]);
        let Some(Batch::Store(told)) = pending.next_batch(limits) else { panic!("the numbers' turn") };
        assert_eq!(told.stats, numbers(round));
        pending.settle_store(&told, Answer::Accepted);
        pending.check_invariants();
    }
    let hangs = RegionId(1);
    for _ in 0..6 {
        let Some(Batch::Puts(puts)) = pending.next_batch(limits) else { panic!("a state is due") };
        if puts[0].region.id() == hangs {
            pending.postpone(&puts[0]);
        } else {
            pending.settle_put(&puts[0], Answer::Accepted);
        }
        pending.check_invariants();
    }
    assert_eq!(pending.unacknowledged(), 1);
}

#[test]
fn a_state_that_was_removed_or_answered_meanwhile_is_not_postponed() {
    let mut pending = Pending::default();
    pending.region_heartbeat(apart(1, 1));
    let Some(Batch::Puts(sent)) = pending.next_batch(LIMITS) else { panic!("a state is due") };
    pending.remove_region(RegionId(1));
    pending.postpone(&sent[0]);
    pending.check_invariants();
    assert_eq!(pending.answer(Answer::Accepted), "-1");
    pending.postpone(&sent[0]);
    assert_eq!(pending.next(), "nothing");
}

#[test]
fn an_unchanged_report_is_passed_on_once_a_round() {
    let mut pending = Pending::default();
    pending.region_heartbeat(apart(1, 1));
    pending.answer(Answer::Accepted);
    assert!(!pending.has_waiting());
    for _ in 0..3 {
        pending.region_heartbeat(apart(1, 1));
    }
    assert!(!pending.has_due() && pending.has_waiting());
    assert_eq!(pending.unacknowledged(), 0);
    pending.begin_round();
    assert_eq!(pending.answer(Answer::Accepted), "1@1/1");
    assert!(!pending.has_due() && !pending.has_waiting());
    pending.begin_round();
    assert_eq!(pending.next(), "nothing", "only what the store has reported since is told again");
}

#[test]
fn what_is_blocked_is_tried_again_backwards_once_a_change_was_accepted() {
    let mut pending = Pending::default();
    for id in 1..=4 {
        pending.region_heartbeat(apart(id, 1));
    }
    let last_only = |id| if id == RegionId(4) { Answer::Accepted } else { Answer::Blocked };
    assert_eq!(pending.answer_each(last_only), "1@1/1 2@1/1 3@1/1 4@1/1");
    assert!(pending.has_due());
    assert_eq!(pending.answer(Answer::Blocked), "3@1/1 2@1/1 1@1/1");
    assert!(!pending.has_due(), "nothing was accepted");
    pending.remove_region(RegionId(4));
    assert_eq!(pending.answer(Answer::Accepted), "-4");
    assert_eq!(pending.answer(Answer::Accepted), "1@1/1 2@1/1 3@1/1");
}

#[test]
fn a_region_that_is_stale_for_good_is_tried_once_a_round() {
    let mut pending = Pending::default();
    let stale = |id| if id == RegionId(1) { Answer::Blocked } else { Answer::Accepted };
    pending.region_heartbeat(apart(1, 1));
    for version in 1..=10 {
        pending.region_heartbeat(apart(2, version));
        let sent: Vec<String> = std::iter::from_fn(|| Some(pending.answer_each(stale))).take(2).collect();
        let retried = ["1@1/1 2@1/1", "1@1/1", "nothing"];
        let expected = match version {
            1 => [retried[0].to_owned(), retried[1].to_owned()],
            2..=4 => [format!("2@{version}/1"), retried[1].to_owned()],
            _ => [format!("2@{version}/1"), retried[2].to_owned()],
        };
        assert_eq!(sent, expected);
        // The store itself goes on saying it.
        pending.region_heartbeat(apart(1, 1));
    }
    for _ in 0..2 {
        pending.begin_round();
        assert_eq!(pending.answer_each(stale), "1@1/1");
        assert!(!pending.has_due());
    }
    assert_eq!(pending.unacknowledged(), 1);
    pending.region_heartbeat(apart(1, 2));
    assert_eq!(pending.answer(Answer::Accepted), "1@2/1", "a newer state is a new beginning");
}

#[test]
fn an_unchanged_report_that_is_accepted_is_no_change() {
    let mut pending = Pending::default();
    pending.region_heartbeat(apart(1, 1));
    pending.region_heartbeat(apart(2, 1));
    let stale = |id| if id == RegionId(1) { Answer::Blocked } else { Answer::Accepted };
    pending.answer_each(stale);
    pending.answer_each(stale);
    pending.region_heartbeat(apart(2, 1));
    pending.begin_round();
    assert_eq!(pending.answer_each(stale), "1@1/1 2@1/1");
    assert_eq!(pending.next(), "nothing");
}

#[test]
fn a_refused_state_is_told_once_when_it_may_be() {
    let mut pending = Pending::default();
    let mut refuse = |(version, may_tell)| {
        pending.region_heartbeat(apart(1, version));
        pending.begin_round();
        let Some(Batch::Puts(sent)) = pending.next_batch(LIMITS) else { panic!("a state is due") };
        pending.settle_put(&sent[0], Answer::Refused { may_tell })
    };
    let refusals = [(1, false), (1, true), (1, true), (2, true), (2, true)];
    assert_eq!(refusals.map(&mut refuse), [false, true, false, true, false]);

    pending.remove_region(RegionId(1));
    let mut refuse = |may_tell| pending.settle_removal(RegionId(1), Answer::Refused { may_tell });
    assert_eq!([false, true, true].map(&mut refuse), [false, true, false]);
}

#[test]
fn a_batch_keeps_its_limits_and_holds_one_region_at_least() {
    let mut pending = Pending::default();
    for id in 1..=5 {
        pending.region_heartbeat(region(id, (&"x".repeat(1_000), ""), id));
    }
    let mut count = |regions, bytes| match pending.next_batch(BatchLimits { regions, bytes, ..LIMITS }) {
        Some(Batch::Puts(puts)) => puts.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!([count(3, 1 << 20), count(512, 2_200), count(512, 10), count(512, 1 << 20)], [3, 2, 1, 5]);
}
