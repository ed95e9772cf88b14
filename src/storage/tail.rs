//! Judges the bytes behind the last whole thing in a manifest: a torn tail, which a crash explains and which holds nothing
//! that was acknowledged, or damage.

use std::io;
use std::ops::Range;

use super::decode::{self, Ending};
use super::fs::File;
use super::record::{self, BATCH_LEN_MAX, COMMIT_LEN, HEADER_LEN, MAGIC, RECORD_LEN_MAX, TYPE_COMMIT, TYPE_REGION};
use super::scan::Scan;

/// Bytes that a disk writes whole or not at all.
const SECTOR_LEN: usize = 512;

/// What is at the current position of a scan.
pub(super) enum Frame {
    /// A record of this length (all of it lies in the file) and type.
    Record { len: usize, kind: u8 },
    /// The end of the file.
    End,
    /// Bytes that are no whole record.
    Broken,
}

/// Tells what is at the current position.
pub(super) fn frame(scan: &mut Scan<'_>) -> io::Result<Frame> {
    if scan.left() == 0 {
        return Ok(Frame::End);
    }
    let left = scan.left();
    Ok(match whole_record_len(scan.peek(HEADER_LEN)?) {
        Some(len) if len <= RECORD_LEN_MAX && u64::try_from(len).is_ok_and(|len| len <= left) => {
            let kind = scan.peek(HEADER_LEN)?[HEADER_LEN - 1];
            if misses_a_sector(scan, len)? { Frame::Broken } else { Frame::Record { len, kind } }
        }
        _ => Frame::Broken,
    })
}

/// Tells whether the record of this length at the current position seems whole only because the sector with the low bytes of
/// its length, or with its type, did not come to the disk.
fn misses_a_sector(scan: &mut Scan<'_>, len: usize) -> io::Result<bool> {
    const TYPE_AT: usize = HEADER_LEN - 1;
    Ok(match to_sector(scan.offset()) {
        border @ 1..4 => {
            let bytes = scan.peek(len + HEADER_LEN)?;
            let behind = &bytes[len..];
            let ends_here = is_zero(behind) || behind.iter().skip(4).zip(MAGIC).all(|(byte, magic)| *byte == magic);
            is_zero(&bytes[..border]) && !ends_here
        }
        TYPE_AT => is_zero(&scan.peek(len.min(TYPE_AT + SECTOR_LEN))?[TYPE_AT..]),
        _ => false,
    })
}

/// Bytes from a position of a file to the next sector.
fn to_sector(offset: u64) -> usize {
    let sector_len = u64::try_from(SECTOR_LEN).expect("a constant of this program fits 64 bits");
    usize::try_from(sector_len - offset % sector_len).expect("at most SECTOR_LEN")
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// The length of the record whose header is given. `None`: it is none, or not all there.
fn whole_record_len(header: &[u8]) -> Option<usize> {
    let header: &[u8; HEADER_LEN] = header.get(..HEADER_LEN)?.try_into().ok()?;
    let len = usize::try_from(payload_len(header)?).ok()?.checked_add(4)?;
    (header[4..8] == MAGIC && len >= HEADER_LEN).then_some(len)
}

fn payload_len(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|len| u32::from_le_bytes(*len))
}

/// What is known of a manifest of ours up to its last valid commit.
#[derive(Clone, Copy)]
pub(super) struct Committed {
    pub(super) salt: u64,
    /// The end of the last valid commit, or of the opening record.
    pub(super) end: u64,
    pub(super) next_batch: u64,
}

/// Judges what is behind the last valid commit of a manifest of ours.
///
/// A batch is synced before the next is written and is at most [`BATCH_LEN_MAX`] long, so what a crash leaves is a piece of
/// one batch, and nothing that was acknowledged. The inner `Err` says why it is not that.
pub(super) fn judge_ours(file: &dyn File, file_len: u64, known: Committed) -> io::Result<Result<(), String>> {
    let mut scan = Scan::new(file, file_len, known.end);
    let tail = match usize::try_from(scan.left()) {
        Ok(len) if len <= BATCH_LEN_MAX => scan.peek(len)?,
        _ => return Ok(Err(format!("{} bytes behind it belong to no whole batch", scan.left()))),
    };
    Ok((0..tail.len()).find_map(|at| evidence_at(tail, at, known)).map_or(Ok(()), Err))
}

