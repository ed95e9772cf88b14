//! What a request may hold: the reference's own checks, and our limits behind them.

use super::error::{Border, Error};
use super::key_text;
use crate::core::{KeyRange, RegionId};
use crate::proto::pd as pb;

/// What a request may hold. Exceeding one is INVALID_ARGUMENT, naming the limit and its flag.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Longest region border, in bytes (`--max-key-bytes`).
    pub key_bytes_max: usize,
    /// Most peers of a region (`--max-peers`).
    pub peers_max: usize,
    /// Most ids or timestamps in one call (`--max-count`).
    pub count_max: u64,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self { key_bytes_max: 4096, peers_max: 64, count_max: 1 << 20 }
    }
}

impl RequestLimits {
    /// Checks a region that is reported. Peers are taken as they are: id 0, doubles and an empty list are legal.
    pub(super) fn check_region(&self, meta: &pb::RegionMeta) -> Result<(), Error> {
        let region = check_region_id(meta.id)?;
        for (border, key) in [(Border::Start, &meta.start_key), (Border::End, &meta.end_key)] {
            if key.len() > self.key_bytes_max {
                return Err(Error::KeyTooLong { region, border, len: key.len(), max: self.key_bytes_max });
            }
        }
        if meta.peers.len() > self.peers_max {
            return Err(Error::TooManyPeers { region, peers: meta.peers.len(), max: self.peers_max });
        }
        let range = KeyRange { start: &meta.start_key, end: &meta.end_key };
        if !range.is_well_formed() {
            return Err(Error::EmptyRange { region, range: key_text::range(range) });
        }
        Ok(())
    }

    /// The number of values a call asks for: 0 is taken as 1, as the reference does.
    pub(super) fn check_count(&self, count: u64) -> Result<u64, Error> {
        if count > self.count_max {
            return Err(Error::CountTooLarge { count, max: self.count_max });
        }
        Ok(count.max(1))
    }
}

pub(super) fn check_region_id(id: u64) -> Result<RegionId, Error> {
    if id == 0 { Err(Error::RegionIdZero) } else { Ok(RegionId(id)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RequestLimits = RequestLimits { key_bytes_max: 4, peers_max: 2, count_max: 10 };

    fn check(meta: pb::RegionMeta) -> Result<(), Error> {
        LIMITS.check_region(&meta)
    }

    fn meta(start: &[u8], end: &[u8], peers: usize) -> pb::RegionMeta {
        let peers = vec![pb::RegionPeer::new(); peers];
        pb::RegionMeta { id: 7, start_key: start.into(), end_key: end.into(), peers, ..Default::default() }
    }

    #[test]
    fn id_zero_comes_before_the_limits() {
        assert_eq!(check(pb::RegionMeta { id: 0, ..meta(b"12345", b"1", 3) }), Err(Error::RegionIdZero));
    }

    #[test]
    fn each_limit_is_inclusive_and_checked_in_order() {
        let long = |border| Err(Error::KeyTooLong { region: RegionId(7), border, len: 5, max: 4 });
        assert_eq!(check(meta(b"12345", b"12345", 3)), long(Border::Start));
        assert_eq!(check(meta(b"9999", b"12345", 3)), long(Border::End));
        assert_eq!(
            check(meta(b"9999", b"1234", 3)),
            Err(Error::TooManyPeers { region: RegionId(7), peers: 3, max: 2 })
        );
        assert!(check(meta(b"1234", b"9999", 2)).is_ok());
    }

    #[test]
    fn an_empty_or_inverted_range_is_refused_and_an_open_one_is_not() {
        for (start, end, range) in [("m", "m", "[m,m)"), ("m", "d", "[m,d)"), ("m\0", "m", "[hex:6d00,m)")] {
            let refused = Error::EmptyRange { region: RegionId(7), range: range.into() };
            assert_eq!(check(meta(start.as_bytes(), end.as_bytes(), 0)), Err(refused));
        }
        for (start, end) in [("", ""), ("m", ""), ("", "d"), ("m", "m\0")] {
            assert!(check(meta(start.as_bytes(), end.as_bytes(), 0)).is_ok());
        }
    }

    #[test]
    fn a_count_of_zero_is_one_and_the_limit_is_inclusive() {
        assert_eq!(LIMITS.check_count(0), Ok(1));
        assert_eq!(LIMITS.check_count(10), Ok(10));
        assert_eq!(LIMITS.check_count(11), Err(Error::CountTooLarge { count: 11, max: 10 }));
        assert_eq!(LIMITS.check_count(u64::MAX), Err(Error::CountTooLarge { count: u64::MAX, max: 10 }));
    }
}
