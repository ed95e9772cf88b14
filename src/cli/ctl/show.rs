//! What `pd-lite ctl workdir` prints.

use std::fmt::Write as _;

use serde::Serialize;

use super::args::Form;
use crate::cli::printable;
use crate::core::{Limits, Region};
use crate::storage::offline::{Dump, ManifestReport, Raised, Rebuilt, Report};

const STRING: &str = "a String takes everything";

/// A report, in one of its forms.
pub fn report(report: &Report, form: Form) -> String {
    match form {
        Form::Json => json(report),
        Form::Text => report_text(report, ""),
    }
}

/// A report and the regions; in text each line of the report opens with `#`.
pub fn dump(dump: &Dump, form: Form, hex: bool) -> String {
    match form {
        Form::Json => json(&DumpJson {
            report: &dump.report,
            regions: dump.regions.iter().map(|region| region_json(region)).collect(),
        }),
        Form::Text => {
            let mut text = report_text(&dump.report, "# ");
            for region in &dump.regions {
                push_region(&mut text, region, hex);
            }
            text
        }
    }
}

/// The counters before and after.
pub fn raised(Raised { before, after }: Raised) -> String {
    let line = |what: &str, of: fn(Limits) -> u64| {
        let before = before.map_or_else(|| "lost".to_owned(), |before| next(of(before)));
        format!("next {what}: {} (before: {before})\n", next(of(after)))
    };
    line("id", |limits| limits.ids) + &line("timestamp", |limits| limits.timestamps)
}

/// What was moved, and where the workdir stands now.
pub fn rebuilt(rebuilt: Option<&Rebuilt>) -> String {
    let Some(Rebuilt { kept, manifest, counters }) = rebuilt else {
        return "nothing is damaged; nothing was changed\n".to_owned();
    };
    let mut text = String::new();
    for path in kept {
        writeln!(text, "kept the damaged manifest as {}", printable(&path.to_string_lossy())).expect(STRING);
    }
    writeln!(text, "new, empty manifest: {manifest}").expect(STRING);
    writeln!(text, "next id: {}\nnext timestamp: {}", next(counters.ids), next(counters.timestamps)).expect(STRING);
    text
}

/// The lowest value that a server may give out when `last` is the last that counts as given out.
fn next(last: u64) -> String {
    last.checked_add(1).map_or_else(|| "none left".to_owned(), |next| format!("at least {next}"))
}

fn report_text(report: &Report, prefix: &str) -> String {
    let Report { workdir, usable, problem, manifest, id_current, ts_current, warnings } = report;
    let mut text = String::new();
    let mut line = |name: &str, value: String| writeln!(text, "{prefix}{name:<15}{value}").expect(STRING);
    line("workdir", printable(workdir));
    line("verdict", if *usable { "usable" } else { "damaged" }.to_owned());
    if let Some(problem) = problem {
        line("problem", problem.clone());
    }
    match manifest {
        Some(manifest) => manifest_lines(manifest, &mut line),
        None if *usable => line("manifest", "none yet".to_owned()),
        None => {}
    }
    for (name, counter) in [("last id", id_current), ("last timestamp", ts_current)] {
        line(name, counter.map_or_else(|| "unknown".to_owned(), |counter| counter.to_string()));
    }
    for warning in warnings {
        line("warning", warning.clone());
    }
    text
}

fn manifest_lines(manifest: &ManifestReport, line: &mut impl FnMut(&str, String)) {
    let ManifestReport { name, form, appended_by_reference, regions, batches, bytes, torn_bytes, synced_bytes } =
        manifest;
    line("manifest", name.clone());
    let appended = if *appended_by_reference { ", with records of the reference behind" } else { "" };
    line("form", format!("{form}{appended}"));
    line("regions", regions.to_string());
    if let Some(batches) = batches {
        line("batches", batches.to_string());
    }
    let torn = if *torn_bytes > 0 { format!(", {torn_bytes} of them torn") } else { String::new() };
    line("bytes", format!("{bytes}{torn}"));
    if let Some(synced) = synced_bytes {
        line("synced bytes", synced.to_string());
    }
}

