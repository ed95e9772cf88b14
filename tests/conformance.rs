//! Every recorded conversation with the reference, over real gRPC: in memory and durable. `fixtures/conformance` holds one
//! script a file; its format is in `fixtures/README.md`.
//!
//! On top of the recorded steps: within one script no id and no timestamp is given twice, and after a durable script the
//! regions that its answers speak of are still there when the server was killed and started again.

use std::collections::BTreeMap;
use std::fs;

use pd_lite::proto::pd::RegionMeta;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::wire::{self, field};
use crate::support::{Launch, Server, fixtures};

/// One test for each script and each way to run it. `durable` scripts restart the server and need a workdir.
macro_rules! scripts {
    ($($test:ident: $file:literal, $run:ident;)*) => {
        $(mod $test { scripts!(@$run $file); })*

        #[test]
        fn every_script_has_a_test() {
            let mut tested = vec![$($file),*];
            tested.sort_unstable();
            let mut recorded: Vec<String> = fs::read_dir(fixtures("conformance"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap().replace(".json", ""))
                .collect();
            recorded.sort_unstable();
            assert_eq!(tested, recorded);
        }
    };
    (@both $file:literal) => {
        #[test]
        fn in_memory() {
            super::replay($file, false);
        }

        #[test]
        fn durable() {
            super::replay($file, true);
        }
    };
    (@durable $file:literal) => {
        #[test]
        fn durable() {
            super::replay($file, true);
        }
    };
}

scripts! {
    happy_path: "01-happy-path", both;
    alloc_counts: "02-alloc-counts", both;
    invalid_arguments: "03-invalid-arguments", both;
    stale_epochs: "04-stale-epochs", both;
    epoch_grid: "05-epoch-grid", both;
    overlap_bounded: "06-overlap-bounded", both;
    overlap_unbounded: "07-overlap-unbounded", both;
    overlap_many: "08-overlap-many", both;
    move_shrink_grow: "09-move-shrink-grow", both;
    split_parent_first: "10-split-parent-first", both;
    split_child_first: "11-split-child-first", both;
    split_tree: "12-split-tree", both;
    merge: "13-merge", both;
    remove_recreate: "14-remove-recreate", both;
    remove_recreate_lower_epoch: "15-remove-recreate-lower-epoch", both;
    lookup_borders: "16-lookup-borders", both;
    lookup_binary: "17-lookup-binary", both;
    store_heartbeats: "18-store-heartbeats", both;
    hint_skew: "19-hint-skew", both;
    hint_ties: "20-hint-ties", both;
    hint_candidates: "21-hint-candidates", both;
    hint_first_peer: "22-hint-first-peer", both;
    hint_odd_peers: "23-hint-odd-peers", both;
    hint_random: "24-hint-random", both;
    restart_term: "25-restart-term", durable;
    restart_kill: "26-restart-kill", durable;
    restart_random: "27-restart-random", durable;
    start_values_memory: "28-start-values-memory", both;
    start_values_checkpoint: "29-start-values-checkpoint", durable;
    random_1000: "30-random-1000", both;
}

/// Replays one script against a server of its own.
fn replay(name: &str, durable: bool) {
    let text = fs::read_to_string(fixtures("conformance").join(format!("{name}.json"))).unwrap();
    let script: Value = serde_json::from_str(&text).unwrap();
    assert!(durable || field(&script, "durable") == false, "{name} needs a workdir");

    let workdir = tempfile::tempdir().unwrap();
    let launch = |flags: &Value| launch(durable.then_some(&workdir), flags);
    let mut flags = field(&script, "server_flags").clone();
    let mut server = launch(&flags).start();
    let mut client = server.client();
    let mut seen = Seen::default();
    let steps = field(&script, "steps").as_array().unwrap();
    assert!(!steps.is_empty(), "{name} says something");
    for (at, step) in steps.iter().enumerate() {
        if let Some(how) = step.get("restart") {
            drop(client);
            end(server, how.as_str().unwrap());
            flags = step.get("server_flags").unwrap_or(&flags).clone();
            server = launch(&flags).start();
            client = server.client();
            continue;
        }
        let (method, request) = (field(step, "method").as_str().unwrap(), field(step, "request"));
        let (code, response) = match wire::call(&client, method, request) {
            Ok(response) => ("OK".to_owned(), response),
            Err(failure) => (code_name(failure.code), Value::Null),
        };
        let expected = field(step, "code").as_str().unwrap();
        assert_eq!(code, expected, "{name}, step {at}: {step}");
        if let Err(difference) = compare(field(step, "response"), &response) {
            panic!("{name}, step {at}: {difference}\nanswer {response}\nstep {step}");
        }
        seen.note(method, request, &response).unwrap_or_else(|problem| panic!("{name}, step {at}: {problem}"));
    }
    if durable {
        server.kill();
        let server = launch(&flags).start();
        let client = server.client();
        for region in seen.regions.values() {
            let found = client.lookup(&region.start_key).unwrap();
            assert_eq!(found.as_ref(), Some(region), "{name}: after kill -9");
        }
        server.stop();
    }
}

fn launch(workdir: Option<&TempDir>, flags: &Value) -> Launch {
    let launch = workdir.map_or_else(Launch::in_memory, |dir| Launch::durable(dir.path()));
    launch.args(flags.as_array().unwrap().iter().map(|flag| flag.as_str().unwrap()))
}

fn end(server: Server, how: &str) {
    match how {
        "term" => server.stop(),
        "kill" => server.kill(),
        other => panic!("no such way to end a server: {other}"),
    }
}

/// `INVALID_ARGUMENT` out of grpcio's `3-INVALID_ARGUMENT`.
fn code_name(code: grpcio::RpcStatusCode) -> String {
    code.to_string().trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '-').to_owned()
}

