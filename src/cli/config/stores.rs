//! `pd-lite config stores`: a line a store.

use super::args::{Format, PrintArgs, SOURCE};
use super::{field, json, lines};
use crate::cli::flags::Command;
use crate::config::{RaftConfig, Scope, Store, first_not_blank};

pub const COMMAND: Command<PrintArgs> = Command {
    name: "pd-lite config stores",
    about: "Prints a line a store: id, listen address, address, both for docker, workdir, workdir for docker; - is none.",
    words: &[],
    groups: &[SOURCE],
};

/// Returns what to print.
pub fn run(args: PrintArgs) -> Result<String, String> {
    let config = args.load()?;
    match args.format()? {
        Format::Json => json::line(&config.stores),
        Format::Simple => Ok(lines(config.stores.iter().flatten().map(|store| row(&config, store)))),
    }
}

fn row(config: &RaftConfig, store: &Store) -> String {
    let addr = store.addr.trim();
    let listen = first_not_blank([&store.listen_addr, addr]);
    let docker_listen = first_not_blank([&store.docker_listen_addr, listen]);
    let docker_addr = first_not_blank([&store.docker_addr, addr]);
    let [host, docker] = [Scope::Host, Scope::Docker].map(|scope| config.store_work_dir(store, scope));
    let fields = [listen, addr, docker_listen, docker_addr, &host, &docker].map(field);
    format!("{} {}", store.store_id, fields.join(" "))
}
