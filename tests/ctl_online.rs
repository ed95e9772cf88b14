//! `pd-lite ctl` against a running PD: what each command prints, where it goes, and how it ends.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use pd_lite::proto::{pdlite, pdlite_methods};
use serde_json::{Value, json};

use crate::support::client::region;
use crate::support::relay::{PDLITE, Reply};
use crate::support::{Launch, Relay, Server};

/// Nothing was found, or the PD refuses.
const EXIT_REFUSED: i32 = 1;
/// A wrong command line.
const EXIT_USAGE: i32 = 2;
/// No PD answered in time.
const EXIT_NO_ANSWER: i32 = 6;

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// `pd-lite ctl WORDS`, without an address in the environment.
fn ctl(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pd-lite"));
    command.env_remove("PD_ADDR").arg("ctl").args(words);
    command
}

/// What `pd-lite ctl WORDS` prints about the PD at `addr`. A busy machine gets all the time it needs.
fn printed(addr: &str, words: &[&str]) -> String {
    let ended = run(ctl(words).args(["--addr", addr, "--timeout", "60s"]));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{words:?}");
    ended.stdout
}

fn printed_json(addr: &str, words: &[&str]) -> Value {
    let text = printed(addr, &[words, &["-o", "json"]].concat());
    assert_eq!(text.matches('\n').count(), 1, "one line: {text}");
    serde_json::from_str(&text).unwrap()
}

/// The one line on stderr with which `pd-lite ctl WORDS` fails; nothing is on stdout.
fn refused(addr: &str, words: &[&str], code: i32) -> String {
    let ended = run(ctl(words).args(["--addr", addr, "--timeout", "60s"]));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{words:?}: {ended:?}");
    let line = ended.stderr.strip_prefix("error: ").and_then(|line| line.strip_suffix('\n'));
    let line = line.unwrap_or_else(|| panic!("{words:?}: {ended:?}"));
    assert!(!line.contains('\n'), "{line}");
    line.to_owned()
}

/// A PD with the regions 1 [,m), 20 [m\0,t) and 3 [t,): a gap between the first two.
fn pd() -> Server {
    let server = Launch::in_memory().start();
    let client = server.client();
    client.put(&region(1, b"", b"m", 1)).unwrap();
    client.put(&region(20, b"m\0", b"t", 12)).unwrap();
    client.put(&region(3, b"t", b"", 1)).unwrap();
    server
}

const ALL_REGIONS: &str = "\
ID  START     END  EPOCH  PEERS
1   -         m    1/1    1:11,2:12,3:13
20  hex:6d00  t    12/1   1:201,2:202,3:203
3   t         -    1/1    1:31,2:32,3:33
";

fn region_json(id: u64, start_key: &str, end_key: &str, version: u64) -> Value {
    let peers: Vec<Value> = (1..=3).map(|store| json!({"store_id": store, "peer_id": id * 10 + store})).collect();
    json!({"id": id, "start_key": start_key, "end_key": end_key, "epoch_version": version, "epoch_conf_version": 1, "peers": peers})
}

#[test]
fn regions_are_listed_in_key_order_by_range_and_with_a_limit() {
    let pd = pd();
    assert_eq!(printed(pd.addr(), &["region", "list"]), ALL_REGIONS);
    assert_eq!(printed(pd.addr(), &["region", "scan", "--start", "-", "--end="]), ALL_REGIONS);
    let lines = |words: &[&str]| {
        printed(pd.addr(), words)
            .lines()
            .skip(1)
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(&["region", "list", "--limit", "2"]), ["1", "20"]);
    assert_eq!(lines(&["region", "scan", "--start", "n", "--end", "t"]), ["20"]);
    assert_eq!(lines(&["region", "scan", "--start", "n", "--end", "hex:7400"]), ["20", "3"]);
    assert_eq!(lines(&["region", "scan", "--start", "m", "--end", "n"]), ["20"]);
    assert_eq!(lines(&["region", "scan", "--hex", "--start", "6d", "--end", "6d00"]), [""; 0]);
    assert_eq!(
        printed_json(pd.addr(), &["region", "list"]),
        json!({"regions": [region_json(1, "", "6d", 1), region_json(20, "6d00", "74", 12), region_json(3, "74", "", 1)]})
    );
    let hex = printed(pd.addr(), &["region", "scan", "--hex", "--start", "hex:7a"]);
    assert_eq!(hex, "ID  START   END  EPOCH  PEERS\n3   hex:74  -    1/1    1:31,2:32,3:33\n");
}

