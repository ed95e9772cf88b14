//! Many regions in one call: the same verdicts and the same catalog as by calls of their own.

use proptest::prelude::*;

use super::durable::run;
use super::*;
use crate::core::RegionId;
use crate::service::Code;
use crate::storage::tests::faults::{EIO, ENOSPC};
use crate::storage::writer::QUEUE_MAX;

type Verdicts = Vec<(u32, String)>;

fn batch(heartbeats: &[pb::RegionHeartbeatRequest]) -> pdlite::RegionHeartbeatsRequest {
    let regions = heartbeats.iter().map(|heartbeat| heartbeat.region.clone().unwrap()).collect();
    pdlite::RegionHeartbeatsRequest { regions, ..Default::default() }
}

fn verdicts(answer: pdlite::RegionHeartbeatsResponse) -> Verdicts {
    answer.verdicts.into_iter().map(|verdict| (verdict.code, verdict.message)).collect()
}

fn at_once(pd: &Pd, heartbeats: &[pb::RegionHeartbeatRequest]) -> Verdicts {
    verdicts(wait(pd.region_heartbeats(&batch(heartbeats))).unwrap())
}

/// What calls of their own end with, one after the other.
fn one_by_one(pd: &Pd, heartbeats: &[pb::RegionHeartbeatRequest]) -> Verdicts {
    let alone = |heartbeat| match wait(pd.region_heartbeat(heartbeat)) {
        Ok(answer) => {
            assert!(answer.accepted);
            (0, String::new())
        }
        Err(error) => (error.code().into(), error.to_string()),
    };
    heartbeats.iter().map(alone).collect()
}

fn catalog(state: &State) -> Vec<pb::RegionMeta> {
    let cluster = state.cluster.lock().unwrap();
    cluster.check_invariants();
    assert!((0..10).all(|id| !cluster.is_being_edited(RegionId(id))));
    cluster.regions_from(RegionId(0)).map(pb::RegionMeta::from).collect()
}

/// Few ids, keys and epochs, so that every rule is met: limits, stale, unchanged, changed, overlapping, the same id twice.
fn any_heartbeat() -> impl Strategy<Value = pb::RegionHeartbeatRequest> {
    let key = || prop_oneof![2 => Just(String::new()), 8 => (0..8_u8).prop_map(|key| char::from(b'a' + key).into())];
    let peer_count = prop_oneof![9 => 0..3_u64, 1 => Just(65_u64)];
    (0..7_u64, key(), key(), (1..4_u64, 1..3_u64), peer_count).prop_map(|(id, start, end, epoch, peer_count)| {
        let mut heartbeat = heartbeat(id, &start, &end, epoch);
        heartbeat.region.as_mut().unwrap().peers =
            peers(&(0..peer_count).map(|peer| (peer, 10 + peer)).collect::<Vec<_>>());
        heartbeat
    })
}

/// Reports the same in both ways, in several calls, the last one twice. Returns both ways' verdicts.
fn in_both_ways(
    batched: (&Pd, &State),
    alone: (&Pd, &State),
    calls: &[Vec<pb::RegionHeartbeatRequest>],
) -> (Vec<Verdicts>, Vec<Verdicts>) {
    let both = calls.iter().chain(calls.last()).map(|heartbeats| {
        let both = (at_once(batched.0, heartbeats), one_by_one(alone.0, heartbeats));
        assert_eq!(catalog(batched.1), catalog(alone.1));
        both
    });
    both.unzip()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_batch_is_what_its_regions_alone_would_be_in_memory(
        calls in prop::collection::vec(prop::collection::vec(any_heartbeat(), 0..40), 1..4),
    ) {
        let states = [state(Limits::default()), state(Limits::default())];
        let [batched, alone] = states.clone().map(|state| Pd::in_memory(state, RequestLimits::default()));
        let (batched, alone) = in_both_ways((&batched, &states[0]), (&alone, &states[1]), &calls);
        prop_assert_eq!(batched, alone);
    }
}

