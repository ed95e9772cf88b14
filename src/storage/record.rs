//! The records of a manifest: the reference's own, and our two that make a batch of them whole or void.
//!
//! ```text
//! Format of every record (integers little-endian; uvarint is LEB128):
//!   0  u32    payload length: everything behind this field
//!   4  [u8;4] "NoKV"
//!   8  u8     type
//!   9  body
//!
//! Region (type 7), the reference's:
//!   uvarint id, u8 delete flag; flag 1 ends the record. Else: uvarint length + start key, uvarint length + end key,
//!   uvarint version, uvarint conf version, u8 state, uvarint number of peers, per peer uvarint store id, uvarint peer id
//!   and, in a batch of ours, one byte MARKER behind the last field, which the reference ignores
//!
//! Opening (type 0xd0), the first record of a manifest of ours:
//!   9  [u8;8] OPENING_MAGIC, or REWRITE_MAGIC in a manifest that took the place of another one
//!  17  u64    salt, random for each file
//!  25  u32    CRC32C of the record's bytes 0..25
//!  29  end
//!
//! Commit (type 0xd1), closes the batch in front of it:
//!   9  [u8;8] COMMIT_MAGIC
//!  17  u64    batch number: 1 for the first of a file, then one more each
//!  25  u64    offset of the batch's first byte in the file
//!  33  u64    length of the batch: from that byte to this record's byte 0
//!  41  u64    last id given out
//!  49  u64    last timestamp given out
//!  57  u32    CRC32C of everything from the batch's first byte to here, seeded with the salt
//!  61  end
//!
//! Unfinished (type 0xd2): a region record that is being appended by hand. It gets type 7 in place once all of it is durable.
//!
//! A manifest that took the place of another one is complete from its first batch without records on: that is appended when
//! everything is copied, and no other batch is empty.
//! ```

use crate::core::{Limits, Region, RegionId, uvarint};

/// Opens every payload.
pub const MAGIC: [u8; 4] = *b"NoKV";
/// Bytes in front of the body: length, magic, type.
pub const HEADER_LEN: usize = 4 + MAGIC.len() + 1;

/// The storage engine's log pointer, which the reference also puts in front of a manifest that it rewrites.
pub const TYPE_LOG_POINTER: u8 = 2;
pub const TYPE_REGION: u8 = 7;
pub const TYPE_OPENING: u8 = 0xd0;
pub const TYPE_COMMIT: u8 = 0xd1;
/// Passed over, by the reference as well.
pub const TYPE_UNFINISHED: u8 = 0xd2;

/// Tells our opening and commit records from a foreign record that happens to have the same type.
pub const OPENING_MAGIC: [u8; 8] = *b"pdlite-o";
pub const REWRITE_MAGIC: [u8; 8] = *b"pdlite-r";
pub const COMMIT_MAGIC: [u8; 8] = *b"pdlite-c";
/// Ends every region record of ours.
pub const MARKER: u8 = 0xb5;

pub const OPENING_LEN: usize = HEADER_LEN + OPENING_MAGIC.len() + 8 + 4;
pub const COMMIT_LEN: usize = HEADER_LEN + COMMIT_MAGIC.len() + 5 * 8 + 4;

/// The longest batch, its commit included. At most one batch is ever unsynced, so a torn tail is never longer.
pub const BATCH_LEN_MAX: usize = 1 << 20;

/// The longest record that is read. The reference's own are below 5 MiB, its limit on a request.
pub const RECORD_LEN_MAX: usize = 64 << 20;

/// How a manifest of ours came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The first of a workdir.
    New,
    /// It took the place of another one.
    Rewrite,
}

impl Origin {
    pub(super) fn magic(self) -> [u8; 8] {
        match self {
            Self::New => OPENING_MAGIC,
            Self::Rewrite => REWRITE_MAGIC,
        }
    }
}

/// The state byte of a region record. The placement driver itself writes `Plain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionState {
    Plain,
    Running,
    Tombstone,
}

impl RegionState {
    pub(super) fn byte(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Running => 1,
            Self::Tombstone => 3,
        }
    }
}

/// Appends the record that stores `region`.
pub fn push_put(out: &mut Vec<u8>, region: &Region, state: RegionState, marked: bool) {
    push_region(out, region.id(), marked, |out| {
        out.push(0);
        for key in [region.start_key(), region.end_key()] {
            uvarint::push(out, u64::try_from(key.len()).expect("a slice is shorter than 2^64 bytes"));
            out.extend_from_slice(key);
        }
        uvarint::push(out, region.epoch().version);
        uvarint::push(out, region.epoch().conf_version);
        out.push(state.byte());
        uvarint::push(out, u64::try_from(region.peers().count()).expect("a count of peers fits 64 bits"));
        for peer in region.peers() {
            uvarint::push(out, peer.store_id.0);
            uvarint::push(out, peer.peer_id.0);
        }
    });
}

/// Appends the record that deletes the region `id`.
pub fn push_delete(out: &mut Vec<u8>, id: RegionId, marked: bool) {
    push_region(out, id, marked, |out| out.push(1));
}

fn push_region(out: &mut Vec<u8>, id: RegionId, marked: bool, fields: impl FnOnce(&mut Vec<u8>)) {
    push_record(out, TYPE_REGION, |out| {
        uvarint::push(out, id.0);
        fields(out);
        if marked {
            out.push(MARKER);
        }
    });
}

/// Appends the opening record of a manifest.
pub fn push_opening(out: &mut Vec<u8>, origin: Origin, salt: u64) {
    let at = out.len();
    push_record(out, TYPE_OPENING, |out| {
        out.extend_from_slice(&origin.magic());
        out.extend_from_slice(&salt.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
    });
    seal(out, at, 0);
}

/// Appends the commit record of the batch that `out` holds from its first byte on; that byte is, or will be, at
/// `start_offset` of the file.
pub fn push_commit(out: &mut Vec<u8>, start_offset: u64, number: u64, issued: Limits, salt: u64) {
    let batch_len = u64::try_from(out.len()).expect("a slice is shorter than 2^64 bytes");
    push_record(out, TYPE_COMMIT, |out| {
        out.extend_from_slice(&COMMIT_MAGIC);
        for field in [number, start_offset, batch_len, issued.ids, issued.timestamps] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&[0; 4]);
    });
    seal(out, 0, seed(salt));
}

/// The start value of a batch's checksum.
pub fn seed(salt: u64) -> u32 {
    crc32c::crc32c(&salt.to_le_bytes())
}

/// Appends a record; `body` appends its body.
fn push_record(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&MAGIC);
    out.push(kind);
    body(out);
    let payload_len = u32::try_from(out.len() - at - 4).expect("keys come out of a frame of less than 4 GiB");
    out[at..at + 4].copy_from_slice(&payload_len.to_le_bytes());
}

/// Replaces the last four bytes by the checksum of everything from `at` up to them.
fn seal(out: &mut [u8], at: usize, seed: u32) {
    let crc_at = out.len() - 4;
    let crc = crc32c::crc32c_append(seed, &out[at..crc_at]);
    out[crc_at..].copy_from_slice(&crc.to_le_bytes());
}