#[test]
fn a_catalog_of_several_answers_is_listed_whole() {
    const COUNT: u64 = 5000;
    let pd = Launch::in_memory().start();
    let client = pd_lite::client::Client::connect(pd.addr()).unwrap();
    let key = |number: u64| if number == 0 || number == COUNT { vec![] } else { number.to_be_bytes().to_vec() };
    let regions: Vec<pd_lite::core::Region> =
        (0..COUNT).map(|number| (&region(number + 1, &key(number), &key(number + 1), 1)).into()).collect();
    assert!(client.region_heartbeats(&regions).iter().all(Result::is_ok));
    let listed = printed(pd.addr(), &["region", "list"]);
    let ids = listed.lines().skip(1).map(|line| line.split(' ').next().unwrap().parse::<u64>().unwrap());
    assert!(ids.eq(1..=COUNT));

    // A reader that has seen enough is no error.
    let mut head = ctl(&["region", "list", "--addr", pd.addr(), "--timeout", "60s"]);
    let mut head = head.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(head.stdout.take());
    let ended = head.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr.len()), (Some(0), 0));
}

#[test]
fn a_region_is_found_by_its_key_in_any_spelling() {
    let pd = pd();
    let found = |words: &[&str]| {
        let text = printed(pd.addr(), &[&["region", "get"], words].concat());
        text.lines().nth(1).unwrap().split(' ').next().unwrap().to_owned()
    };
    for words in [&["a"][..], &["-"], &[""], &["hex:"], &["hex:6c"], &["6c", "--hex"], &["--hex", "6C"]] {
        assert_eq!(found(words), "1", "{words:?}");
    }
    let dashed = run(&mut ctl(&["region", "get", "--addr", pd.addr(), "--timeout", "60s", "--", "-x"]));
    assert!(dashed.stdout.contains("\n1   "), "{dashed:?}");
    for words in [&["n"][..], &["hex:6d00"], &["--hex", "hex:6d00"]] {
        assert_eq!(found(words), "20", "{words:?}");
    }
    assert_eq!(
        printed(pd.addr(), &["region", "get", "zebra"]),
        "ID  START  END  EPOCH  PEERS\n3   t      -    1/1    1:31,2:32,3:33\n"
    );
    assert_eq!(printed_json(pd.addr(), &["region", "get", "n"]), json!({"region": region_json(20, "6d00", "74", 12)}));
    assert_eq!(refused(pd.addr(), &["region", "get", "m"], EXIT_REFUSED), "no region holds the key m");
    assert_eq!(
        refused(pd.addr(), &["region", "get", "--hex", "6d", "-o", "json"], EXIT_REFUSED),
        "no region holds the key hex:6d"
    );
}

#[test]
fn a_region_is_removed_once() {
    let pd = pd();
    assert_eq!(printed(pd.addr(), &["region", "remove", "20"]), "region 20 removed\n");
    assert_eq!(refused(pd.addr(), &["region", "remove", "20"], EXIT_REFUSED), "the PD knows no region 20");
    assert_eq!(printed_json(pd.addr(), &["region", "remove", "3"]), json!({"removed": true}));
    assert_eq!(pd.client().lookup(b"z").unwrap(), None);
    assert_eq!(pd.client().lookup(b"a").unwrap().unwrap().id, 1);
}

#[test]
fn timestamps_and_ids_are_one_value_or_the_first_and_the_last() {
    let pd = Launch::in_memory().start();
    for (command, first) in [("tso", "timestamp"), ("alloc-id", "first_id")] {
        assert_eq!(printed(pd.addr(), &[command]), "1\n");
        assert_eq!(printed(pd.addr(), &[command, "-n", "5"]), "2..6\n");
        assert_eq!(printed_json(pd.addr(), &[command]), json!({first: 7, "count": 1}));
        assert_eq!(printed_json(pd.addr(), &[command, "-n=3"]), json!({first: 8, "count": 3}));
        let line = refused(pd.addr(), &[command, "-n", "2000000"], EXIT_REFUSED);
        assert!(line.contains("INVALID_ARGUMENT"), "{line}");
    }
    let pd = Launch::in_memory().args(["--ts-start", "18446744073709551610"]).start();
    let highest = printed_json(pd.addr(), &["tso", "-n", "6"]);
    assert_eq!(highest, json!({"timestamp": 18_446_744_073_709_551_610_u64, "count": 6}));
}