proptest! {
    // Each case syncs some dozen times.
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_batch_is_what_its_regions_alone_would_be_on_disk(
        calls in prop::collection::vec(prop::collection::vec(any_heartbeat(), 0..40), 1..4),
    ) {
        let [batched, alone] = [run(), run()];
        let (at_once, one_by_one) = in_both_ways((&batched.pd, &batched.state), (&alone.pd, &alone.state), &calls);
        // The text of an overlap has the other region's range as it is when the text is made.
        let codes = |verdicts: Vec<Verdicts>| verdicts.concat().iter().map(|(code, _)| *code).collect::<Vec<_>>();
        prop_assert_eq!(codes(at_once), codes(one_by_one));
        let kept = catalog(&batched.state);
        let found = batched.stop_and_read();
        prop_assert_eq!(found.regions.iter().map(pb::RegionMeta::from).collect::<Vec<_>>(), kept);
    }
}

/// Region `id`, with a range of its own.
fn own_range(id: u64, version: u64) -> pb::RegionHeartbeatRequest {
    heartbeat(id, &format!("{id:06}"), &format!("{id:06}~"), (version, 1))
}

#[test]
fn a_batch_of_many_slices_keeps_the_places_of_its_verdicts() {
    let running = run();
    let before: Vec<_> = (1..=1000).map(|id| own_range(id, 2)).collect();
    assert!(at_once(&running.pd, &before).iter().all(|(code, _)| *code == 0));
    // Of three: one unchanged, one stale, one changed; and a few that no writer ever sees.
    let mut again: Vec<_> = (1..=1000).map(|id| own_range(id, 1 + (id + 1) % 3)).collect();
    again[500] = own_range(0, 1);
    again[900] = heartbeat(901, "z", "a", (9, 9));
    let verdicts = at_once(&running.pd, &again);
    for (at, (code, message)) in verdicts.iter().enumerate() {
        let expected = match at {
            500 | 900 => u32::from(Code::InvalidArgument),
            _ if (at + 2) % 3 == 0 => Code::FailedPrecondition.into(),
            _ => 0,
        };
        assert_eq!(*code, expected, "{at}: {message}");
        assert_eq!(message.is_empty(), *code == 0);
    }
    assert_eq!(verdicts[2].1, "", "changed");
    assert_eq!(lookup(&running.pd, b"000003").unwrap().epoch_version, 2);
    assert_eq!(verdicts[1].1, "region 2: epoch 1/1 is older than 2/1, which is known already");
}

#[test]
fn what_needs_no_record_makes_no_call_wait_for_the_disk() {
    let running = run();
    at_once(&running.pd, &[own_range(1, 5), own_range(2, 5)]);
    let gate = running.close_gate();
    let stuck = running.pd.region_heartbeats(&batch(&[own_range(3, 1), own_range(1, 5)]));
    gate.reached.recv().unwrap();
    assert!(matches!(stuck, Ok(Reply::Later(_))));
    let settled = now(running.pd.region_heartbeats(&batch(&[own_range(1, 5), own_range(2, 4)]))).unwrap();
    assert_eq!(verdicts(settled).iter().map(|(code, _)| *code).collect::<Vec<_>>(), [0, 9]);
    assert_eq!(now(running.pd.region_heartbeats(&batch(&[]))).unwrap().verdicts.len(), 0);
    assert_eq!(lookup(&running.pd, b"000003"), None, "not durable, so not visible");
    drop(gate);
    assert_eq!(verdicts(wait(stuck).unwrap()), vec![(0, String::new()); 2]);
    assert_eq!(lookup(&running.pd, b"000003").unwrap().id, 3);
}

#[test]
fn a_region_behind_its_own_change_is_judged_by_the_writer() {
    let running = run();
    at_once(&running.pd, &[heartbeat(1, "a", "m", (1, 1))]);
    let gate = running.close_gate();
    let split = running.pd.region_heartbeats(&batch(&[
        heartbeat(1, "a", "f", (2, 1)),
        // Unchanged and stale only as long as the first one is not taken in.
        heartbeat(1, "a", "m", (1, 1)),
        heartbeat(2, "f", "m", (2, 1)),
        heartbeat(1, "a", "f", (2, 1)),
    ]));
    drop(gate);
    let codes: Vec<u32> = verdicts(wait(split).unwrap()).iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [0, 9, 0, 0]);
    assert_eq!(catalog(&running.state).len(), 2);
}

