//! A PD and three stores: leaders move until they are even, and an outage of the PD heals.

use std::thread;
use std::time::Duration;

use pd_lite::proto::pdlite::GetStoresRequest;
use pd_lite::proto::pdlite_methods;

use super::adapting::eventually;
use super::serving::{Cluster, region, regions};

#[test]
fn uneven_leaders_are_moved_until_they_are_even_and_everybody_agrees() {
    let cluster = Cluster::start(&regions(6, 1));
    cluster.wait_until_even();
    assert_eq!(cluster.agreed(), Some([2, 2, 2]));
    let terms: Vec<u64> = cluster.leads(1).values().map(|(term, _, _)| *term).collect();
    assert!(terms.contains(&2), "transfers were carried out: {terms:?}");
}

#[test]
fn the_leaders_of_a_configuration_are_the_first_ones_and_what_is_even_stays() {
    let regions = [region(1, "", "b", 2), region(2, "b", "c", 3), region(3, "c", "", 0)];
    let cluster = Cluster::start(&regions);
    let client = cluster.client();
    eventually("the PD knows all stores", || {
        let stores = client.call(&pdlite_methods::GET_STORES, &GetStoresRequest::new()).unwrap().stores;
        let numbers: Vec<_> = stores.iter().map(|store| (store.store_id, store.region_num, store.leader_num)).collect();
        numbers == [(1, 3, 1), (2, 3, 1), (3, 3, 1)]
    });
    cluster.wait_until_even();
    assert_eq!(cluster.leads(1), [(1, (1, 2, 0)), (2, (1, 3, 0)), (3, (1, 1, 0))].into(), "nothing had to move");
}

#[test]
fn a_pd_that_comes_back_has_everything_again_and_leaders_move_on() {
    let mut cluster = Cluster::start(&regions(3, 0));
    cluster.wait_until_even();
    cluster.take_pd().kill();
    // Its workdir is lost as well.
    std::fs::remove_dir_all(cluster.config().with_file_name("pd")).unwrap();
    for store in 1..=3 {
        cluster.take_store(store).stop();
        cluster.start_pd();
        cluster.start_store(store);
        cluster.take_pd().kill();
    }
    eventually("store 3 tells that the PD is gone", || {
        cluster.store(3).stderr_so_far().contains("WARN  pd_lite::serve::pd_line] store 3: ")
    });
    cluster.start_pd();
    eventually("store 3 tells that the PD is back", || {
        cluster.store(3).stderr_so_far().contains("store 3: the PD answers again")
    });
    cluster.wait_until_even();
    assert_eq!(cluster.agreed(), Some([1, 1, 1]));
}

#[test]
fn a_pd_that_hangs_for_longer_than_a_call_may_take_is_no_end() {
    let mut cluster = Cluster::new(&regions(6, 1));
    cluster.start_pd();
    cluster.start_store(1);
    let client = cluster.client();
    eventually("the PD knows a region", || client.lookup(b"a").unwrap().is_some());
    // Nobody is there to take a lead: they are uneven when the PD hangs.
    cluster.pd().signal("STOP");
    // Longer than --pd-timeout; a shorter while would only be an easier test.
    thread::sleep(Duration::from_millis(1500));
    eventually("a call has failed", || cluster.store(1).stderr_so_far().contains("Heartbeat: "));
    assert!(cluster.leads(1).values().all(|(_, leader, _)| *leader == 1), "leaders are uneven");
    cluster.pd().signal("CONT");
    (2..=3).for_each(|store| cluster.start_store(store));
    cluster.wait_until_even();
    assert_eq!(cluster.agreed(), Some([2, 2, 2]));
}

#[test]
fn a_store_that_is_down_keeps_its_leaders_and_the_others_go_on() {
    let mut cluster = Cluster::start(&regions(6, 3));
    cluster.wait_until_even();
    cluster.take_store(3).kill();
    let leads = cluster.leads(1);
    // In store 3's name: it has no leaders, so store 1 is to give it one.
    let client = cluster.client();
    eventually("store 1 offers a lead", || {
        client.store(3, 6, 0).unwrap();
        cluster.leads(1).values().any(|(_, _, offered_to)| *offered_to == 3)
    });
    let after = cluster.leads(1);
    // The offer binds, so nothing more moves: that is told once.
    eventually("store 1 tells why leaders stay uneven", || {
        cluster.store(1).stderr_so_far().contains("store 1: store 3 has not answered the offer of region ")
    });
    assert!(leads.iter().all(|(region, (term, leader, _))| (after[region].0, after[region].1) == (*term, *leader)));
    cluster.start_store(3);
    cluster.wait_until_even();
    assert_eq!(cluster.agreed(), Some([2, 2, 2]));
}