fn push_region(text: &mut String, region: &Region, hex: bool) {
    let epoch = region.epoch();
    write!(text, "{} ", region.id()).expect(STRING);
    for key in [region.start_key(), region.end_key()] {
        push_key(text, key, hex);
        text.push(' ');
    }
    write!(text, "{} {} ", epoch.version, epoch.conf_version).expect(STRING);
    let before = text.len();
    for peer in region.peers() {
        let comma = if text.len() > before { "," } else { "" };
        write!(text, "{comma}{}:{}", peer.store_id, peer.peer_id).expect(STRING);
    }
    text.push_str(if text.len() > before { "\n" } else { "-\n" });
}

/// A key as one field that cannot be taken for another key.
fn push_key(text: &mut String, key: &[u8], hex: bool) {
    let plain = std::str::from_utf8(key).ok().filter(|key| {
        !hex && key.bytes().all(|byte| byte.is_ascii_graphic()) && *key != "-" && !key.starts_with("hex:")
    });
    match plain {
        _ if key.is_empty() => text.push('-'),
        Some(plain) => text.push_str(plain),
        None => {
            text.push_str("hex:");
            push_hex(text, key);
        }
    }
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    bytes.iter().for_each(|byte| write!(text, "{byte:02x}").expect(STRING));
}

#[derive(Serialize)]
struct DumpJson<'a> {
    report: &'a Report,
    regions: Vec<RegionJson>,
}

/// A region under the names that the protocol gives its fields; keys in hexadecimal.
#[derive(Serialize)]
struct RegionJson {
    id: u64,
    start_key: String,
    end_key: String,
    epoch_version: u64,
    epoch_conf_version: u64,
    peers: Vec<PeerJson>,
}

#[derive(Serialize)]
struct PeerJson {
    store_id: u64,
    peer_id: u64,
}

fn region_json(region: &Region) -> RegionJson {
    let hex = |key: &[u8]| {
        let mut text = String::with_capacity(key.len() * 2);
        push_hex(&mut text, key);
        text
    };
    RegionJson {
        id: region.id().0,
        start_key: hex(region.start_key()),
        end_key: hex(region.end_key()),
        epoch_version: region.epoch().version,
        epoch_conf_version: region.epoch().conf_version,
        peers: region.peers().map(|peer| PeerJson { store_id: peer.store_id.0, peer_id: peer.peer_id.0 }).collect(),
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("no map with keys other than text, and no number without JSON") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Epoch, Peer, PeerId, RegionId, StoreId};

    #[test]
    fn a_key_cannot_be_taken_for_another() {
        let shown = |key: &[u8], hex| {
            let mut text = String::new();
            push_key(&mut text, key, hex);
            text
        };
        for (key, plain, in_hex) in [
            (&b""[..], "-", "-"),
            (b"-", "hex:2d", "hex:2d"),
            (b"ab", "ab", "hex:6162"),
            (b"a b", "hex:612062", "hex:612062"),
            (b"hex:61", "hex:6865783a3631", "hex:6865783a3631"),
            (b"\xff\0", "hex:ff00", "hex:ff00"),
            ("é".as_bytes(), "hex:c3a9", "hex:c3a9"),
        ] {
            assert_eq!((shown(key, false).as_str(), shown(key, true).as_str()), (plain, in_hex));
        }
    }

    #[test]
    fn a_region_is_one_line_of_six_fields() {
        let line = |peers: &[(u64, u64)]| {
            let peers = peers.iter().map(|&(store, peer)| Peer { store_id: StoreId(store), peer_id: PeerId(peer) });
            let region = Region::new(RegionId(7), b"", b"m", Epoch { version: 3, conf_version: 2 }, peers);
            let mut text = String::new();
            push_region(&mut text, &region, false);
            text
        };
        assert_eq!(line(&[(1, 11), (2, 0)]), "7 - m 3 2 1:11,2:0\n");
        assert_eq!(line(&[]), "7 - m 3 2 -\n");
    }

    #[test]
    fn counters_say_what_comes_next() {
        let after = Limits { ids: 99, timestamps: u64::MAX };
        let before = Some(Limits { ids: 13, timestamps: u64::MAX - 1 });
        assert_eq!(
            raised(Raised { before, after }),
            "next id: at least 100 (before: at least 14)\n\
             next timestamp: none left (before: at least 18446744073709551615)\n"
        );
        assert!(raised(Raised { before: None, after }).contains("(before: lost)"));
    }
}
