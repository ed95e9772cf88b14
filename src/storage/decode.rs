//! Decodes the records of a manifest. Nothing that is read is trusted: no length from the disk is allocated or jumped over
//! before it is known to lie within the record.

use super::record::{
    COMMIT_LEN, COMMIT_MAGIC, HEADER_LEN, MAGIC, MARKER, OPENING_LEN, OPENING_MAGIC, Origin, RegionState, TYPE_COMMIT,
    TYPE_OPENING,
};
use crate::core::{Epoch, KeyRange, Limits, Peer, PeerId, Region, RegionId, StoreId, uvarint};

/// What a region record does to the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Put(Region),
    Delete(RegionId),
    /// The region is passed over. Like any later record, this one takes the place of an earlier one of its id.
    Skip(RegionId, Oddity),
}

/// Why a region that is stored in a manifest is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Oddity {
    NoId,
    Tombstone,
    EmptyRange,
}

/// What stands behind the last field of a region record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing: the reference wrote it.
    Plain,
    /// Our marker and nothing else.
    Marked,
    /// Other bytes, or fields at the end are missing: neither writes such a record.
    Odd,
}

/// Decodes the body of a region record. Extra bytes are ignored, and what is missing behind the epoch is 0, as in the
/// reference.
///
/// # Errors
///
/// What is wrong, where the reference would make up a region or crash.
pub fn region(body: &[u8]) -> Result<(Change, Ending), &'static str> {
    if body.is_empty() {
        return Ok((Change::Skip(RegionId(0), Oddity::NoId), Ending::Odd));
    }
    let mut rest = body;
    let id = RegionId(number(&mut rest)?);
    match byte(&mut rest)? {
        0 => {}
        1 => return Ok((Change::Delete(id), ending(rest))),
        _ => return Err("a region record has a delete flag other than 0 and 1"),
    }
    let start = key(&mut rest)?;
    let end = key(&mut rest)?;
    let epoch = Epoch { version: number(&mut rest)?, conf_version: number(&mut rest)? };
    let is_complete = rest.len() >= 2;
    let state = if rest.is_empty() { 0 } else { byte(&mut rest)? };
    let count = if rest.is_empty() { 0 } else { number(&mut rest)? };
    let mut peers = rest;
    for _ in 0..count {
        number(&mut rest)?;
        number(&mut rest)?;
    }
    let ending = if is_complete { ending(rest) } else { Ending::Odd };

    let oddity = if id == RegionId(0) {
        Oddity::NoId
    } else if state == RegionState::Tombstone.byte() {
        Oddity::Tombstone
    } else if !(KeyRange { start, end }).is_well_formed() {
        Oddity::EmptyRange
    } else {
        let mut field = || uvarint::take(&mut peers).expect("the loop above has read every field");
        let peers = (0..count).map(|_| Peer { store_id: StoreId(field()), peer_id: PeerId(field()) });
        return Ok((Change::Put(Region::new(id, start, end, epoch, peers)), ending));
    };
    Ok((Change::Skip(id, oddity), ending))
}

fn ending(rest: &[u8]) -> Ending {
    match rest {
        [] => Ending::Plain,
        [MARKER] => Ending::Marked,
        _ => Ending::Odd,
    }
}

fn number(rest: &mut &[u8]) -> Result<u64, &'static str> {
    uvarint::take(rest).ok_or("a number in a region record is cut, or has more than 64 bits")
}

fn byte(rest: &mut &[u8]) -> Result<u8, &'static str> {
    let (&first, behind) = rest.split_first().ok_or("a region record ends in front of its last field")?;
    *rest = behind;
    Ok(first)
}

fn key<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], &'static str> {
    let len = number(rest)?;
    let (key, behind) = usize::try_from(len)
        .ok()
        .and_then(|len| rest.split_at_checked(len))
        .ok_or("a key in a region record is longer than the record")?;
    *rest = behind;
    Ok(key)
}

/// The fields of a commit record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    pub number: u64,
    /// Where the batch starts in the file.
    pub start: u64,
    /// Bytes of the batch in front of the commit record.
    pub batch_len: u64,
    pub issued: Limits,
    pub checksum: u32,
}

/// Tells whether the bytes at the start of a file are an opening record of ours, whole or not, damaged or not.
pub fn is_opening_like(bytes: &[u8]) -> bool {
    let magic = bytes.get(HEADER_LEN..HEADER_LEN + OPENING_MAGIC.len());
    magic.is_some_and(|magic| [Origin::New, Origin::Rewrite].iter().any(|origin| magic == origin.magic()))
}

/// The fields of an opening record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    pub origin: Origin,
    pub salt: u64,
}

/// The fields of a whole opening record, whose checksum is right.
pub fn opening(record: &[u8]) -> Option<Opening> {
    let (magic, mut fields) = body_of(record, OPENING_LEN, TYPE_OPENING)?.split_at_checked(OPENING_MAGIC.len())?;
    let origin = [Origin::New, Origin::Rewrite].into_iter().find(|origin| magic == origin.magic())?;
    let salt = take_u64(&mut fields)?;
    let checksum = u32::from_le_bytes(fields.try_into().ok()?);
    (checksum == crc32c::crc32c(&record[..OPENING_LEN - 4])).then_some(Opening { origin, salt })
}

/// Tells whether `bytes` could be all that a crash left of the opening record of a new workdir: its front part, zeros behind
/// that.
pub fn is_piece_of_an_opening(bytes: &[u8]) -> bool {
    let mut front = Vec::with_capacity(OPENING_LEN);
    super::record::push_opening(&mut front, Origin::New, 0);
    let known = HEADER_LEN + OPENING_MAGIC.len();
    let solid = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    bytes.len() <= OPENING_LEN && bytes[..solid.min(known)] == front[..solid.min(known)]
}