/// Tells what at `tail[at..]` shows that the tail is more than one batch that was cut short by a crash.
fn evidence_at(tail: &[u8], at: usize, known: Committed) -> Option<String> {
    let bytes = &tail[at..];
    let kind = bytes.get(4..HEADER_LEN).and_then(|magic| (magic[..4] == MAGIC).then_some(magic[4]));
    if kind == Some(TYPE_COMMIT) || decode::is_commit_like(bytes) {
        let commit = decode::commit_fields(bytes)?;
        let relative_start = commit.start.checked_sub(known.end).and_then(|start| usize::try_from(start).ok());
        let covered = relative_start.and_then(|start| tail.get(start..at + COMMIT_LEN - 4));
        let is_valid =
            covered.is_some_and(|covered| crc32c::crc32c_append(record::seed(known.salt), covered) == commit.checksum);
        if is_valid && commit.number >= known.next_batch {
            return Some(format!("batch {} is not whole, but a later one is", known.next_batch));
        }
        // The commit of that batch, or with one damaged field what was it. With bytes behind it the next batch was begun,
        // so this one was durable.
        let signs = [
            commit.number == known.next_batch,
            commit.start == known.end,
            usize::try_from(commit.batch_len).is_ok_and(|len| len == at),
        ];
        if bytes.len() > COMMIT_LEN && signs.into_iter().filter(|&sign| sign).count() >= 2 {
            return Some(format!("batch {} is not whole, but a later one was begun", known.next_batch));
        }
    }
    if kind == Some(TYPE_REGION)
        && let Some(record) = whole_record_len(bytes).and_then(|len| bytes.get(..len))
        && matches!(decode::region(&record[HEADER_LEN..]), Ok((_, Ending::Plain)))
    {
        return Some(
            "records that a reference placement driver appended stand behind a batch that is not whole".into(),
        );
    }
    None
}

/// Judges the bytes at `offset` of a manifest of the reference, which are no whole record.
///
/// It appends one record at a time and syncs nothing, so what a crash leaves is the front part of one record, and zeros where
/// the file grew but its content, or a sector of it, did not come to the disk. The inner `Err` says why it is not that.
pub(super) fn judge_reference(file: &dyn File, file_len: u64, offset: u64) -> io::Result<Result<(), String>> {
    let mut scan = Scan::new(file, file_len, offset);
    let left = scan.left();
    let Shape { solid, holds_more_records } = shape(file, file_len, offset)?;
    if holds_more_records {
        return Ok(Err("bytes that are no record, with more records behind them".into()));
    }
    if usize::try_from(left).map_or(true, |left| left > RECORD_LEN_MAX) && solid > 0 {
        return Ok(Err(format!("a record of more than {RECORD_LEN_MAX} bytes")));
    }
    let to_sector = to_sector(offset);
    if solid == 0 || lacks_a_sector(scan.peek(to_sector.max(HEADER_LEN))?, to_sector) {
        return Ok(Ok(()));
    }
    let head = scan.peek(HEADER_LEN)?;
    let Some(payload_len) = payload_len(head) else { return Ok(Ok(())) };
    let solid_magic = &head[4..usize::try_from(solid).map_or(8, |solid| solid.clamp(4, 8)).min(head.len())];
    if u64::from(payload_len) < 5 || !MAGIC.starts_with(solid_magic) {
        return Ok(Err("bytes that are no record".into()));
    }
    let is_region = head.get(HEADER_LEN - 1) == Some(&TYPE_REGION);
    let available = scan.peek(RECORD_LEN_MAX)?;
    if is_region && matches!(decode::region(&available[HEADER_LEN..]), Ok((_, Ending::Plain))) {
        return Ok(Err("the last record is whole, but its length is wrong".into()));
    }
    Ok(Ok(()))
}

/// Tells whether the bytes at the start of a record are what a header leaves when one of its sectors did not come to the
/// disk: zeros up to the next sector, or from there on. `bytes` are those up to the next sector, and at least the header's.
fn lacks_a_sector(bytes: &[u8], to_sector: usize) -> bool {
    // What a part of the header has of the magic is right.
    let is_solid = |range: Range<usize>| (4..8).all(|at| !range.contains(&at) || bytes.get(at) == Some(&MAGIC[at - 4]));
    let (front, back) = bytes.split_at(to_sector.min(bytes.len()));
    let lacks_front = is_zero(front);
    let lacks_back = !back.is_empty() && is_zero(back);
    (lacks_front || (lacks_back && is_solid(0..to_sector))) && (lacks_back || is_solid(to_sector..HEADER_LEN))
}

/// What kind of bytes reach from a position to the end of a file.
struct Shape {
    /// Bytes up to the last one that is not zero.
    solid: u64,
    /// Whether the magic of a record stands anywhere but where the record at the position has its own.
    holds_more_records: bool,
}

/// Stops early at more records, and where so much is left that it is no torn record unless all of it is zero.
fn shape(file: &dyn File, file_len: u64, offset: u64) -> io::Result<Shape> {
    const STEP_LEN: usize = 1 << 16;
    let mut shape = Shape { solid: 0, holds_more_records: false };
    let mut scan = Scan::new(file, file_len, offset);
    let is_long = usize::try_from(scan.left()).map_or(true, |left| left > RECORD_LEN_MAX);
    while scan.left() > 0 && !shape.holds_more_records && !(is_long && shape.solid > 0) {
        let done = scan.offset() - offset;
        // The windows overlap by one byte less than the magic has, so that none is missed between two of them.
        let window = scan.peek(STEP_LEN + MAGIC.len() - 1)?;
        let at = |position: usize| done + u64::try_from(position).expect("a window is shorter than 2^64 bytes");
        if let Some(last) = window.iter().rposition(|&byte| byte != 0) {
            shape.solid = at(last) + 1;
        }
        shape.holds_more_records |=
            window.windows(MAGIC.len()).enumerate().any(|(position, bytes)| bytes == MAGIC && at(position) != 4);
        let step = window.len().min(STEP_LEN);
        scan.skip(step);
    }
    Ok(shape)
}
