//! What each load reports of a server that is right, and what it leaves behind.

use crate::support::client::region;
use crate::support::{Launch, Relay};

use super::tool::{Tool, command, count};

#[test]
fn every_load_is_answered_checked_and_summed_up() {
    let pd = Launch::in_memory().start();
    for (load, words, methods) in [
        ("tso", &["--batch", "10", "--clients", "2"][..], &["Tso"][..]),
        ("route", &["--regions", "100"], &["GetRegionByKey"]),
        ("route", &["--regions", "100", "--batch", "7", "--clients", "2"], &["GetRegionsByKeys"]),
        ("heartbeat", &["--regions", "100", "--changes", "50"], &["RegionHeartbeat"]),
        ("heartbeat", &["--regions", "80", "--batch", "20"], &["RegionHeartbeats"]),
        ("heartbeat", &["--regions", "3000", "--batch", "20", "--changes", "100"], &["RegionHeartbeats"]),
        ("mixed", &["--regions", "100"], &["Tso", "GetRegionByKey", "RegionHeartbeat"]),
    ] {
        let mut tool = Tool::start(load, pd.addr(), words);
        tool.wait_for_answers();
        let report = tool.interrupt().report(0);
        assert_eq!((&report["load"], &report["interrupted"]), (&load.into(), &true.into()));
        assert!(count(&report["total"]["answered"]) > 0);
        assert_eq!((count(&report["total"]["failed"]), count(&report["checks"]["failed"])), (0, 0), "{report}");
        let made: Vec<&str> =
            report["calls"].as_array().unwrap().iter().map(|row| row["method"].as_str().unwrap()).collect();
        assert!(made == methods || (load == "mixed" && made.len() <= methods.len()), "{report}");
        let left = pd_lite::Client::connect(pd.addr()).unwrap().status().unwrap();
        assert_eq!((left.regions, left.stores), (0, 0), "{load} takes its regions away, and makes up no store");
    }
}

#[test]
fn of_ten_mixed_calls_six_take_timestamps_three_look_up_and_one_reports() {
    let pd = Launch::in_memory().start();
    let mut tool = Tool::start("mixed", pd.addr(), &["--regions", "10"]);
    tool.wait_for_answers();
    let report = tool.interrupt().report(0);
    let all = count(&report["total"]["answered"]);
    for (method, share) in [("Tso", 6), ("GetRegionByKey", 3), ("RegionHeartbeat", 1)] {
        let rows = report["calls"].as_array().unwrap();
        let made = rows.iter().find(|row| row["method"] == method).map_or(0, |row| count(&row["answered"]));
        // Each of the four callers may be within its ten.
        assert!((made * 10).abs_diff(all * share) <= 4 * 100, "{method}: {made} of {all}");
    }
}

#[test]
fn regions_that_were_kept_are_found_by_a_later_run() {
    let pd = Launch::in_memory().start();
    let mut tool = Tool::start("route", pd.addr(), &["--regions", "10", "--keep"]);
    tool.wait_for_answers();
    let ended = tool.interrupt();
    ended.report(0);
    assert!(ended.stderr.iter().any(|line| line.starts_with("the regions stay in the PD")), "{ended:?}");

    let mut tool = Tool::start("route", pd.addr(), &["--regions", "0", "--batch", "3"]);
    tool.wait_for_answers();
    assert_eq!(count(&tool.interrupt().report(0)["regions"]), 10);
    // Another run's regions are others.
    let mut tool = Tool::start("heartbeat", pd.addr(), &["--regions", "10"]);
    tool.wait_for_answers();
    tool.interrupt().report(0);
    assert_eq!(pd_lite::Client::connect(pd.addr()).unwrap().status().unwrap().regions, 10);
}

#[test]
fn a_region_in_the_way_is_named_and_nothing_changes() {
    let pd = Launch::in_memory().start();
    let client = pd.client();
    client.put(&region(1, b"", b"", 1)).unwrap();
    for load in ["route", "heartbeat", "mixed"] {
        let ended = Tool::start(load, pd.addr(), &[]).end();
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
        assert!(ended.error().contains("in the way") && ended.error().contains("--regions 0"), "{ended:?}");
    }
    assert_eq!(client.lookup(b"pd-lite-bench/").unwrap().unwrap(), region(1, b"", b"", 1));
    let mut tool = Tool::start("route", pd.addr(), &["--regions", "0"]);
    tool.wait_for_answers();
    tool.interrupt().report(0);
    let empty = Launch::in_memory().start();
    let ended = Tool::start("route", empty.addr(), &["--regions", "0"]).end();
    assert!(ended.code == Some(1) && ended.error().contains("no regions to look up"), "{ended:?}");
}

