//! A transfer during which a process is killed, and processes that are killed at any moment: everything heals, and no term of
//! a region ever has two leaders.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use super::adapting::eventually;
use super::serving::{Cluster, regions};
use crate::support::rng::Rng;

/// Freezes store 2, and makes store 1, which has all leaders, offer a lead to somebody; returns the region that store 2 is
/// offered, durably, and cannot take.
fn offer_to_frozen(cluster: &mut Cluster) -> u64 {
    cluster.start_pd();
    cluster.start_store(2);
    cluster.store(2).signal("STOP");
    cluster.start_store(1);
    let offered = |cluster: &Cluster| {
        let leads = cluster.leads(1);
        leads.into_iter().find(|(_, (_, _, offered_to))| *offered_to == 2).map(|(region, _)| region)
    };
    // Store 2 has not reported itself yet: the test does it, with no leaders.
    let client = cluster.client();
    eventually("store 1 offers a lead to store 2", || {
        client.store(2, 2, 0).unwrap();
        offered(cluster).is_some()
    });
    offered(cluster).unwrap()
}

fn heals(mut cluster: Cluster) {
    cluster.start_store(3);
    cluster.wait_until_even();
    assert_eq!(cluster.agreed(), Some([1, 1, 1]));
}

#[test]
fn the_source_is_killed_before_its_offer_arrives() {
    let mut cluster = Cluster::new(&regions(3, 1));
    let region = offer_to_frozen(&mut cluster);
    cluster.take_store(1).kill();
    assert_eq!(cluster.leads(1)[&region], (1, 1, 2), "the offer is on its disk");
    cluster.start_store(1);
    cluster.store(2).signal("CONT");
    eventually("store 2 takes the lead", || cluster.leads(2).get(&region) == Some(&(2, 2, 0)));
    heals(cluster);
}

#[test]
fn the_target_is_killed_before_it_takes_the_lead() {
    let mut cluster = Cluster::new(&regions(3, 1));
    let region = offer_to_frozen(&mut cluster);
    cluster.take_store(2).kill();
    assert_eq!(cluster.leads(1)[&region], (1, 1, 2), "the offer stands");
    cluster.start_store(2);
    eventually("store 2 takes the lead", || cluster.leads(2).get(&region) == Some(&(2, 2, 0)));
    heals(cluster);
}

#[test]
fn the_source_is_killed_before_it_hears_that_the_lead_was_taken() {
    let mut cluster = Cluster::new(&regions(3, 1));
    let region = offer_to_frozen(&mut cluster);
    // One of the two runs at a time, so store 2 takes the lead from its socket, and its answer is never read.
    let taken = |cluster: &Cluster| cluster.leads(2).get(&region) == Some(&(2, 2, 0));
    eventually("store 2 takes the lead", || {
        cluster.store(1).signal("CONT");
        thread::sleep(Duration::from_millis(50));
        cluster.store(1).signal("STOP");
        cluster.store(2).signal("CONT");
        thread::sleep(Duration::from_millis(50));
        cluster.store(2).signal("STOP");
        taken(&cluster)
    });
    assert_eq!(cluster.leads(1)[&region], (1, 1, 2), "both lead, in different terms");
    cluster.take_store(1).kill();
    cluster.store(2).signal("CONT");
    cluster.start_store(1);
    eventually("store 1 hears of it", || cluster.leads(1).get(&region).is_some_and(|lead| *lead >= (2, 2, 0)));
    heals(cluster);
}

#[test]
fn processes_that_are_killed_at_any_moment_heal_and_no_term_has_two_leaders() {
    let mut cluster = Cluster::start(&regions(6, 1));
    let mut led: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let mut rng = Rng::new(5);
    for _ in 0..40 {
        match rng.below(4) {
            0 => {
                cluster.take_pd().kill();
                cluster.start_pd();
            }
            store => {
                cluster.take_store(store).kill();
                cluster.start_store(store);
            }
        }
        // In some store's name: it has so many leaders that it is to give one away at once, or none.
        let stores = [1 + rng.below(3), 1 + rng.below(3)];
        let _ = cluster.client().store(stores[0], 6, 9 * rng.below(2));
        for store in 1..=3 {
            for (region, (term, leader, _)) in cluster.leads(store) {
                let first = *led.entry((region, term)).or_insert(leader);
                assert_eq!(first, leader, "two leaders of region {region} in term {term}");
            }
        }
    }
    assert!(led.keys().any(|(_, term)| *term > 1), "leads moved between the kills: {led:?}");
    cluster.wait_until_even();
    assert_eq!(cluster.agreed(), Some([2, 2, 2]));
}
