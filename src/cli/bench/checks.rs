//! What must hold for timestamps, whatever the server and however many take some at once.
//!
//! 1. Order: a call that begins after another one was answered gets greater timestamps.
//! 2. Uniqueness: no timestamp is given out twice.
//!
//! Each call remembers the highest timestamp that was answered when it began, its floor: the first rule is that its own are
//! above. Two calls that have no floor between them were under way at the same moment, so only what was answered since the
//! oldest call under way began is kept, neighbours as one range. Memory grows with the calls under way, not with the run.
//!
//! Invariants: `highest` never falls; ranges in `answered` neither overlap nor touch; each ends above every floor of `under_way`'s
//! lowest.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

/// Timestamps seen so far.
#[derive(Debug, Default)]
pub struct Timestamps {
    /// The highest answered.
    highest: u64,
    /// The floors of calls under way, and how many have each.
    under_way: BTreeMap<u64, usize>,
    /// Ranges answered that a call under way could get again: the last of each by its first.
    answered: BTreeMap<u64, u64>,
}

/// A call that has begun: the highest timestamp answered by then.
#[derive(Debug)]
#[must_use]
pub struct Floor(u64);

/// What is wrong with the timestamps of a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Not above one that was answered before the call began.
    WentBack { got: RangeInclusive<u64>, floor: u64 },
    /// Given out before.
    Twice { got: RangeInclusive<u64>, before: RangeInclusive<u64> },
}

impl Timestamps {
    /// Notes that a call begins.
    pub fn begin(&mut self) -> Floor {
        *self.under_way.entry(self.highest).or_default() += 1;
        Floor(self.highest)
    }

    /// Notes a call's end: its timestamps, or `None` when it got none.
    ///
    /// # Errors
    ///
    /// The rule that they break.
    pub fn end(&mut self, floor: Floor, got: Option<RangeInclusive<u64>>) -> Result<(), Wrong> {
        let verdict = got.map_or(Ok(()), |got| self.take(floor.0, got));
        if let Some(count) = self.under_way.get_mut(&floor.0) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(&floor.0);
            }
        }
        let settled = self.under_way.first_key_value().map_or(self.highest, |(floor, _)| *floor);
        while let Some(range) = self.answered.first_entry()
            && *range.get() <= settled
        {
            range.remove();
        }
        verdict
    }

    fn take(&mut self, floor: u64, got: RangeInclusive<u64>) -> Result<(), Wrong> {
        let (mut first, mut last) = (*got.start(), *got.end());
        self.highest = self.highest.max(last);
        if first <= floor {
            return Err(Wrong::WentBack { got, floor });
        }
        if let Some((&low, &high)) = self.answered.range(..=last).next_back()
            && high >= first
        {
            return Err(Wrong::Twice { got, before: low..=high });
        }
        // Nothing overlaps: at most one neighbour ends right before, and one begins right behind.
        if let Some((&low, &high)) = self.answered.range(..first).next_back()
            && high.checked_add(1) == Some(first)
        {
            self.answered.remove(&low);
            first = low;
        }
        if let Some(high) = last.checked_add(1).and_then(|behind| self.answered.remove(&behind)) {
            last = high;
        }
        self.answered.insert(first, last);
        Ok(())
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WentBack { got, floor } => write!(
                f,
                "timestamps went back: {}..{} came in answer to a call that began after {floor} was answered",
                got.start(),
                got.end()
            ),
            Self::Twice { got, before } => write!(
                f,
                "timestamps were given out twice: {}..{} after {}..{}",
                got.start(),
                got.end(),
                before.start(),
                before.end()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn calls_one_after_the_other_must_rise() {
        let mut seen = Timestamps::default();
        let mut call = |got| {
            let floor = seen.begin();
            seen.end(floor, Some(got))
        };
        assert_eq!(call(1..=10), Ok(()));
        assert_eq!(call(11..=11), Ok(()));
        assert_eq!(call(20..=30), Ok(()));
        assert_eq!(call(12..=12), Err(Wrong::WentBack { got: 12..=12, floor: 30 }));
        assert_eq!(call(30..=31), Err(Wrong::WentBack { got: 30..=31, floor: 30 }));
        assert_eq!(call(32..=u64::MAX), Ok(()));
    }

    #[test]
    fn calls_side_by_side_come_in_any_order_but_never_twice() {
        let mut seen = Timestamps::default();
        let [a, b, c, d] = [seen.begin(), seen.begin(), seen.begin(), seen.begin()];
        assert_eq!(seen.end(a, Some(11..=20)), Ok(()));
        let late = seen.begin();
        assert_eq!(seen.end(b, Some(1..=10)), Ok(()));
        assert_eq!(seen.end(c, Some(20..=21)), Err(Wrong::Twice { got: 20..=21, before: 1..=20 }));
        assert_eq!(seen.end(late, Some(15..=15)), Err(Wrong::WentBack { got: 15..=15, floor: 20 }));
        assert_eq!(seen.end(d, None), Ok(()));
        assert!(seen.answered.is_empty() && seen.under_way.is_empty());
    }

    #[test]
    fn no_more_is_kept_than_a_call_under_way_can_meet() {
        let mut seen = Timestamps::default();
        for number in 1..10_000 {
            let floor = seen.begin();
            seen.end(floor, Some(number * 3..=number * 3)).unwrap();
        }
        assert_eq!(seen.answered.len(), 0, "nobody can get them again unseen");
        let slow = seen.begin();
        for number in 30_000..40_000 {
            let floor = seen.begin();
            seen.end(floor, Some(number..=number)).unwrap();
        }
        assert_eq!(seen.answered.len(), 1, "neighbours are one range");
        seen.end(slow, None).unwrap();
        assert_eq!(seen.answered.len(), 0);
    }

    proptest! {
        /// Random histories against both rules, looked up in all that came before.
        #[test]
        fn a_history_is_refused_exactly_where_it_breaks_a_rule(
            steps in proptest::collection::vec((0..6_usize, any::<bool>(), 1..40_u64, 0..4_u64), 1..60)
        ) {
            let mut seen = Timestamps::default();
            let mut slots: Vec<Option<(Floor, u64)>> = (0..6).map(|_| None).collect();
            let (mut right, mut highest): (Vec<(u64, u64)>, u64) = (Vec::new(), 0);
            for (slot, answered, first, behind) in steps {
                match slots[slot].take() {
                    None => slots[slot] = Some((seen.begin(), highest)),
                    Some((floor, _)) if !answered => prop_assert_eq!(seen.end(floor, None), Ok(())),
                    Some((floor, begun_at)) => {
                        let last = first + behind;
                        let goes_back = first <= begun_at;
                        let is_twice = right.iter().any(|&(low, high)| low <= last && first <= high);
                        highest = highest.max(last);
                        match seen.end(floor, Some(first..=last)) {
                            Ok(()) => {
                                prop_assert!(!goes_back && !is_twice);
                                right.push((first, last));
                            }
                            Err(Wrong::WentBack { .. }) => prop_assert!(goes_back),
                            Err(Wrong::Twice { .. }) => prop_assert!(is_twice && !goes_back),
                        }
                    }
                }
            }
        }
    }
}