#[test]
fn status_and_stores_tell_of_the_real_pd() {
    let workdir = tempfile::tempdir().unwrap();
    let pd = Launch::durable(workdir.path()).start();
    let client = pd.client();
    client.put(&region(1, b"", b"", 1)).unwrap();
    client.tso(5).unwrap();
    client.store(7, 12, 3).unwrap();
    let status = printed_json(pd.addr(), &["status"]);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["durability"], "DURABILITY_DISK");
    assert_eq!([&status["regions"], &status["stores"], &status["last_id"], &status["last_timestamp"]], [1, 1, 0, 5]);
    assert_eq!(status["limits"]["request_bytes"], 65536);
    let text = printed(pd.addr(), &["status"]);
    for line in
        ["durability        disk\n", "regions           1\n", "last timestamp    5\n", "max key bytes     4096\n"]
    {
        assert!(text.contains(line), "{line:?} is missing in {text}");
    }
    let mut stores = printed_json(pd.addr(), &["store", "list"]);
    assert!(stores["stores"][0]["age_ms"].take().is_u64());
    let expected =
        json!({"store_id": 7, "region_num": 12, "leader_num": 3, "capacity": 0, "available": 0, "age_ms": null});
    assert_eq!(stores, json!({"stores": [expected]}));
    assert!(printed(pd.addr(), &["store", "list"]).contains("\n7   12       3        0B        0B "));
}

#[test]
fn the_texts_of_status_and_stores_are_what_people_read() {
    let stores = [(1, 120, 40, 1 << 40, 300 << 30, 90_000), (12, 0, 0, 1000, 0, 999)].map(
        |(store_id, region_num, leader_num, capacity, available, age_ms)| pdlite::StoreInfo {
            store_id,
            region_num,
            leader_num,
            capacity,
            available,
            age_ms,
            ..Default::default()
        },
    );
    let stores = pdlite::GetStoresResponse { stores: stores.to_vec(), ..Default::default() };
    let limits = pdlite::ServerLimits {
        request_bytes: 65536,
        key_bytes: 4096,
        peers: 64,
        count: 1 << 20,
        scan_regions: 10000,
        ..Default::default()
    };
    let status = pdlite::GetStatusResponse {
        version: "0.1.0\u{1b}".into(),
        regions: 3,
        stores: 2,
        last_id: 9,
        last_timestamp: u64::MAX,
        durability: pdlite::Durability::DURABILITY_NO_SPACE.into(),
        limits: Some(limits).into(),
        ..Default::default()
    };
    let pd = Relay::start("127.0.0.1:0", &PDLITE, None, move |method, _| {
        if method == pdlite_methods::GET_STORES.name { Reply::message(&stores) } else { Reply::message(&status) }
    });
    assert_eq!(
        printed(pd.addr(), &["store", "list"]),
        "\
ID  REGIONS  LEADERS  CAPACITY  AVAILABLE  AGE
1   120      40       1.0TiB    300.0GiB   1m30s
12  0        0        1000B     0B         999ms
"
    );
    assert_eq!(
        printed(pd.addr(), &["status"]),
        "\
version           0.1.0\\u{1b}
durability        disk, which has no space: changes are refused until it has
regions           3
stores            2
last id           9
last timestamp    18446744073709551615
max request bytes 65536
max key bytes     4096
max peers         64
max count         1048576
max scan regions  10000
"
    );
}

#[test]
fn a_pd_without_pdlite_answers_what_it_can() {
    let pd = Launch::in_memory().start();
    let go = Relay::go_pd(pd.addr());
    pd.client().put(&region(1, b"", b"m", 1)).unwrap();
    pd.client().put(&region(2, b"m", b"", 1)).unwrap();
    for words in [&["status"][..], &["store", "list"]] {
        let line = refused(go.addr(), words, EXIT_REFUSED);
        assert!(line.contains("does not offer pdlite.v1"), "{line}");
    }
    assert_eq!(printed(go.addr(), &["tso", "-n", "2"]), "1..2\n");
    assert_eq!(printed(go.addr(), &["alloc-id"]), "1\n");
    assert_eq!(printed(go.addr(), &["region", "list"]).lines().count(), 3);
    assert_eq!(printed(go.addr(), &["region", "remove", "1"]), "region 1 removed\n");
    assert!(printed(go.addr(), &["region", "get", "z"]).contains("\n2 "));
    let line = refused(go.addr(), &["region", "list"], EXIT_REFUSED);
    assert!(line.contains("gap"), "{line}");
}

#[test]
fn no_answer_has_an_exit_code_of_its_own() {
    // Bound, and never accepted from: nothing answers, and nobody else gets the port.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let pd = Launch::in_memory().on("127.82.0.1:0").start();
    let gone = pd.addr().to_owned();
    pd.kill();
    for addr in [silent.as_str(), &gone] {
        for words in [
            &["status"][..],
            &["region", "get", "a"],
            &["region", "remove", "1"],
            &["tso"],
            &["alloc-id", "-o", "json"],
        ] {
            let ended = run(ctl(words).args(["--addr", addr, "--timeout", "100ms"]));
            assert_eq!((ended.code, ended.stdout.as_str()), (Some(EXIT_NO_ANSWER), ""), "{words:?}: {ended:?}");
            assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains(addr), "{ended:?}");
            assert_eq!(ended.stderr.matches('\n').count(), 1, "{ended:?}");
        }
    }
}

