//! `raft_config.json` and its resolution rules.