#[test]
fn a_pd_without_pdlite_takes_every_load_but_batches_of_keys_and_regions() {
    let pd = Launch::in_memory().start();
    let go = Relay::go_pd(pd.addr());
    for (load, words) in [
        ("tso", &["--batch", "10"][..]),
        ("route", &["--regions", "20"]),
        ("heartbeat", &["--regions", "20"]),
        ("mixed", &["--regions", "20"]),
    ] {
        let mut tool = Tool::start(load, go.addr(), words);
        tool.wait_for_answers();
        let report = tool.interrupt().report(0);
        assert_eq!((count(&report["total"]["failed"]), count(&report["checks"]["failed"])), (0, 0), "{report}");
        assert!(pd.client().lookup(b"pd-lite-bench/").unwrap().is_none());
    }
    for load in ["route", "heartbeat", "mixed"] {
        let ended = Tool::start(load, go.addr(), &["--batch", "2"]).end();
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
        assert!(ended.error().contains("does not offer pdlite.v1, which a --batch above 1"), "{ended:?}");
    }
}

#[test]
fn a_batch_above_the_servers_limits_is_refused_before_anything_is_sent() {
    let pd = Launch::in_memory().args(["--max-count", "100", "--max-request-bytes", "5000"]).start();
    for (load, limit) in [("tso", "--max-count"), ("heartbeat", "--max-request-bytes")] {
        let ended = Tool::start(load, pd.addr(), &["--batch", "101"]).end();
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
        assert!(ended.error().contains(limit), "{ended:?}");
    }
    assert_eq!(pd.client().tso(1).unwrap(), 1);
    assert_eq!(pd_lite::Client::connect(pd.addr()).unwrap().status().unwrap().regions, 0);
}

#[test]
fn the_servers_cpu_time_a_call_is_told_with_its_resolution() {
    let pd = Launch::in_memory().start();
    let mut tool = Tool::start("tso", pd.addr(), &["--server-pid", &pd.pid().to_string()]);
    tool.wait_for_answers();
    let report = tool.interrupt().report(0);
    let cpu = |name: &str| report["server_cpu"][name].as_f64().unwrap();
    assert!(cpu("us_per_call") >= 0.0 && cpu("resolution_us") > 0.0 && cpu("tick_ms") > 0.0, "{report}");
    assert!(report["own_cpus"].as_f64().is_some());
}

#[test]
fn a_report_for_people_tells_the_same() {
    let pd = Launch::in_memory().start();
    let pid = pd.pid().to_string();
    let mut tool = Tool::start("mixed", pd.addr(), &["-o", "text", "--rate", "50", "--server-pid", &pid]);
    tool.wait_for_answers();
    let ended = tool.interrupt();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for what in ["open loop, 50 calls a second due", "ended by a signal", "from-send", "server CPU: ", "checked: "] {
        assert!(ended.stdout.contains(what), "{what}: {}", ended.stdout);
    }
}

#[test]
fn a_wrong_command_line_or_address_is_one_line() {
    for (words, code, what) in [
        (&["tso", "--bogus"][..], 2, "unknown flag --bogus"),
        (&["tso", "--regions", "5"], 2, "unknown flag --regions"),
        (&["tso", "--rate", "fast"], 2, "expected a decimal number"),
        (&["tso", "--duration", "10"], 2, "expected a time"),
        (&["tso", "--addr", "nowhere"], 2, "the port is missing"),
        (&["tso", "--server-pid", "4294967295"], 2, "no process has the number"),
        (&["heartbeat", "--regions", "0"], 2, "--regions must be at least 1"),
        (&["heartbeat", "--regions", "5", "--changes", "1"], 2, "at least 64, not 5"),
        (&["heartbeat", "--batch", "300", "--regions", "1000"], 2, "at least 19200, not 1000"),
        (&["everything"], 2, "unknown command"),
        (&["tso", "--addr", "127.0.0.1:1", "--timeout", "200ms"], 6, "no PD can be reached at 127.0.0.1:1"),
    ] {
        let output = command(words).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{words:?}: {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{words:?}: {stderr}");
        assert!(stderr.contains(what), "{words:?}: {stderr}");
    }
}
