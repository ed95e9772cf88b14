//! The crash loop: the real program under mixed load by 16 callers, killed again and again at random and at named points of
//! the persistence path, started again on the same workdir and port, and a checker over the recorded history.
//!
//! A cycle is a start (now and then after some that were killed on the way), a look at everything, the load, and an end. What
//! the look finds closes the history of the run before it, which is checked then, and opens the next one. A cycle with too
//! few acknowledged changes or values is repeated, and after a few times reported.
//!
//! `make crash CYCLES=n SEED=s` runs it for long; a seed fixes every choice that the loop makes, though not how threads meet.

mod caller;
mod cycles;
mod history;
mod points;
mod regions;
mod regions_caught;
mod values;

use std::env;
use std::hash::{BuildHasher, RandomState};

use self::cycles::Cycles;

/// How many cycles, and the seed of all choices.
const CYCLES: &str = "PD_LITE_TEST_CRASH_CYCLES";
const SEED: &str = "PD_LITE_TEST_CRASH_SEED";
/// Cycles without a word from outside.
const CYCLES_IN_PASSING: u64 = 4;

/// A number from the environment; an empty text is none.
fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn crashes_under_load_lose_nothing_acknowledged_and_give_nothing_twice() {
    let count = number(CYCLES).unwrap_or(CYCLES_IN_PASSING);
    // To be repeated it fits a shell's numbers.
    let seed = number(SEED).unwrap_or_else(|| RandomState::new().hash_one(count) >> 16);
    println!("crash loop: {count} cycles, seed {seed}");
    let workdir = tempfile::tempdir().unwrap();
    let path = workdir.path().join("pd");
    let mut cycles = Cycles::new(&path, seed);
    let result = (0..count).try_for_each(|cycle| cycles.cycle(cycle)).and_then(|()| cycles.finish());
    println!("{}", cycles.summary());
    if let Err(what) = result {
        let kept = workdir.keep();
        panic!(
            "{what}\n\nseed {seed} (make crash CYCLES={count} SEED={seed}); the workdir is kept: {}",
            kept.display()
        );
    }
}
