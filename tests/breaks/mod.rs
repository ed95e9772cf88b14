//! The tests' proof of themselves: the code is broken on purpose, in each of the ways in which it could break a promise, and
//! tests have to see it. `make breaks` does it, in a copy of the checkout; RELIABILITY.md tells what saw what.

mod list;
mod scratch;

use std::env;
use std::fs;
use std::path::Path;

use self::list::Test;
use self::scratch::{Outcome, Scratch};

/// A part of the names of the breaks that are wanted.
const WANTED: &str = "PD_LITE_TEST_BREAKS";

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A list that has fallen behind the code would break nothing.
#[test]
fn every_break_still_fits_the_code_and_is_told_in_reliability_md() {
    let told = file("RELIABILITY.md");
    let breaks = list::read();
    for one in &breaks {
        let name = &one.name;
        assert!(!one.promise.is_empty() && !one.tests.is_empty() && !one.changes.is_empty(), "{one:?}");
        for change in &one.changes {
            let broken = change.apply(&file(&change.file));
            assert!(broken.is_ok(), "{name}: the lines stand {broken:?} times in {}", change.file);
        }
        assert!(told.contains(&format!("| {name} |")), "{name}: RELIABILITY.md does not tell of it");
        assert_eq!(breaks.iter().filter(|other| other.name == *name).count(), 1, "{name}");
    }
    let by_crashes = breaks.iter().filter(|one| one.tests.iter().any(|test| matches!(test, Test::Crash(_)))).count();
    assert!(by_crashes >= 8, "the crash loop proves itself by {by_crashes}");
}

#[test]
#[ignore = "builds the program anew for each break: make breaks"]
fn every_break_is_caught() {
    let wanted = env::var(WANTED).unwrap_or_default();
    let mut breaks = list::read();
    breaks.retain(|one| one.name.contains(&wanted));
    assert!(!breaks.is_empty(), "no break has a name with {wanted:?} in it");
    let scratch = Scratch::new();
    let mut tests: Vec<&Test> = Vec::new();
    for test in breaks.iter().flat_map(|one| &one.tests) {
        if !tests.contains(&test) {
            tests.push(test);
        }
    }
    for test in tests {
        match scratch.test(test) {
            Outcome::Passed(1..) => {}
            Outcome::Passed(_) => panic!("there is no {test:?}"),
            Outcome::Failed(what) | Outcome::Neither(what) => panic!("{test:?} fails without a break: {what}"),
        }
    }
    let mut missed = Vec::new();
    for one in &breaks {
        scratch.set(one, true);
        for test in &one.tests {
            let (caught, how) = match scratch.test(test) {
                Outcome::Failed(what) => (true, format!("caught by {what}")),
                Outcome::Passed(count) => (false, format!("NOT CAUGHT by {count} of {test:?}")),
                Outcome::Neither(what) => (false, format!("NOT CAUGHT: {what}")),
            };
            println!("{}: {how}", one.name);
            if !caught {
                missed.push(format!("{}: {how}", one.name));
            }
        }
        scratch.set(one, false);
    }
    println!("{} breaks, {} not caught", breaks.len(), missed.len());
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
