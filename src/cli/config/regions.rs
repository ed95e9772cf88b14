//! `pd-lite config regions`: a line a region.

use super::args::{Format, PrintArgs, SOURCE};
use super::{KeyField, field, json, lines};
use crate::cli::flags::Command;
use crate::config::Region;

pub const COMMAND: Command<PrintArgs> = Command {
    name: "pd-lite config regions",
    about: "Prints a line a region: id, start key, end key, version, conf version, store:peer list, leader; - is none.\n\
            A key that is not plain text, or is -, is hex:<its bytes>.",
    words: &[],
    groups: &[SOURCE],
};

/// Returns what to print.
pub fn run(args: PrintArgs) -> Result<String, String> {
    let config = args.load()?;
    match args.format()? {
        Format::Json => json::line(&config.regions),
        Format::Simple => Ok(lines(config.regions.iter().flatten().map(row))),
    }
}

fn row(region: &Region) -> String {
    let peers = region.peers.iter().flatten().map(|peer| format!("{}:{}", peer.store_id, peer.peer_id));
    format!(
        "{} {} {} {} {} {} {}",
        region.id,
        KeyField(&region.start_key),
        KeyField(&region.end_key),
        region.epoch.version,
        region.epoch.conf_version,
        field(&peers.collect::<Vec<_>>().join(",")),
        region.leader_store_id,
    )
}
