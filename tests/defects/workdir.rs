//! Defects that a prepared workdir shows.

use std::fs;
use std::io::Write;

use grpcio::RpcStatusCode;
use pd_lite::proto::pd::RegionMeta;

use super::{is_refused_untouched, opens_and_goes_on, own_workdir, three};
use crate::support::client::region;
use crate::support::reference::{record, region_record, write_workdir};
use crate::support::{Launch, manifest, recorded_workdir};

#[test]
fn defect_2_a_range_without_keys_that_the_reference_stored_hides_no_region() {
    let workdir = tempfile::tempdir().unwrap();
    let there = region(1, b"d", b"m", 1);
    let records = [&there, &region(2, b"d", b"d", 1), &region(3, b"x", b"c", 1)].map(|region| region_record(region, 0));
    write_workdir(workdir.path(), &records, None);
    opens_and_goes_on(workdir.path(), &[there]);
}

#[test]
fn defect_3_a_current_that_is_no_use_never_empties_a_manifest() {
    for (what, current) in [
        ("missing", None),
        ("empty", Some("")),
        ("naming a missing file", Some("MANIFEST-000009")),
        ("naming a directory", Some(".")),
        ("naming no manifest", Some("PD_STATE.json")),
    ] {
        let workdirs = [recorded_workdir("three-regions"), own_workdir(true)];
        for workdir in &workdirs {
            let file = workdir.path().join("CURRENT");
            match current {
                Some(text) => fs::write(file, text).unwrap(),
                None => fs::remove_file(file).unwrap(),
            }
            println!("CURRENT {what}");
            is_refused_untouched(workdir.path());
        }
    }
}

#[test]
fn defect_3_a_newline_behind_current_never_empties_a_manifest() {
    for workdir in [recorded_workdir("three-regions"), own_workdir(true)] {
        let file = workdir.path().join("CURRENT");
        let named = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{named}\n")).unwrap();
        is_refused_untouched(workdir.path());
    }
}

#[test]
fn defect_4_a_torn_last_record_does_not_keep_the_server_from_starting() {
    let records: Vec<Vec<u8>> = three().iter().map(|region| region_record(region, 0)).collect();
    let last = records.last().unwrap().len();
    // From one byte of the last record's length up to all but one of its bytes.
    for kept in [1, 3, 4, 5, 8, 9, 12, last - 1] {
        let workdir = tempfile::tempdir().unwrap();
        let mut torn = records.clone();
        torn.last_mut().unwrap().truncate(kept);
        write_workdir(workdir.path(), &torn, None);
        opens_and_goes_on(workdir.path(), &three()[..2]);
    }
}

#[test]
fn defect_4_a_torn_batch_of_our_own_does_not_keep_the_server_from_starting() {
    let record = region_record(&region(7, b"x", b"y", 1), 0);
    for torn in [1, 4, 9, record.len() - 1] {
        let workdir = own_workdir(false);
        let path = manifest(workdir.path());
        fs::File::options().append(true).open(&path).unwrap().write_all(&record[..torn]).unwrap();
        opens_and_goes_on(workdir.path(), &three());
    }
}

#[test]
fn defect_5_a_checkpoint_that_says_nothing_does_not_start_over() {
    let own = own_workdir(true);
    let whole = fs::read_to_string(own.path().join("PD_STATE.json")).unwrap();
    for text in ["", "{}", "null", r#"{"id_current":13}"#, r#"{"id_current":null,"ts_current":40}"#, " ", "[1]"] {
        let recorded = recorded_workdir("three-regions");
        for workdir in [recorded.path(), own.path()] {
            fs::write(workdir.join("PD_STATE.json"), text).unwrap();
            is_refused_untouched(workdir);
        }
    }
    fs::write(own.path().join("PD_STATE.json"), whole).unwrap();
    opens_and_goes_on(own.path(), &three());
}

#[test]
fn defect_8_the_last_value_is_not_given_again_at_every_start() {
    let workdir = tempfile::tempdir().unwrap();
    let state = format!(r#"{{"id_current":{0},"ts_current":{0}}}"#, u64::MAX);
    write_workdir(workdir.path(), &[], Some(&state));
    for _ in 0..2 {
        let server = Launch::durable(workdir.path()).start();
        let client = server.client();
        for answer in [client.alloc_id(1), client.tso(1)] {
            assert_eq!(answer.unwrap_err().code, RpcStatusCode::RESOURCE_EXHAUSTED);
        }
        server.stop();
    }
}

#[test]
fn defect_13_a_flipped_bit_is_found() {
    let workdir = own_workdir(true);
    let path = manifest(workdir.path());
    let whole = fs::read(&path).unwrap();
    // Each field of the first records gets a turn; every byte does in the storage layer's own tests.
    let step = (whole.len() / 24).max(1);
    for at in (0..whole.len()).step_by(step) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, damaged).unwrap();
        println!("bit flipped at {at}");
        is_refused_untouched(workdir.path());
    }
    fs::write(&path, whole).unwrap();
    opens_and_goes_on(workdir.path(), &three());
}

#[test]
fn defect_13_lengths_that_cannot_be_are_refused_and_take_no_memory() {
    let huge = |body: &[u8]| record(7, body);
    let two_to_the_63 = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1];
    for (what, bad) in [
        ("a key of 2^63 bytes", huge(&[&[9, 0][..], &two_to_the_63].concat())),
        ("a key longer than the record", huge(&[9, 0, 100, b'a'])),
        ("2^62 peers", huge(&[9, 0, 1, b'x', 1, b'y', 1, 1, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40])),
        ("a number of more than ten bytes", huge(&[[0xff; 11].as_slice(), &[0]].concat())),
        ("another magic", [&[5, 0, 0, 0][..], b"NoKW\x07"].concat()),
    ] {
        let workdir = tempfile::tempdir().unwrap();
        let good = |region: &RegionMeta| region_record(region, 0);
        let records = [good(&three()[0]), bad, good(&three()[1])];
        write_workdir(workdir.path(), &records, Some(r#"{"id_current":1,"ts_current":1}"#));
        println!("{what}");
        is_refused_untouched(workdir.path());
    }
}

#[test]
fn defect_14_a_tombstone_is_not_served() {
    let workdir = tempfile::tempdir().unwrap();
    let [gone, there] = [region(1, b"a", b"m", 1), region(2, b"m", b"p", 1)];
    write_workdir(workdir.path(), &[region_record(&gone, 3), region_record(&there, 1)], None);
    opens_and_goes_on(workdir.path(), std::slice::from_ref(&there));
    let server = Launch::durable(workdir.path()).start();
    let client = server.client();
    assert_eq!(client.lookup(b"b").unwrap(), None);
    client.put(&gone).unwrap();
    assert_eq!(client.lookup(b"b").unwrap(), Some(gone), "its range and its id are free");
}
