//! Tells whether a recorded history of concurrent calls is linearizable: whether the calls can be put into one order, each
//! at a moment between its call and its answer, in which each answer is the one that the object gives.
//!
//! The search is Wing and Gong's, with the states that were reached by the same set of calls remembered (Lowe's). A call
//! whose outcome nobody knows may have happened at any moment after it was made, or never.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// An object by its rules.
pub trait Object: Clone + Eq + Hash {
    type Call: Clone + Debug;
    /// Does what is called, if `answer` is the right one; `None`: the outcome is unknown, and it happens.
    fn step(&self, call: &Self::Call, answer: Option<&Answer>) -> Option<Self>;
}

/// What a caller is told, as text.
pub type Answer = String;

/// A call and what became of it.
#[derive(Clone, Debug)]
pub struct Event<C> {
    pub call: C,
    /// The moments of the call and of the answer, each of them another number.
    pub called: u64,
    pub answered: u64,
    /// `None`: nobody knows whether it happened.
    pub answer: Option<Answer>,
}

/// Tells whether `history` is one that `object` allows. At most 64 calls.
pub fn is_linearizable<O: Object>(object: &O, history: &[Event<O::Call>]) -> bool {
    assert!(history.len() <= 64, "a history of {} calls", history.len());
    let all = history.iter().enumerate().filter(|(_, event)| event.answer.is_some()).map(|(at, _)| 1 << at).sum();
    search(object, history, 0, all, &mut HashSet::new())
}

/// `done`: the calls that are in order already. `all`: those that have to be.
fn search<O: Object>(
    object: &O,
    history: &[Event<O::Call>],
    done: u64,
    all: u64,
    seen: &mut HashSet<(u64, O)>,
) -> bool {
    if done & all == all {
        return true;
    }
    if !seen.insert((done, object.clone())) {
        return false;
    }
    let open = |at: usize| done >> at & 1 == 0;
    // Nothing may be put behind a call that was made after it was answered.
    let first_answer = (0..history.len()).filter(|&at| open(at) && history[at].answer.is_some());
    let first_answer = first_answer.map(|at| history[at].answered).min().unwrap_or(u64::MAX);
    (0..history.len()).filter(|&at| open(at) && history[at].called < first_answer).any(|at| {
        let event = &history[at];
        let next = object.step(&event.call, event.answer.as_ref());
        next.is_some_and(|next| search(&next, history, done | 1 << at, all, seen))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cell that is written and read.
    #[derive(Clone, PartialEq, Eq, Hash)]
    struct Cell(u64);

    #[derive(Clone, Debug)]
    enum Call {
        Write(u64),
        Read,
    }

    impl Object for Cell {
        type Call = Call;
        fn step(&self, call: &Call, answer: Option<&Answer>) -> Option<Self> {
            match call {
                Call::Write(value) => Some(Self(*value)),
                Call::Read => answer.is_none_or(|answer| *answer == self.0.to_string()).then(|| self.clone()),
            }
        }
    }

    fn write(value: u64, called: u64, answered: u64) -> Event<Call> {
        Event { call: Call::Write(value), called, answered, answer: Some(String::new()) }
    }

    fn read(value: u64, called: u64, answered: u64) -> Event<Call> {
        Event { call: Call::Read, called, answered, answer: Some(value.to_string()) }
    }

    #[test]
    fn calls_that_overlap_may_happen_in_either_order() {
        for value in [1, 2] {
            let history = [write(1, 0, 10), write(2, 1, 11), read(value, 12, 13)];
            assert!(is_linearizable(&Cell(0), &history));
        }
        assert!(is_linearizable(&Cell(0), &[write(1, 0, 10), read(0, 1, 2), read(1, 3, 4)]));
    }

    #[test]
    fn an_answer_from_the_past_or_from_nowhere_is_found() {
        assert!(!is_linearizable(&Cell(0), &[write(1, 0, 1), read(0, 2, 3)]), "a stale read");
        assert!(!is_linearizable(&Cell(0), &[write(1, 0, 10), read(1, 1, 2), read(0, 3, 4)]), "it goes back");
        assert!(!is_linearizable(&Cell(0), &[write(1, 0, 1), read(7, 2, 3)]), "never written");
        let two_readers = [write(1, 0, 20), write(2, 1, 21), read(1, 2, 3), read(2, 4, 5), read(1, 6, 7)];
        assert!(!is_linearizable(&Cell(0), &two_readers), "one of the two writes would be there twice");
    }

    #[test]
    fn an_unknown_outcome_may_show_late_or_never_but_not_before_the_call() {
        let unknown = |called| Event { answer: None, ..write(1, called, u64::MAX) };
        assert!(is_linearizable(&Cell(0), &[unknown(0), read(0, 2, 3)]));
        assert!(is_linearizable(&Cell(0), &[unknown(0), read(0, 2, 3), read(1, 4, 5)]));
        assert!(!is_linearizable(&Cell(0), &[unknown(0), read(1, 2, 3), read(0, 4, 5)]));
        assert!(!is_linearizable(&Cell(0), &[read(1, 0, 1), unknown(2)]));
    }
}
