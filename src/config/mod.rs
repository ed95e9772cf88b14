//! `raft_config.json`: what a NoKV cluster consists of, in the reference's format and with its rules.
//!
//! Reading is three steps: [`RaftConfig::load`] (bytes, JSON, types), [`RaftConfig::validate`], and the resolution of one
//! value for a [`Scope`].

mod json;
mod read;
mod resolve;
mod validate;

use std::fmt;
use std::io;
use std::path::Path;

use serde::Serialize;

use self::json::{Json, Members, Shape, WrongType};
pub use self::resolve::{Scope, first_not_blank};

/// The longest configuration that is read, in bytes; some 50,000 regions.
const FILE_LEN_MAX: u64 = 16 << 20;

/// The whole file. A list or block that is missing is told apart from an empty one, because it is printed as `null`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RaftConfig {
    /// Used by clients only.
    pub max_retries: i64,
    pub pd: Option<Pd>,
    /// With `{id}` for the store's id; blank: none.
    pub store_work_dir_template: String,
    /// As above, for the docker scope.
    pub store_docker_work_dir_template: String,
    pub stores: Option<Vec<Store>>,
    pub regions: Option<Vec<Region>>,
}

/// The placement driver. Serializes as the reference prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pd {
    pub addr: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub docker_addr: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub work_dir: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub docker_work_dir: String,
}

/// A store. Serializes as the reference prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Store {
    pub store_id: u64,
    pub addr: String,
    pub listen_addr: String,
    pub docker_addr: String,
    pub docker_listen_addr: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub work_dir: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub docker_work_dir: String,
}

/// A region that the cluster starts with. Serializes as the reference prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Region {
    pub id: u64,
    pub start_key: String,
    pub end_key: String,
    pub epoch: Epoch,
    pub peers: Option<Vec<Peer>>,
    /// 0: none.
    pub leader_store_id: u64,
}

/// A region's epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Epoch {
    pub version: u64,
    pub conf_version: u64,
}

/// A replica of a region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Peer {
    pub store_id: u64,
    pub peer_id: u64,
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum LoadError {
    Read {
        source: io::Error,
    },
    /// Not JSON; `reason` says where.
    Syntax {
        reason: String,
    },
    /// A member of a wrong type; `reason` names it.
    Type {
        reason: String,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { source } => source.fmt(f),
            Self::Syntax { reason } | Self::Type { reason } => f.write_str(reason),
        }
    }
}

impl std::error::Error for LoadError {}

impl RaftConfig {
    const SHAPE: Shape = Shape {
        values: &["max_retries", "store_work_dir_template", "store_docker_work_dir_template"],
        objects: &[("pd", &Pd::SHAPE), ("stores", &Store::SHAPE), ("regions", &Region::SHAPE)],
    };

    /// Reads a file. Nothing is validated yet.
    ///
    /// # Errors
    ///
    /// Any [`LoadError`].
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let bytes = read::read_file(path, FILE_LEN_MAX).map_err(|source| LoadError::Read { source })?;
        Self::parse(&bytes)
    }

    /// Reads the content of a file. Reference: unknown members are ignored, names match in any letter case, of a member that
    /// is given twice the last one counts (an object replaces the first one whole), `null` is the default, and nothing may
    /// stand behind the object.
    ///
    /// # Errors
    ///
    /// `Type`, or `Syntax`: no JSON, a known member with a number beyond what a double holds, or one nested more than 127
    /// deep. An unknown member may hold any number and be nested at will.
    pub fn parse(bytes: &[u8]) -> Result<Self, LoadError> {
        let json = Self::SHAPE.read(bytes).map_err(|error| LoadError::Syntax { reason: error.to_string() })?;
        Self::from_json(&json).map_err(|wrong| LoadError::Type { reason: wrong.to_string() })
    }

    fn from_json(json: &Json) -> Result<Self, WrongType> {
        let members = Members::of(json)?;
        Ok(Self {
            max_retries: members.signed("max_retries")?,
            pd: members.optional("pd", Pd::from_json)?,
            store_work_dir_template: members.text("store_work_dir_template")?,
            store_docker_work_dir_template: members.text("store_docker_work_dir_template")?,
            stores: members.list("stores", Store::from_json)?,
            regions: members.list("regions", Region::from_json)?,
        })
    }
}