/// Tells whether the record that starts at `bytes` is a commit of ours, whole or not, damaged or not.
pub fn is_commit_like(bytes: &[u8]) -> bool {
    bytes.get(HEADER_LEN..HEADER_LEN + COMMIT_MAGIC.len()).is_some_and(|magic| magic == COMMIT_MAGIC)
}

/// The fields of a commit record. Whether its checksum is right is for the caller to tell.
pub fn commit(record: &[u8]) -> Option<Commit> {
    body_of(record, COMMIT_LEN, TYPE_COMMIT)?.starts_with(&COMMIT_MAGIC).then(|| commit_fields(record))?
}

/// As [`commit`], whatever the header of the record says.
pub fn commit_fields(record: &[u8]) -> Option<Commit> {
    let mut fields = record.get(HEADER_LEN + COMMIT_MAGIC.len()..COMMIT_LEN)?;
    Some(Commit {
        number: take_u64(&mut fields)?,
        start: take_u64(&mut fields)?,
        batch_len: take_u64(&mut fields)?,
        issued: Limits { ids: take_u64(&mut fields)?, timestamps: take_u64(&mut fields)? },
        checksum: u32::from_le_bytes(fields.try_into().ok()?),
    })
}

/// The body of a record, if it has this length (header included) and this type.
fn body_of(record: &[u8], len: usize, kind: u8) -> Option<&[u8]> {
    let (header, body) = record.split_at_checked(HEADER_LEN)?;
    let payload_len = u32::try_from(len - 4).ok()?.to_le_bytes();
    (record.len() == len && header[..4] == payload_len && header[4..8] == MAGIC && header[8] == kind).then_some(body)
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    let (value, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(u64::from_le_bytes(*value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::storage::record;

    fn any_region() -> impl Strategy<Value = Region> {
        let key = || proptest::collection::vec(any::<u8>(), 0..200);
        let peers = proptest::collection::vec((any::<u64>(), any::<u64>()), 0..6);
        (1..u64::MAX, key(), key(), any::<(u64, u64)>(), peers).prop_map(|(id, start, end, epoch, peers)| {
            let epoch = Epoch { version: epoch.0, conf_version: epoch.1 };
            let peers = peers.into_iter().map(|(store, peer)| Peer { store_id: StoreId(store), peer_id: PeerId(peer) });
            Region::new(RegionId(id), &start, &end, epoch, peers)
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(region in any_region(), marked in any::<bool>()) {
            let mut record = Vec::new();
            record::push_put(&mut record, &region, RegionState::Running, marked);
            let (change, ending) = super::region(&record[HEADER_LEN..]).unwrap();
            prop_assert_eq!(ending, if marked { Ending::Marked } else { Ending::Plain });
            if region.range().is_well_formed() {
                prop_assert_eq!(change, Change::Put(region));
            } else {
                prop_assert_eq!(change, Change::Skip(region.id(), Oddity::EmptyRange));
            }
        }

        #[test]
        fn a_record_that_is_cut_is_refused_or_lacks_only_what_may_be_missing(region in any_region(), cut in any::<prop::sample::Index>()) {
            let mut record = Vec::new();
            record::push_put(&mut record, &region, RegionState::Plain, false);
            let body = &record[HEADER_LEN..];
            match super::region(&body[..cut.index(body.len())]) {
                Ok((_, ending)) => prop_assert_eq!(ending, Ending::Odd),
                Err(reason) => prop_assert!(!reason.is_empty()),
            }
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = super::region(&bytes);
            prop_assert_eq!(opening(&bytes), None);
            prop_assert_eq!(commit(&bytes), None);
        }
    }

    #[test]
    fn deletes_tell_who_wrote_them() {
        for (marked, ending) in [(false, Ending::Plain), (true, Ending::Marked)] {
            let mut record = Vec::new();
            record::push_delete(&mut record, RegionId(300), marked);
            assert_eq!(region(&record[HEADER_LEN..]), Ok((Change::Delete(RegionId(300)), ending)));
        }
        assert_eq!(region(b"\x01\x01\xb5\xb5"), Ok((Change::Delete(RegionId(1)), Ending::Odd)));
    }

    #[test]
    fn an_opening_record_gives_its_salt_unless_a_bit_of_it_is_wrong() {
        for origin in [Origin::New, Origin::Rewrite] {
            let mut record = Vec::new();
            record::push_opening(&mut record, origin, 0xfeed);
            assert_eq!(opening(&record), Some(Opening { origin, salt: 0xfeed }));
            for bit in 0..record.len() * 8 {
                let mut flipped = record.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(opening(&flipped), None, "bit {bit}");
            }
            assert_eq!(opening(&record[..28]), None);
            assert_eq!(opening(&[&record[..], b"x"].concat()), None);
        }
    }

    #[test]
    fn a_commit_gives_its_fields() {
        let mut record = Vec::new();
        let issued = Limits { ids: 4, timestamps: u64::MAX };
        record::push_commit(&mut record, 29, 7, issued, 0xfeed);
        let fields = commit(&record).unwrap();
        assert_eq!((fields.number, fields.start, fields.batch_len, fields.issued), (7, 29, 0, issued));
        assert_eq!(fields.checksum, crc32c::crc32c_append(record::seed(0xfeed), &record[..COMMIT_LEN - 4]));
        assert_eq!(commit_fields(&record), Some(fields));
        assert!(is_commit_like(&record));
        record[8] ^= 1;
        assert_eq!(commit(&record), None);
        assert!(is_commit_like(&record));
    }
}
