//! Workdirs that the reference wrote, or that were damaged by hand: each behaves as its `expect.json` says of a good
//! server. A good server serves exactly these regions, goes on behind the checkpoint, takes more writes and opens the
//! workdir again after a kill; or it refuses (exit status 4) and leaves every file as it was.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pd_lite::proto::pd::RegionMeta;
use serde_json::Value;

use crate::support::client::region;
use crate::support::wire::{self, field};
use crate::support::{Client, EXIT_DAMAGED, Launch, files, fixtures, recorded_workdir};

/// One test a workdir, and one that none was forgotten.
macro_rules! workdirs {
    ($($test:ident: $name:literal;)*) => {
        $(#[test]
        fn $test() {
            behaves_as_expected($name);
        })*

        #[test]
        fn every_workdir_has_a_test() {
            let tested = BTreeSet::from([$($name.to_owned()),*]);
            let recorded: BTreeSet<String> = fs::read_dir(fixtures("workdirs"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            assert_eq!(tested, recorded);
        }
    };
}

workdirs! {
    a_workdir_left_by_kill_opens: "after-kill";
    keys_of_any_bytes_come_back: "binary-keys";
    a_manifest_without_current_is_refused: "current-missing";
    a_workdir_without_regions_opens: "empty-fresh";
    a_cut_checkpoint_is_refused: "state-corrupt";
    an_empty_checkpoint_is_refused: "state-empty";
    no_checkpoint_means_nothing_allocated: "state-missing";
    three_regions_come_back: "three-regions";
    a_torn_length_is_cut_off: "torn-header";
    a_torn_record_is_cut_off: "torn-tail";
    two_hundred_regions_come_back: "two-hundred-regions";
    unknown_records_are_passed_over: "unknown-record";
}

fn behaves_as_expected(name: &str) {
    let text = fs::read_to_string(fixtures("workdirs").join(name).join("expect.json")).unwrap();
    let expect: Value = serde_json::from_str(&text).unwrap();
    let good = field(&expect, "good");
    let workdir = recorded_workdir(name);
    if field(good, "starts") == true {
        serves(workdir.path(), good);
    } else {
        assert_eq!(field(good, "files_unchanged"), true);
        refuses(workdir.path());
    }
}

fn refuses(workdir: &Path) {
    let before = files(workdir);
    for _ in 0..2 {
        let exit = Launch::durable(workdir).refused();
        assert_eq!(exit.code, Some(EXIT_DAMAGED), "{exit:#?}");
        assert_eq!(exit.stdout, Vec::<String>::new());
        assert!(exit.stderr.contains("pd-lite ctl workdir"), "the way out is named: {}", exit.stderr);
        assert_eq!(files(workdir), before);
    }
}

fn serves(workdir: &Path, good: &Value) {
    let number = |name: &str| field(good, name).as_u64().unwrap();
    let mut regions: Vec<RegionMeta> =
        field(good, "regions").as_array().unwrap().iter().map(wire::region_from_json).collect();
    let server = Launch::durable(workdir).start();
    let restored = format!("PD restored {} region(s) from manifest: {}", regions.len(), workdir.display());
    let starts = format!("PD allocator starts: id={} ts={}", number("id_current") + 1, number("ts_current") + 1);
    assert_eq!(server.start_lines()[..2], [restored, starts]);
    let client = server.client();
    holds_exactly(&client, &regions);
    let (id, timestamp) = (client.alloc_id(3).unwrap(), client.tso(5).unwrap());
    assert!(id >= number("first_id_min") && timestamp >= number("first_ts_min"), "{id} {timestamp}");

    // More writes: a removal, a newer epoch, and a new region where the removed one was (or anywhere).
    let new = regions.iter().map(|region| region.id).max().unwrap_or(0) + 1;
    if regions.is_empty() {
        regions.push(region(new, b"a", b"", 1));
    } else {
        let removed = regions.remove(0);
        assert!(client.remove(removed.id).unwrap());
        if let Some(bumped) = regions.first_mut() {
            bumped.epoch_version += 1;
            client.put(bumped).unwrap();
        }
        regions.push(region(new, &removed.start_key, &removed.end_key, 1));
    }
    client.put(regions.last().unwrap()).unwrap();
    holds_exactly(&client, &regions);
    server.kill();

    let server = Launch::durable(workdir).start();
    let client = server.client();
    holds_exactly(&client, &regions);
    let (id_after_kill, timestamp_after_kill) = (client.alloc_id(1).unwrap(), client.tso(1).unwrap());
    assert!(id_after_kill > id + 2 && timestamp_after_kill > timestamp + 4);
    server.stop();

    // A clean stop skips nothing.
    let server = Launch::durable(workdir).start();
    let client = server.client();
    holds_exactly(&client, &regions);
    assert_eq!(client.alloc_id(1).unwrap(), id_after_kill + 1);
    assert_eq!(client.tso(1).unwrap(), timestamp_after_kill + 1);
    server.stop();
}

/// Looks up the lowest key, every border, its neighbours on both sides and a key above all: each finds the region that
/// `regions` has there, and nothing where it has none.
fn holds_exactly(client: &Client, regions: &[RegionMeta]) {
    let mut keys = BTreeSet::from([Vec::new(), vec![0xff; 64]]);
    for border in regions.iter().flat_map(|region| [&region.start_key, &region.end_key]) {
        let Some((&last, front)) = border.split_last() else { continue };
        keys.insert(border.clone());
        keys.insert([border, &[0][..]].concat());
        // The key just below: without a last zero, or with a smaller last byte and a long tail.
        keys.insert(if last == 0 { front.to_vec() } else { [front, &[last - 1], &[0xff; 40]].concat() });
    }
    for key in keys {
        let holds =
            |region: &&RegionMeta| region.start_key <= key && (region.end_key.is_empty() || key < region.end_key);
        let found = client.lookup(&key).unwrap();
        assert_eq!(found.as_ref(), regions.iter().find(holds), "at key {}", wire::hex(&key));
    }
}