/// Compares an answer with the recorded one; `{"$min": N}` stands for any number from N on.
fn compare(expected: &Value, found: &Value) -> Result<(), String> {
    let differ = || Err(format!("expected {expected}, found {found}"));
    match (expected, found) {
        (Value::Object(matcher), _) if matcher.contains_key("$min") => {
            match (matcher["$min"].as_u64(), found.as_u64()) {
                (Some(least), Some(found)) if found >= least => Ok(()),
                _ => differ(),
            }
        }
        (Value::Object(expected), Value::Object(found)) if expected.keys().eq(found.keys()) => {
            expected.iter().try_for_each(|(name, value)| compare(value, &found[name]))
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            expected.iter().zip(found).try_for_each(|(expected, found)| compare(expected, found))
        }
        (Value::Object(_) | Value::Array(_), _) => differ(),
        _ if expected == found => Ok(()),
        _ => differ(),
    }
}

/// What the answers of one script said so far.
#[derive(Default)]
struct Seen {
    last_id: u64,
    last_timestamp: u64,
    /// By id, as their last accepted heartbeats described them.
    regions: BTreeMap<u64, RegionMeta>,
}

impl Seen {
    fn note(&mut self, method: &str, request: &Value, response: &Value) -> Result<(), String> {
        let (first, last) = match (method, response) {
            (_, Value::Null) => return Ok(()),
            ("AllocID", response) => (field(response, "first_id"), &mut self.last_id),
            ("Tso", response) => (field(response, "timestamp"), &mut self.last_timestamp),
            ("RegionHeartbeat", _) => {
                let region = wire::region_from_json(field(request, "region"));
                self.regions.insert(region.id, region);
                return Ok(());
            }
            ("RemoveRegion", _) => {
                self.regions.remove(&field(request, "region_id").as_u64().unwrap());
                return Ok(());
            }
            _ => return Ok(()),
        };
        let (first, count) = (first.as_u64().unwrap(), field(response, "count").as_u64().unwrap());
        if first <= *last {
            return Err(format!("{first} was given before: {last} was the last one"));
        }
        *last = first + count - 1;
        Ok(())
    }
}

#[test]
fn the_comparison_sees_every_difference() {
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let expected = json(r#"{"a":18446744073709551615,"b":[{"c":null}],"d":{"$min":7}}"#);
    let accepted = |found: &str| compare(&expected, &json(found)).is_ok();
    assert!(accepted(r#"{"a":18446744073709551615,"b":[{"c":null}],"d":7}"#));
    assert!(accepted(r#"{"a":18446744073709551615,"b":[{"c":null}],"d":18446744073709551615}"#));
    assert!(!accepted(r#"{"a":18446744073709551614,"b":[{"c":null}],"d":7}"#), "the last bit of a u64");
    assert!(!accepted(r#"{"a":18446744073709551615,"b":[{"c":null}],"d":6}"#), "below the minimum");
    assert!(!accepted(r#"{"a":18446744073709551615,"b":[],"d":7}"#), "a shorter list");
    assert!(!accepted(r#"{"a":18446744073709551615,"b":[{"c":0}],"d":7}"#), "a value for null");
    assert!(!accepted(r#"{"a":18446744073709551615,"b":[{"c":null}]}"#), "a missing field");
    assert!(!accepted(r#"{"a":18446744073709551615,"b":[{"c":null}],"d":7,"e":0}"#), "one field more");
    assert!(!accepted("null"), "nothing at all");
}
