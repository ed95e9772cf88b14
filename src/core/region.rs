//! A region: an id, a key range, an epoch and the peers that hold its replicas.
//!
//! A [`Region`] never changes once it is built; a newer heartbeat replaces it whole. It keeps keys and peers in one string
//! of bytes, inside itself unless they are long, because a million regions have to fit into a small process and each is read
//! from memory that no cache holds.
//!
//! ```text
//! bytes: | start key | end key | per peer: uvarint store id, uvarint peer id |
//!        0        start_len  peers_at                               bytes.len()
//! ```

use std::fmt;

use super::short_bytes::{Builder, ShortBytes};
use super::uvarint;

/// The id of a region. 0 names no region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(pub u64);

/// The id of a store (one key-value node). 0 names no store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub u64);

/// The id of a peer (one replica of one region). 0 is accepted in a peer list, but names no peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

impl fmt::Display for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The age of a region's description, ordered by version (splits, merges) first and conf version (peers) second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch {
    pub version: u64,
    pub conf_version: u64,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.version, self.conf_version)
    }
}

/// One replica: the store it lives on and its own id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    pub store_id: StoreId,
    pub peer_id: PeerId,
}

/// The keys `start <= key < end`, compared as unsigned bytes. An empty start is the lowest key, an empty end is above
/// every key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRange<'a> {
    pub start: &'a [u8],
    pub end: &'a [u8],
}

impl KeyRange<'_> {
    /// Tells whether some key could be in the range. `[a, a)` and `[b, a)` hold none.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        self.end.is_empty() || self.start < self.end
    }

    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start <= key && (self.end.is_empty() || key < self.end)
    }

    /// Tells whether the two ranges share a key. Ranges that only touch do not.
    #[must_use]
    pub fn overlaps(&self, other: &KeyRange<'_>) -> bool {
        let ends_before = |a: &KeyRange<'_>, b: &KeyRange<'_>| !a.end.is_empty() && a.end <= b.start;
        !ends_before(self, other) && !ends_before(other, self)
    }
}

/// One region as its last accepted heartbeat described it. Peers keep the order in which they were sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Region {
    id: RegionId,
    epoch: Epoch,
    start_len: u32,
    peers_at: u32,
    bytes: ShortBytes,
}

impl Region {
    /// Builds a region. Nothing is checked here: whether a range or an id may be served is the catalog's decision.
    ///
    /// # Panics
    ///
    /// When the keys have more than 4 GiB together; no frame or file record can be that long.
    #[must_use]
    pub fn new(
        id: RegionId,
        start_key: &[u8],
        end_key: &[u8],
        epoch: Epoch,
        peers: impl IntoIterator<Item = Peer>,
    ) -> Self {
        let mut bytes = Builder::new();
        bytes.push(start_key);
        bytes.push(end_key);
        let peers_at = u32::try_from(bytes.len()).expect("keys come out of a frame of less than 4 GiB");
        let start_len = u32::try_from(start_key.len()).expect("shorter than both keys together");
        for peer in peers {
            for number in [peer.store_id.0, peer.peer_id.0] {
                let (encoded, len) = uvarint::encode(number);
                bytes.push(&encoded[..len]);
            }
        }
        Self { id, epoch, start_len, peers_at, bytes: bytes.finish() }
    }

    #[must_use]
    pub fn id(&self) -> RegionId {
        self.id
    }

    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    #[must_use]
    pub fn start_key(&self) -> &[u8] {
        &self.bytes.as_slice()[..offset(self.start_len)]
    }

    #[must_use]
    pub fn end_key(&self) -> &[u8] {
        &self.bytes.as_slice()[offset(self.start_len)..offset(self.peers_at)]
    }