impl Pd {
    const SHAPE: Shape = Shape { values: &["addr", "docker_addr", "work_dir", "docker_work_dir"], objects: &[] };

    fn from_json(json: &Json) -> Result<Self, WrongType> {
        let members = Members::of(json)?;
        Ok(Self {
            addr: members.text("addr")?,
            docker_addr: members.text("docker_addr")?,
            work_dir: members.text("work_dir")?,
            docker_work_dir: members.text("docker_work_dir")?,
        })
    }
}

impl Store {
    const SHAPE: Shape = Shape {
        values: &[
            "store_id",
            "addr",
            "listen_addr",
            "docker_addr",
            "docker_listen_addr",
            "work_dir",
            "docker_work_dir",
        ],
        objects: &[],
    };

    fn from_json(json: &Json) -> Result<Self, WrongType> {
        let members = Members::of(json)?;
        Ok(Self {
            store_id: members.unsigned("store_id")?,
            addr: members.text("addr")?,
            listen_addr: members.text("listen_addr")?,
            docker_addr: members.text("docker_addr")?,
            docker_listen_addr: members.text("docker_listen_addr")?,
            work_dir: members.text("work_dir")?,
            docker_work_dir: members.text("docker_work_dir")?,
        })
    }
}

impl Region {
    const SHAPE: Shape = Shape {
        values: &["id", "start_key", "end_key", "leader_store_id"],
        objects: &[("epoch", &Epoch::SHAPE), ("peers", &Peer::SHAPE)],
    };

    fn from_json(json: &Json) -> Result<Self, WrongType> {
        let members = Members::of(json)?;
        Ok(Self {
            id: members.unsigned("id")?,
            start_key: members.text("start_key")?,
            end_key: members.text("end_key")?,
            epoch: members.optional("epoch", Epoch::from_json)?.unwrap_or_default(),
            peers: members.list("peers", Peer::from_json)?,
            leader_store_id: members.unsigned("leader_store_id")?,
        })
    }
}

impl Epoch {
    const SHAPE: Shape = Shape { values: &["version", "conf_version"], objects: &[] };

    fn from_json(json: &Json) -> Result<Self, WrongType> {
        let members = Members::of(json)?;
        Ok(Self { version: members.unsigned("version")?, conf_version: members.unsigned("conf_version")? })
    }
}

impl Peer {
    const SHAPE: Shape = Shape { values: &["store_id", "peer_id"], objects: &[] };

