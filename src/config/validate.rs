//! What a configuration must keep to, in the reference's order and words. Not checked, as there: empty addresses, double
//! region ids, overlaps, borders, epochs, and whether a leader is among the peers.

use std::collections::HashSet;

use super::{RaftConfig, Region};

impl RaftConfig {
    /// Checks templates, then stores, then regions.
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), String> {
        for (name, template) in [
            ("store_work_dir_template", &self.store_work_dir_template),
            ("store_docker_work_dir_template", &self.store_docker_work_dir_template),
        ] {
            if !template.trim().is_empty() && !template.contains("{id}") {
                return Err(format!("config: {name} must contain {{id}}"));
            }
        }
        let mut stores = HashSet::new();
        for store in self.stores.iter().flatten() {
            if store.store_id == 0 {
                return Err("config: store_id must be > 0".to_owned());
            }
            if !stores.insert(store.store_id) {
                return Err(format!("config: duplicate store_id {}", store.store_id));
            }
        }
        self.regions.iter().flatten().try_for_each(|region| region.validate(&stores))
    }
}

impl Region {
    fn validate(&self, stores: &HashSet<u64>) -> Result<(), String> {
        let (id, leader) = (self.id, self.leader_store_id);
        if id == 0 {
            return Err("config: region id must be > 0".to_owned());
        }
        if leader != 0 && !stores.contains(&leader) {
            return Err(format!("config: region {id} leader store {leader} missing from stores"));
        }
        for peer in self.peers.iter().flatten() {
            if peer.store_id == 0 || peer.peer_id == 0 {
                return Err(format!("config: region {id} peer requires store_id and peer_id"));
            }
            if !stores.contains(&peer.store_id) {
                return Err(format!("config: region {id} references unknown store {}", peer.store_id));
            }
        }
        Ok(())
    }
}
