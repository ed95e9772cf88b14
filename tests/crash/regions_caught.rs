//! Histories that no placement driver may leave behind, and the rule that catches each; and histories that look odd but are
//! right.

use pd_lite::proto::pd::RegionMeta;

use super::history::{Answer, Call, Entry, NEVER, Tick};
use super::regions::check;
use crate::support::client::region;

fn entry(invoked: Tick, returned: Tick, call: Call, answer: Answer) -> Entry {
    Entry { caller: 0, invoked, returned, call, answer }
}

fn put(invoked: Tick, returned: Tick, region: &RegionMeta) -> Entry {
    entry(invoked, returned, Call::Put(region.clone()), Answer::Accepted)
}

fn refused(invoked: Tick, returned: Tick, region: &RegionMeta) -> Entry {
    entry(invoked, returned, Call::Put(region.clone()), Answer::Refused)
}

fn put_unanswered(invoked: Tick, region: &RegionMeta) -> Entry {
    entry(invoked, NEVER, Call::Put(region.clone()), Answer::Unknown)
}

fn remove(invoked: Tick, returned: Tick, id: u64, existed: bool) -> Entry {
    entry(invoked, returned, Call::Remove(id), Answer::Removed(existed))
}

fn remove_unanswered(invoked: Tick, id: u64) -> Entry {
    entry(invoked, NEVER, Call::Remove(id), Answer::Unknown)
}

fn lookup(invoked: Tick, returned: Tick, key: &[u8], found: Option<&RegionMeta>) -> Entry {
    entry(invoked, returned, Call::Lookup(key.to_vec()), Answer::Found(found.cloned()))
}

/// All regions there are.
fn all(invoked: Tick, returned: Tick, regions: &[&RegionMeta]) -> Entry {
    let regions = regions.iter().map(|&region| region.clone()).collect();
    entry(invoked, returned, Call::Scan(Vec::new(), Vec::new()), Answer::Scanned(regions, false))
}

fn is_right(history: &[Entry]) {
    if let Err(violation) = check(history) {
        panic!("{}", violation.tell(history));
    }
}

fn is_caught(history: &[Entry], what: &str) {
    let violation = check(history).expect_err(what);
    assert!(violation.what.contains(what), "{}", violation.tell(history));
}

/// [d,m) at versions 1 and 2 and what may stand beside it.
fn one() -> [RegionMeta; 4] {
    [region(1, b"d", b"m", 1), region(1, b"d", b"m", 2), region(2, b"m", b"", 1), region(2, b"k", b"p", 1)]
}

#[test]
fn an_acknowledged_region_that_is_lost_is_caught() {
    let [old, new, right, _] = one();
    is_caught(&[put(0, 1, &old), all(2, 3, &[])], "is not there");
    is_caught(&[put(0, 1, &old), lookup(2, 3, b"e", None)], "is not there");
    is_caught(&[put(0, 1, &old), remove(2, 3, 1, false)], "a removal did not find");
    is_caught(&[put(0, 1, &old), put(2, 3, &right), all(4, 5, &[&right])], "is not there");
    // Nothing that was begun later than the scan has an influence on it.
    is_caught(&[put(0, 1, &old), all(2, 3, &[]), remove(4, 5, 1, true)], "is not there");
    // The unanswered report may have come, but it does not take the region away.
    is_caught(&[put(0, 1, &old), put_unanswered(2, &new), all(3, 4, &[])], "is not there");
}

#[test]
fn a_region_at_an_older_state_is_caught() {
    let [old, new, ..] = one();
    is_caught(&[put(0, 1, &old), put(2, 3, &new), all(4, 5, &[&old])], "a newer epoch was acknowledged");
    is_caught(&[put(0, 3, &old), put(1, 2, &new), lookup(4, 5, b"e", Some(&old))], "a newer epoch was acknowledged");
    is_caught(&[put(0, 1, &new), put(2, 3, &old)], "accepted, though a newer epoch");
    // With the same epoch the later one counts.
    let other = RegionMeta { peers: new.peers[..1].to_vec(), ..new.clone() };
    is_caught(&[put(0, 1, &new), put(2, 3, &other), all(4, 5, &[&new])], "replaced or removed");
}

#[test]
fn a_removed_region_that_comes_back_is_caught() {
    let [old, new, ..] = one();
    let removed = [put(0, 1, &old), remove(2, 3, 1, true)];
    let then = |entry| [put(0, 1, &old), remove(2, 3, 1, true), entry];
    is_right(&removed);
    is_right(&then(all(4, 5, &[])));
    is_caught(&then(all(4, 5, &[&old])), "replaced or removed");
    is_caught(&then(lookup(4, 5, b"e", Some(&old))), "replaced or removed");
    is_caught(&then(remove(4, 5, 1, true)), "was removed, but was not there");
    is_caught(&[remove(0, 1, 1, true)], "was removed, but was not there");
    // It was added again, but not like this.
    is_caught(&[put(0, 1, &new), remove(2, 3, 1, true), put(4, 5, &old), all(6, 7, &[&new])], "replaced or removed");
}