    #[must_use]
    pub fn range(&self) -> KeyRange<'_> {
        KeyRange { start: self.start_key(), end: self.end_key() }
    }

    /// The peers in the order in which they were sent.
    #[must_use]
    pub fn peers(&self) -> Peers<'_> {
        Peers { rest: self.peer_bytes() }
    }

    fn peer_bytes(&self) -> &[u8] {
        &self.bytes.as_slice()[offset(self.peers_at)..]
    }

    /// The bytes that its keys and peers take in memory.
    #[must_use]
    pub fn heap_len(&self) -> usize {
        self.bytes.as_slice().len()
    }

    /// Reads a little of each cache line that the region lies in, so that they are near when it is looked at.
    pub fn touch(&self) {
        std::hint::black_box((self.id, self.bytes.touch()));
    }

    /// Tells whether both regions have the same peers in the same order.
    #[must_use]
    pub fn has_same_peers(&self, other: &Self) -> bool {
        self.peer_bytes() == other.peer_bytes()
    }

    /// The peer that a leader transfer would name on `store`: the first entry there whose peer id is not 0.
    #[must_use]
    pub fn peer_on(&self, store: StoreId) -> Option<PeerId> {
        self.peers().find(|peer| peer.store_id == store && peer.peer_id != PeerId(0)).map(|peer| peer.peer_id)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("id", &self.id.0)
            .field("start_key", &self.start_key())
            .field("end_key", &self.end_key())
            .field("epoch", &self.epoch)
            .field("peers", &self.peers().map(|peer| (peer.store_id.0, peer.peer_id.0)).collect::<Vec<_>>())
            .finish()
    }
}

/// The peers of one region, in order.
#[derive(Clone, Debug)]
pub struct Peers<'a> {
    rest: &'a [u8],
}

impl Iterator for Peers<'_> {
    type Item = Peer;

    fn next(&mut self) -> Option<Peer> {
        let store_id = StoreId(uvarint::take(&mut self.rest)?);
        let peer_id = PeerId(uvarint::take(&mut self.rest).expect("Region::new writes peers in pairs"));
        Some(Peer { store_id, peer_id })
    }
}

fn offset(value: u32) -> usize {
    usize::try_from(value).expect("a 32-bit offset fits the address space")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range<'a>(start: &'a str, end: &'a str) -> KeyRange<'a> {
        KeyRange { start: start.as_bytes(), end: end.as_bytes() }
    }

    #[test]
    fn epochs_order_by_version_first() {
        let epoch = |version, conf_version| Epoch { version, conf_version };
        assert!(epoch(4, 900) < epoch(5, 5));
        assert!(epoch(5, 4) < epoch(5, 5));
        assert!(epoch(6, 0) > epoch(5, 5));
    }

    #[test]
    fn touching_ranges_do_not_overlap() {
        assert!(!range("d", "m").overlaps(&range("m", "n")));
        assert!(!range("d", "m").overlaps(&range("", "d")));
        assert!(!range("d", "m").overlaps(&range("m", "")));
        assert!(range("d", "m").overlaps(&range("l", "")));
        assert!(range("", "").overlaps(&range("x", "y")));
        assert!(range("d", "m").overlaps(&range("c", "d\0")));
    }

    #[test]
    fn a_range_holds_its_start_and_not_its_end() {
        assert!(range("a", "c").contains(b"a"));
        assert!(!range("a", "c").contains(b"c"));
        assert!(range("a", "").contains(&[0xff; 9]));
        assert!(range("", "b").contains(b""));
        assert!(!range("b", "a").is_well_formed());
        assert!(!range("a", "a").is_well_formed());
    }

    #[test]
    fn a_region_gives_back_what_it_was_built_from() {
        let peers = [(1, 0), (1, u64::MAX), (u64::MAX, 7)]
            .map(|(store, peer)| Peer { store_id: StoreId(store), peer_id: PeerId(peer) });
        let region = Region::new(RegionId(9), b"a\0", b"", Epoch { version: 1, conf_version: 2 }, peers);
        assert_eq!((region.id(), region.start_key(), region.end_key()), (RegionId(9), &b"a\0"[..], &b""[..]));
        assert_eq!(region.peers().collect::<Vec<_>>(), peers);
        assert_eq!(region.peer_on(StoreId(1)), Some(PeerId(u64::MAX)));
        assert_eq!(region.peer_on(StoreId(2)), None);
    }
}