#[test]
fn a_queue_that_gets_full_refuses_the_regions_that_met_it_full() {
    let running = run();
    at_once(&running.pd, &[own_range(1, 1)]);
    let gate = running.close_gate();
    let stuck = running.pd.region_heartbeats(&batch(&[own_range(1, 2)]));
    gate.reached.recv().unwrap();
    let last = 1 + u64::try_from(QUEUE_MAX).unwrap() + 500;
    let mut many: Vec<_> = (2..=last).map(|id| own_range(id, 1)).collect();
    // Needs no room in the queue.
    many.push(own_range(9_999_999, 1));
    many.last_mut().unwrap().region.as_mut().unwrap().id = 0;
    let answer = running.pd.region_heartbeats(&batch(&many));
    drop(gate);
    assert_eq!(verdicts(wait(stuck).unwrap())[0].0, 0);
    let codes: Vec<u32> = verdicts(wait(answer).unwrap()).iter().map(|(code, _)| *code).collect();
    let expected = [vec![0; QUEUE_MAX], vec![Code::ResourceExhausted.into(); 500], vec![Code::InvalidArgument.into()]];
    assert!(codes == expected.concat());
    let kept = catalog(&running.state);
    assert_eq!(kept.len(), 1 + QUEUE_MAX);
    assert!(kept.iter().map(|region| region.id).eq(1..last - 499));
    assert_eq!(at_once(&running.pd, &many[QUEUE_MAX..QUEUE_MAX + 1]), [(0, String::new())], "there is room again");
}

#[test]
fn a_disk_that_fails_is_told_by_the_verdicts_of_what_it_met() {
    let running = run();
    at_once(&running.pd, &[own_range(1, 1)]);
    running.fail_writes(ENOSPC);
    let codes = |verdicts: Verdicts| verdicts.iter().map(|(code, _)| *code).collect::<Vec<_>>();
    let batch = [own_range(1, 1), own_range(2, 1), own_range(0, 1), own_range(1, 0)];
    assert_eq!(codes(at_once(&running.pd, &batch)), [0, 8, 3, 9]);
    running.fail_writes(EIO);
    assert_eq!(codes(at_once(&running.pd, &batch)), [0, 13, 3, 9]);
    running.fatal.recv().unwrap();
    assert_eq!(codes(at_once(&running.pd, &batch)), [0, 14, 3, 9], "the queue is closed");
    assert!(running.pd.stop().is_err());
}

#[test]
fn a_call_has_at_most_as_many_regions_as_verdicts_fit_into_an_answer() {
    let pd = in_memory();
    let most = pdlite::RegionHeartbeatsRequest { regions: vec![pb::RegionMeta::new(); 1 << 20], ..Default::default() };
    let answer = now(pd.region_heartbeats(&most)).unwrap();
    assert_eq!(answer.verdicts.len(), 1 << 20);
    assert!(answer.verdicts.iter().all(|verdict| verdict.code == 3 && verdict.message.is_empty()));
    let more =
        pdlite::RegionHeartbeatsRequest { regions: vec![pb::RegionMeta::new(); (1 << 20) + 1], ..Default::default() };
    let refused = Error::TooManyRegions { regions: (1 << 20) + 1, max: 1 << 20 };
    assert_eq!(now(pd.region_heartbeats(&more)).map(drop), Err(refused));
}

#[test]
fn a_lock_that_saw_a_panic_breaks_every_region_of_a_batch() {
    let state = state(Limits::default());
    let pd = Pd::in_memory(Arc::clone(&state), RequestLimits::default());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _half_done = state.cluster.lock();
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    let answer = now(pd.region_heartbeats(&batch(&[own_range(1, 1), own_range(0, 1)]))).unwrap();
    assert_eq!(answer.verdicts.iter().map(|verdict| verdict.code).collect::<Vec<_>>(), [14, 3]);
    assert_eq!(now(pd.region_heartbeats(&batch(&[]))).map(drop), Err(Error::Broken));
}