#[test]
fn the_address_is_the_flag_s_or_the_environment_s() {
    let (one, other) = (Launch::in_memory().start(), Launch::in_memory().start());
    other.client().alloc_id(100).unwrap();
    let alloc = |command: &mut Command| {
        let ended = run(command.args(["--timeout", "60s"]));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        ended.stdout
    };
    assert_eq!(alloc(ctl(&["alloc-id"]).env("PD_ADDR", one.addr())), "1\n");
    assert_eq!(alloc(ctl(&["alloc-id", "--addr", other.addr()]).env("PD_ADDR", one.addr())), "101\n");
    assert_eq!(alloc(ctl(&["alloc-id", "-addr", one.addr()]).env("PD_ADDR", "nonsense")), "2\n");
    let refused = run(ctl(&["tso"]).env("PD_ADDR", "nonsense"));
    assert_eq!(refused.code, Some(EXIT_USAGE));
    assert!(refused.stderr.contains("nonsense") && refused.stderr.contains("HOST:PORT"), "{}", refused.stderr);
    let refused = run(ctl(&["tso"]).env("PD_ADDR", OsStr::from_bytes(b"\xff:1")));
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(EXIT_USAGE), ""), "not the default address");
    assert!(refused.stderr.contains("PD_ADDR"), "{}", refused.stderr);
}

#[test]
fn a_wrong_command_line_is_one_line_and_nothing_is_asked() {
    // Nobody is there: who asks anyway gets another exit code.
    let addr = "127.0.0.1:1";
    for (words, what) in [
        (&["region", "get"][..], "KEY is missing (see pd-lite ctl region get --help)"),
        (&["region", "get", "a", "b"], "unexpected word \"b\" (see pd-lite ctl region get --help)"),
        (&["region", "get", "--hex", "abc"], "invalid value \"abc\" for KEY: expected hexadecimal, two digits a byte"),
        (&["region", "get", "hex:zz"], "invalid value \"hex:zz\" for KEY: expected hexadecimal, two digits a byte"),
        (&["region", "remove"], "ID is missing (see pd-lite ctl region remove --help)"),
        (
            &["region", "remove", "18446744073709551616"],
            "invalid value \"18446744073709551616\" for ID: expected a decimal number from 1 to 18446744073709551615",
        ),
        (
            &["region", "remove", "0"],
            "invalid value \"0\" for ID: expected a decimal number from 1 to 18446744073709551615",
        ),
        (
            &["region", "scan", "--start", "b", "--end", "a"],
            "the end of a range to scan must be above its start, or empty",
        ),
        (&["region", "list", "--start", "a"], "unknown flag --start (see pd-lite ctl region list --help)"),
        (&["tso", "-n", "0"], "invalid value \"0\" for -n: expected a decimal number from 1 to 18446744073709551615"),
        (&["tso", "5"], "unexpected word \"5\" (see pd-lite ctl tso --help)"),
        (&["store", "list", "--hex"], "unknown flag --hex (see pd-lite ctl store list --help)"),
        (&["status", "-o", "yaml"], "invalid value \"yaml\" for -o: expected one of text|json"),
        (
            &["status", "--timeout", "2"],
            "invalid value \"2\" for --timeout: expected a time from 1ms to 1d, as 2s, 500ms or 1m30s",
        ),
    ] {
        assert_eq!(refused(addr, words, EXIT_USAGE), what);
    }
    for (words, what) in [
        (&["frobnicate"][..], "unknown command \"frobnicate\" (see pd-lite ctl --help)"),
        (&["region", "put"], "unknown command \"put\" (see pd-lite ctl region --help)"),
        (&["status", "--addr", "host"], "address \"host\": the port is missing (HOST:PORT)"),
    ] {
        let ended = run(&mut ctl(words));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(EXIT_USAGE), ""), "{words:?}");
        assert_eq!(ended.stderr, format!("error: {what}\n"));
    }
}

#[test]
fn each_command_tells_its_exit_codes_and_that_it_asks_a_pd() {
    for words in [
        &["status"][..],
        &["region", "get"],
        &["region", "list"],
        &["region", "scan"],
        &["region", "remove"],
        &["store", "list"],
        &["tso"],
        &["alloc-id"],
    ] {
        let help = run(ctl(words).arg("--help"));
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
        for what in ["Exit code 0: done; 1: ", "6: no answer in time", "--addr HOST:PORT", "PD_ADDR", "(default: 2s)"] {
            assert!(help.stdout.contains(what), "{words:?}: {what} is missing in {}", help.stdout);
        }
    }
}
