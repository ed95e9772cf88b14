//! The other stores, as `--peer` names them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::StoreClient;
use crate::core::StoreId;

/// The connections to the stores of `values`, each `storeID=address`, but to `own`. Of a store that is named twice the last
/// address counts.
///
/// # Errors
///
/// Which value is wrong, and why.
pub fn connect(values: &[String], own: StoreId, timeout: Duration) -> Result<BTreeMap<StoreId, StoreClient>, String> {
    let mut peers = BTreeMap::new();
    for value in values {
        let malformed = || format!("invalid --peer value {value:?} (want storeID=address)");
        let (id, addr) = value.split_once('=').ok_or_else(malformed)?;
        let (id, addr) = (id.trim(), addr.trim());
        let is_number = id.bytes().all(|byte| byte.is_ascii_digit());
        let Some(store) = id.parse().ok().filter(|id| is_number && *id > 0).map(StoreId) else {
            return Err(format!("invalid store id in --peer {value:?}: expected a decimal number above 0"));
        };
        if addr.is_empty() {
            return Err(malformed());
        }
        let client =
            StoreClient::new(addr, timeout).map_err(|error| format!("invalid address in --peer {value:?}: {error}"))?;
        if store != own {
            peers.insert(store, client);
        }
    }
    Ok(peers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected(values: &[&str]) -> Result<Vec<u64>, String> {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        let peers = connect(&values, StoreId(1), Duration::from_secs(2))?;
        Ok(peers.keys().map(|store| store.0).collect())
    }

    #[test]
    fn a_peer_is_a_store_id_and_an_address() {
        assert_eq!(connected(&["1=a:1", "3=a:3", " 2 = b:2 ", "3=[::1]:4"]), Ok(vec![2, 3]), "its own id is skipped");
        for (value, error) in [
            ("two", r#"invalid --peer value "two" (want storeID=address)"#),
            ("2=", r#"invalid --peer value "2=" (want storeID=address)"#),
            ("x=a:1", r#"invalid store id in --peer "x=a:1": expected a decimal number above 0"#),
            ("=a:1", r#"invalid store id in --peer "=a:1": expected a decimal number above 0"#),
            ("+2=a:1", r#"invalid store id in --peer "+2=a:1": expected a decimal number above 0"#),
            ("0=a:1", r#"invalid store id in --peer "0=a:1": expected a decimal number above 0"#),
            ("18446744073709551616=a:1", r#"invalid store id in --peer "18446744073709551616=a:1": expected"#),
            ("2=a", r#"invalid address in --peer "2=a": address "a": the port is missing (HOST:PORT)"#),
            ("1=a", r#"invalid address in --peer "1=a": address "a": the port is missing (HOST:PORT)"#),
        ] {
            let found = connected(&[value]).unwrap_err();
            assert!(found.starts_with(error), "{found}");
        }
    }
}
