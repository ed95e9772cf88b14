//! Why a call fails. `Display` is what the caller reads: what, why, what next, without anything about the server's files.

use std::fmt;

use super::key_text;
use crate::core::{AllocError, Cluster, Epoch, KeyRange, Kind, Overlap, Refusal, RegionId};

/// Why a call fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    StoreIdZero,
    RegionAbsent,
    RegionIdZero,
    KeyTooLong {
        region: RegionId,
        border: Border,
        /// Bytes.
        len: usize,
        max: usize,
    },
    TooManyPeers {
        region: RegionId,
        peers: usize,
        max: usize,
    },
    /// No key can be in the region.
    EmptyRange {
        region: RegionId,
        range: String,
    },
    /// No key can be in the range that was asked for.
    EmptyScan {
        range: String,
    },
    /// In one call.
    TooManyRegions {
        regions: usize,
        max: usize,
    },
    CountTooLarge {
        count: u64,
        max: u64,
    },
    Stale {
        region: RegionId,
        current: Epoch,
        incoming: Epoch,
    },
    Overlap {
        region: RegionId,
        range: String,
        with: RegionId,
        /// Absent when that region has gone since.
        with_range: Option<String>,
    },
    /// Fewer values are left in the 64 bits than were asked for.
    Exhausted {
        kind: Kind,
        count: u64,
        left: u64,
    },
    NoSpace,
    /// Too many changes are queued, or too many allocations wait.
    Overloaded,
    /// The disk or a part of this process failed during the call: whether it took effect is unknown.
    OutcomeUnknown,
    NotReady,
    Stopped,
    /// An earlier call panicked.
    Broken,
}

/// Which end of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Border {
    Start,
    End,
}

impl Error {
    /// Tells whether the same call may succeed later, with nothing changed by the caller.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::NoSpace | Self::Overloaded | Self::OutcomeUnknown | Self::NotReady | Self::Stopped | Self::Broken => {
                true
            }
            Self::StoreIdZero
            | Self::RegionAbsent
            | Self::RegionIdZero
            | Self::KeyTooLong { .. }
            | Self::TooManyPeers { .. }
            | Self::EmptyRange { .. }
            | Self::EmptyScan { .. }
            | Self::TooManyRegions { .. }
            | Self::CountTooLarge { .. }
            | Self::Stale { .. }
            | Self::Overlap { .. }
            | Self::Exhausted { .. } => false,
        }
    }

    /// The catalog's refusal of a region with this range.
    pub(super) fn refused(refusal: Refusal, range: KeyRange<'_>, cluster: &Cluster) -> Self {
        match refusal {
            Refusal::Stale { region, current, incoming } => Self::Stale { region, current, incoming },
            Refusal::Overlap(Overlap { region, with }) => Self::Overlap {
                region,
                range: key_text::range(range),
                with,
                with_range: cluster.region(with).map(|with| key_text::range(with.range())),
            },
        }
    }

    /// The allocators' refusal of `count` values.
    pub(super) fn not_allocated(error: AllocError, kind: Kind, count: u64) -> Self {
        match error {
            AllocError::Exhausted { left } => Self::Exhausted { kind, count, left },
            AllocError::TooManyWaiting => Self::Overloaded,
            AllocError::NoSpace => Self::NoSpace,
            AllocError::Stopped => Self::Stopped,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StoreIdZero => f.write_str("store id 0 names no store"),
            Self::RegionAbsent => f.write_str("the heartbeat holds no region"),
            Self::RegionIdZero => f.write_str("region id 0 names no region"),
            Self::KeyTooLong { region, border, len, max } => {
                write!(f, "region {region}: its {border} has {len} bytes, the limit is {max} (--max-key-bytes)")
            }
            Self::TooManyPeers { region, peers, max } => {
                write!(f, "region {region}: it has {peers} peers, the limit is {max} (--max-peers)")
            }
            Self::EmptyRange { region, range } => {
                write!(f, "region {region} {range}: the start key is not below the end key")
            }
            Self::EmptyScan { range } => write!(f, "a scan of {range}: the start key is not below the end key"),
            Self::TooManyRegions { regions, max } => {
                write!(f, "{regions} regions in one call, the limit is {max}; split them")
            }
            Self::CountTooLarge { count, max } => {
                write!(f, "a count of {count} is above the limit of {max} (--max-count)")
            }
            Self::Stale { region, current, incoming } => {
                write!(f, "region {region}: epoch {incoming} is older than {current}, which is known already")
            }
            Self::Overlap { region, range, with, with_range } => {
                write!(f, "region {region} {range} overlaps region {with}")?;
                with_range.iter().try_for_each(|range| write!(f, " {range}"))
            }
            Self::Exhausted { kind, count, left } => {
                let values = match kind {
                    Kind::Id => "ids",
                    Kind::Timestamp => "timestamps",
                };
                write!(f, "{count} {values} were asked for and {left} are left of all 2^64")
            }
            Self::NoSpace => f.write_str("no space on the server's disk, or no file descriptor free; nothing changed"),
            Self::Overloaded => f.write_str("too many calls wait for the server's disk; nothing changed"),
            Self::OutcomeUnknown => {
                f.write_str("the server failed during this call; whether it took effect is unknown")
            }
            Self::NotReady => f.write_str("the server is not ready yet; nothing changed"),
            Self::Stopped => f.write_str("the server is stopping; nothing changed"),
            Self::Broken => f.write_str("the server has failed; nothing changed"),
        }?;
        if self.retryable() { f.write_str("; try again later") } else { Ok(()) }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Border {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start key",
            Self::End => "end key",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_both_sides_of_a_mismatch() {
        let epoch = |version, conf_version| Epoch { version, conf_version };
        let stale = Error::Stale { region: RegionId(1), current: epoch(5, 5), incoming: epoch(4, 900) };
        assert_eq!(stale.to_string(), "region 1: epoch 4/900 is older than 5/5, which is known already");
        let mut overlap = Error::Overlap {
            region: RegionId(2),
            range: "[d,m)".into(),
            with: RegionId(1),
            with_range: Some("[a,e)".into()),
        };
        assert_eq!(overlap.to_string(), "region 2 [d,m) overlaps region 1 [a,e)");
        let Error::Overlap { with_range, .. } = &mut overlap else { unreachable!() };
        *with_range = None;
        assert_eq!(overlap.to_string(), "region 2 [d,m) overlaps region 1");
        let long = Error::KeyTooLong { region: RegionId(3), border: Border::End, len: 5000, max: 4096 };
        assert_eq!(long.to_string(), "region 3: its end key has 5000 bytes, the limit is 4096 (--max-key-bytes)");
        let exhausted = Error::Exhausted { kind: Kind::Timestamp, count: 9, left: 3 };
        assert_eq!(exhausted.to_string(), "9 timestamps were asked for and 3 are left of all 2^64");
        let line = "no space on the server's disk, or no file descriptor free; nothing changed; try again later";
        assert_eq!(Error::NoSpace.to_string(), line);
    }
}