    fn from_json(json: &Json) -> Result<Self, WrongType> {
        let members = Members::of(json)?;
        Ok(Self { store_id: members.unsigned("store_id")?, peer_id: members.unsigned("peer_id")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RaftConfig, String> {
        RaftConfig::parse(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_member_has_its_place() {
        let config = parse(
            r#"{"max_retries":-1,"pd":{"addr":"a","docker_addr":"b","work_dir":"c","docker_work_dir":"d"},
            "store_work_dir_template":"e{id}","store_docker_work_dir_template":"f{id}",
            "stores":[{"store_id":18446744073709551615,"addr":"g","listen_addr":"h","docker_addr":"i",
                "docker_listen_addr":"j","work_dir":"k","docker_work_dir":"l"}],
            "regions":[{"id":1,"start_key":"m","end_key":"n","epoch":{"version":2,"conf_version":3},
                "peers":[{"store_id":4,"peer_id":5}],"leader_store_id":6}]}"#,
        );
        let [a, b, c, d, g, h, i, j, k, l, m, n] =
            ["a", "b", "c", "d", "g", "h", "i", "j", "k", "l", "m", "n"].map(String::from);
        assert_eq!(
            config.unwrap(),
            RaftConfig {
                max_retries: -1,
                pd: Some(Pd { addr: a, docker_addr: b, work_dir: c, docker_work_dir: d }),
                store_work_dir_template: "e{id}".into(),
                store_docker_work_dir_template: "f{id}".into(),
                stores: Some(vec![Store {
                    store_id: u64::MAX,
                    addr: g,
                    listen_addr: h,
                    docker_addr: i,
                    docker_listen_addr: j,
                    work_dir: k,
                    docker_work_dir: l,
                }]),
                regions: Some(vec![Region {
                    id: 1,
                    start_key: m,
                    end_key: n,
                    epoch: Epoch { version: 2, conf_version: 3 },
                    peers: Some(vec![Peer { store_id: 4, peer_id: 5 }]),
                    leader_store_id: 6,
                }]),
            }
        );
    }

    #[test]
    fn what_is_missing_or_null_is_the_default() {
        let nulls = r#"{"max_retries":null,"pd":null,"store_work_dir_template":null,"stores":null,"regions":null}"#;
        for text in ["{}", "null", nulls, " {\n} "] {
            assert_eq!(parse(text), Ok(RaftConfig::default()), "{text}");
        }
        let config = parse(r#"{"pd":{},"stores":[null],"regions":[{"epoch":null,"peers":null}]}"#).unwrap();
        assert_eq!(config.pd, Some(Pd::default()));
        assert_eq!(config.stores, Some(vec![Store::default()]));
        assert_eq!(config.regions, Some(vec![Region::default()]));
    }

    #[test]
    fn a_wrong_type_is_named_with_its_place() {
        for (text, reason) in [
            ("[]", "expected an object, found a list"),
            (r#"{"pd":1}"#, "pd: expected an object, found 1"),
            (r#"{"stores":{}}"#, "stores: expected a list, found an object"),
            (r#"{"max_retries":1.5}"#, "max_retries: expected a whole number, found 1.5"),
            (
                r#"{"stores":[{},{"store_id":"1"}]}"#,
                r#"stores[1].store_id: expected a whole number from 0 to 2^64 - 1, found the text "1""#,
            ),
            (
                r#"{"regions":[{"peers":[{"peer_id":-1}]}]}"#,
                "regions[0].peers[0].peer_id: expected a whole number from 0 to 2^64 - 1, found -1",
            ),
            (r#"{"regions":[{"start_key":true}]}"#, "regions[0].start_key: expected text, found true"),
        ] {
            assert_eq!(parse(text), Err(reason.to_owned()), "{text}");
        }
    }

    #[test]
    fn only_plain_whole_numbers_are_ids() {
        for number in ["-1", "-0", "1.0", "1e3", "1.5", "18446744073709551616"] {
            assert!(parse(&format!(r#"{{"stores":[{{"store_id":{number}}}]}}"#)).is_err(), "{number}");
        }
    }

    #[test]
    fn an_unknown_member_may_hold_anything_that_is_json() {
        let deep = format!("{}{}", "[".repeat(1 << 20), "]".repeat(1 << 20));
        for value in ["1e999", r#"{"pd":1e999,"a":[{}]}"#, &deep] {
            let config = parse(&format!(r#"{{"zzz":{value},"pd":{{"addr":"x","zzz":{value}}},"epoch":{value}}}"#));
            assert_eq!(config.unwrap().pd.unwrap().addr, "x");
            assert_eq!(parse(&format!(r#"{{"stores":[{{"peers":{value}}}]}}"#)).unwrap().stores.unwrap().len(), 1);
        }
        assert!(parse(r#"{"zzz":tru}"#).is_err());
        assert!(parse(r#"{"max_retries":1e999}"#).is_err());
        assert!(parse(r#"{"ID":1,"regions":[{"Id":7}]} x"#).is_err());
    }

    #[test]
    fn deep_nesting_of_a_known_member_is_refused_and_not_followed() {
        let text = format!("{{\"stores\":{}", "[".repeat(1 << 20));
        assert!(parse(&text).unwrap_err().contains("recursion limit"));
    }

    #[test]
    fn of_an_object_given_twice_the_last_one_counts_whole() {
        let config = parse(r#"{"pd":{"addr":"a","work_dir":"w"},"PD":{"addr":"b"}}"#).unwrap();
        assert_eq!(config.pd, Some(Pd { addr: "b".into(), ..Pd::default() }));
    }
}