#[test]
fn an_overlap_is_caught() {
    let [old, _, right, both] = one();
    is_caught(&[put(0, 3, &old), put(1, 2, &both), all(4, 5, &[&old, &both])], "two regions overlap");
    is_caught(&[put(0, 1, &old), put(2, 3, &both)], "is not there");
    is_caught(&[put(0, 1, &right), put(2, 3, &RegionMeta { end_key: Vec::new(), ..old.clone() })], "is not there");
    let unbounded = region(1, b"d", b"", 1);
    is_caught(&[put(0, 3, &unbounded), put(1, 2, &right), all(4, 5, &[&unbounded, &right])], "two regions overlap");
    is_caught(&[put(0, 1, &old), all(2, 3, &[&old, &region(1, b"x", b"z", 1)])], "nobody reported it");
}

#[test]
fn a_wrong_route_is_caught() {
    let [old, new, right, _] = one();
    let there = |entry| [put(0, 1, &old), put(2, 3, &right), entry];
    is_right(&there(lookup(4, 5, b"m", Some(&right))));
    is_caught(&there(lookup(4, 5, b"m", Some(&old))), "does not hold its key");
    is_caught(&there(lookup(4, 5, b"c", Some(&old))), "does not hold its key");
    is_caught(&there(lookup(4, 5, b"zz", None)), "is not there");
    is_caught(&there(lookup(4, 5, b"e", Some(&new))), "nobody reported it");
    is_caught(&there(lookup(4, 5, b"e", Some(&region(3, b"d", b"m", 9)))), "nobody reported it");
    // Told before it was reported, and after it was refused.
    is_caught(&[lookup(0, 1, b"e", Some(&old)), put(2, 3, &old)], "before it was reported");
    is_caught(&[put(0, 1, &new), refused(2, 3, &old), all(4, 5, &[&old])], "nobody reported it");
}

#[test]
fn what_was_told_once_and_is_lost_without_an_answer_is_caught() {
    let [old, new, ..] = one();
    // Changes that were visible before they were durable.
    let told = [put(0, 1, &old), put_unanswered(2, &new), lookup(3, 4, b"e", Some(&new)), all(5, 6, &[&old])];
    is_caught(&told, "a newer epoch was acknowledged");
    is_caught(&[put_unanswered(2, &new), all(3, 4, &[&new]), all(5, 6, &[])], "is not there");
    let gone = [put(0, 1, &old), remove_unanswered(2, 1), lookup(3, 4, b"e", None), all(5, 6, &[&old])];
    is_caught(&gone, "showed that it is gone");
    // Reported again meanwhile, or perhaps.
    is_right(&[put(0, 1, &old), remove_unanswered(2, 1), lookup(3, 6, b"e", None), all(5, 7, &[&old])]);
    is_right(&[
        put(0, 1, &old),
        remove(2, 3, 1, true),
        lookup(4, 5, b"e", None),
        put_unanswered(6, &old),
        all(7, 8, &[&old]),
    ]);
}

#[test]
fn a_refusal_without_a_reason_is_caught() {
    let [old, new, right, both] = one();
    is_caught(&[refused(0, 1, &old)], "nothing is in its way");
    is_caught(&[put(0, 1, &old), refused(2, 3, &new)], "nothing is in its way");
    is_caught(&[put(0, 1, &old), refused(2, 3, &right)], "nothing is in its way");
    is_caught(&[put(0, 1, &new), remove(2, 3, 1, true), refused(4, 5, &old)], "nothing is in its way");
    is_caught(&[put(0, 1, &old), remove(2, 3, 1, true), refused(4, 5, &both)], "nothing is in its way");
    is_right(&[put(0, 1, &new), refused(2, 3, &old), refused(4, 5, &both)]);
}

#[test]
fn what_got_no_answer_may_have_happened_or_not() {
    let [old, new, ..] = one();
    for found in [&[&old][..], &[&new]] {
        is_right(&[put(0, 1, &old), put_unanswered(2, &new), all(3, 4, found)]);
    }
    for found in [&[][..], &[&old]] {
        is_right(&[put(0, 1, &old), remove_unanswered(2, 1), all(3, 4, found)]);
        is_right(&[put_unanswered(0, &old), all(3, 4, found)]);
    }
    // A new life after a removal that may have happened.
    is_right(&[put(0, 1, &new), remove_unanswered(2, 1), put(3, 4, &old), all(5, 6, &[&old])]);
}

#[test]
fn calls_that_overlap_may_take_effect_in_any_order() {
    let [old, new, _, both] = one();
    is_right(&[put(0, 3, &old), put(1, 2, &new), all(4, 5, &[&new])]);
    for found in [&[][..], &[&old]] {
        is_right(&[put(0, 3, &old), remove(1, 4, 1, true), lookup(2, 5, b"e", found.first().copied())]);
    }
    // A removal in between makes room, and the old epoch counts no more.
    is_right(&[put(0, 1, &new), remove(2, 5, 1, true), put(3, 4, &both), put(6, 7, &region(1, b"d", b"k", 0))]);
    is_right(&[put(0, 1, &old), remove(2, 5, 1, true), refused(3, 4, &both), all(6, 7, &[])]);
}
