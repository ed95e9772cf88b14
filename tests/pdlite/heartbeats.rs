//! RegionHeartbeats: as if each region had come in a call of its own, within a message's limits, and durable.

use grpcio::RpcStatusCode;
use pd_lite::proto::pd::RegionMeta;
use pd_lite::proto::pdlite::RegionHeartbeatsRequest;
use pd_lite::proto::pdlite_methods as methods;
use protobuf::Message;

use super::{report, report_all, scan_all};
use crate::support::client::region;
use crate::support::relay::raw;
use crate::support::rng::Rng;
use crate::support::{Client, Launch};

/// Few ids, keys and epochs: every rule is met often.
fn any_region(rng: &mut Rng) -> RegionMeta {
    let mut border = || match rng.below(9) {
        0 => Vec::new(),
        letter => vec![b'a' + u8::try_from(letter).unwrap()],
    };
    let (start, end) = (border(), border());
    region(rng.below(8), &start, &end, 1 + rng.below(4))
}

/// What a RegionHeartbeat of its own ends with.
fn alone(client: &Client, region: &RegionMeta) -> RpcStatusCode {
    client.put(region).map_or_else(|failure| failure.code, |()| RpcStatusCode::OK)
}

#[test]
fn a_batch_ends_as_its_regions_would_alone() {
    let workdirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let durable = || workdirs.iter().map(|dir| Launch::durable(dir.path()).start()).collect::<Vec<_>>();
    for servers in [vec![Launch::in_memory().start(), Launch::in_memory().start()], durable()] {
        let [batched, single] = [servers[0].client(), servers[1].client()];
        let mut rng = Rng::new(4);
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..30 {
            let regions: Vec<_> = (0..rng.below(20)).map(|_| any_region(&mut rng)).collect();
            let verdicts: Vec<_> = report(&batched, &regions).unwrap().into_iter().map(|(code, _)| code).collect();
            let expected: Vec<_> = regions.iter().map(|region| alone(&single, region)).collect();
            assert_eq!(verdicts, expected, "{regions:#?}");
            assert_eq!(scan_all(&batched), scan_all(&single));
            verdicts.into_iter().for_each(|code| *seen.entry(i32::from(code)).or_insert(0) += 1);
        }
        assert_eq!(seen.len(), 3, "taken in, invalid and against the catalog: {seen:?}");
    }
}

#[test]
fn a_verdict_says_what_the_call_would_have_said() {
    let server = Launch::in_memory().start();
    let client = server.client();
    client.put(&region(1, b"d", b"m", 5)).unwrap();
    let regions = [
        region(0, b"", b"", 1),
        region(1, b"d", b"m", 4),
        region(2, b"a", b"e", 1),
        region(3, b"z", b"a", 1),
        region(4, &[b'z'; 4097], b"", 1),
        region(1, b"d", b"m", 5),
    ];
    let verdicts = report(&client, &regions).unwrap();
    for (region, (code, message)) in regions.iter().zip(&verdicts[..5]) {
        let failure = client.put(region).unwrap_err();
        assert_eq!((&failure.code, &failure.message), (code, message));
    }
    assert_eq!(verdicts[5], (RpcStatusCode::OK, String::new()));
    server.stop();
}

#[test]
fn what_a_batch_acknowledged_survives_a_kill_and_what_it_refused_is_not_there() {
    let workdir = tempfile::tempdir().unwrap();
    let launch = Launch::durable(workdir.path());
    let mut server = launch.start();
    let mut expected: Vec<RegionMeta> = Vec::new();
    for round in 1..=5 {
        let client = server.client();
        // The new ones of this round, the old ones with a higher epoch, and at each place one that cannot be.
        let key = |id: u64| format!("{id:06}").into_bytes();
        expected = (1..=round * 150).map(|id| region(id, &key(id), &key(id + 1), round)).collect();
        for (chunk, good) in (0..).zip(expected.chunks(100)) {
            let bad = (0..).zip(good).map(|(at, good)| RegionMeta { id: 1_000_000 + 100 * chunk + at, ..good.clone() });
            let regions: Vec<_> = good.iter().cloned().zip(bad).flat_map(|(good, bad)| [good, bad]).collect();
            for (at, (code, message)) in report(&client, &regions).unwrap().into_iter().enumerate() {
                let right = if at % 2 == 0 { RpcStatusCode::OK } else { RpcStatusCode::FAILED_PRECONDITION };
                assert_eq!(code, right, "{message}");
            }
        }
        server.kill();
        server = launch.start();
        assert_eq!(scan_all(&server.client()), expected);
    }
    report_all(&server.client(), &expected);
    server.stop();
}

#[test]
fn a_batch_has_at_most_as_many_bytes_as_any_message() {
    let server = Launch::in_memory().start();
    let client = server.client();
    let mut request = RegionHeartbeatsRequest::new();
    let key = |id: u64| format!("{id:06}").into_bytes();
    request.regions = (1..=2000).map(|id| region(id, &key(id), &key(id + 1), 1)).collect();
    while request.compute_size() > 65_536 {
        request.regions.pop();
    }
    // What is left goes into a key; a length that takes a byte more takes it from the key.
    while request.compute_size() < 65_536 {
        request.regions[0].start_key.insert(0, b'0');
    }
    assert_eq!(request.compute_size(), 65_536);
    let answer = client.call(&methods::REGION_HEARTBEATS, &request).unwrap();
    assert!(answer.verdicts.iter().all(|verdict| verdict.code == 0));
    request.regions[0].start_key.push(b'0');
    let failure = client.call(&methods::REGION_HEARTBEATS, &request).unwrap_err();
    assert_eq!(failure.code, RpcStatusCode::RESOURCE_EXHAUSTED);
    server.stop();
}

#[test]
fn the_longest_list_of_verdicts_reaches_a_client_with_grpcs_usual_limit() {
    // The smallest regions there are, as many as a call may have, none of which can be taken in.
    let server = Launch::in_memory().args(["--max-request-bytes", "4194304"]).start();
    let client = server.client();
    client.put(&region(1 << 60, &[0; 4096], &[0xff; 4096], 1)).unwrap();
    let tiny = [RegionMeta { id: 1, ..Default::default() }, RegionMeta::new()];
    for region in &tiny {
        let verdicts = report(&client, &vec![region.clone(); 1 << 20]).unwrap();
        assert!(verdicts.iter().all(|(code, text)| *code != RpcStatusCode::OK && text.is_empty()));
    }
    let failure = report(&client, &vec![RegionMeta::new(); (1 << 20) + 1]).unwrap_err();
    assert_eq!(failure.code, RpcStatusCode::INVALID_ARGUMENT, "{failure:?}");
    // As many as fit into a message of the usual length, each with a text.
    let usual = report(&client, &vec![tiny[0].clone(); 65_536 / 4]).unwrap();
    assert!(usual.iter().all(|(code, text)| *code == RpcStatusCode::FAILED_PRECONDITION && !text.is_empty()));
    server.stop();
}

#[test]
fn a_batch_that_is_not_protobuf_is_internal_and_an_empty_one_is_nothing() {
    let server = Launch::in_memory().start();
    let client = server.client();
    assert_eq!(report(&client, &[]).unwrap(), []);
    let method = raw("/pdlite.v1.PdLite/RegionHeartbeats");
    // A field without a number, a field without a value, a region whose id does not end.
    for body in [&b"\xff\xff\xff\xff"[..], b"\x08", b"\x0a\x02\x08\xff"] {
        assert_eq!(client.call(&method, &body.to_vec()).unwrap_err().code, RpcStatusCode::INTERNAL, "{body:x?}");
    }
    let unknown = raw("/pdlite.v1.PdLite/Nothing");
    assert_eq!(client.call(&unknown, &Vec::new()).unwrap_err().code, RpcStatusCode::UNIMPLEMENTED);
    server.stop();
}
