//! The nodes of the tree of start keys.
//!
//! A node keeps, beside its items, eight bytes of each item's key as a number, its *hint*: those behind a prefix that all keys
//! in question share. A search compares hints, which lie in a row, and reads a key itself only where hints are equal.
//!
//! Invariants, asserted by [`Node::check_invariants`], for a node between a lower bound and an upper one (or none):
//!
//! - the start keys of a leaf rise strictly, are at least the lower bound and below the upper one
//! - a leaf's `shared` is the length of the longest prefix that both bounds share, hence all keys between them (0 without an
//!   upper bound)
//! - the bounds of a branch rise strictly between its own two; one stands between each child and the next; `shared` is the
//!   length of the longest prefix that they share
//! - all leaves have one depth; a leaf is empty only when it is its parent's one child
//! - hints are [`hint`]s of the keys, behind the last one `u64::MAX`

use std::cmp::Ordering;

use super::regions::{Regions, Slot};

/// A fuller node is split. Tests split early, so that few regions make a deep tree.
pub const NODE_LEN_MAX: usize = if cfg!(test) { 16 } else { 128 };
/// Neighbours that have no more items than this together become one node.
const JOINED_LEN_MAX: usize = NODE_LEN_MAX / 2;
/// Hints in a cache line.
const LINE_LEN: usize = 8;

/// A part of the tree.
#[derive(Debug)]
pub enum Node {
    Leaf(Box<Leaf>),
    Branch(Box<Branch>),
}

/// Where the keys of a node are.
#[derive(Clone, Copy)]
pub struct Bounds<'a> {
    pub lower: &'a [u8],
    pub upper: Option<&'a [u8]>,
}

/// What a node that was full gave away: a new node and the bound between them.
pub type Split = (Box<[u8]>, Node);

/// Regions in key order.
#[derive(Debug)]
pub struct Leaf {
    hints: Hints,
    slots: [Slot; NODE_LEN_MAX],
    len: usize,
    shared: usize,
}

/// Nodes in key order.
#[derive(Debug)]
pub struct Branch {
    /// Those of `bounds`.
    hints: Hints,
    shared: usize,
    /// The lower bound of each child but the first.
    bounds: Vec<Box<[u8]>>,
    nodes: Vec<Node>,
}

/// Ascending numbers, in whole cache lines.
#[derive(Debug)]
#[repr(align(64))]
struct Hints([u64; NODE_LEN_MAX]);

impl Default for Node {
    fn default() -> Self {
        Self::leaf(&[])
    }
}

impl Node {
    /// A leaf, which must be told its bounds.
    fn leaf(regions: &[Slot]) -> Self {
        let mut slots = [Slot::new(0); NODE_LEN_MAX];
        slots[..regions.len()].copy_from_slice(regions);
        Self::Leaf(Box::new(Leaf { hints: Hints::new(), slots, len: regions.len(), shared: 0 }))
    }

    /// A branch over nodes of one depth and the bounds between them.
    #[must_use]
    pub fn branch(bounds: Vec<Box<[u8]>>, nodes: Vec<Self>) -> Self {
        let mut branch = Branch { hints: Hints::new(), shared: 0, bounds, nodes };
        branch.set_hints();
        Self::Branch(Box::new(branch))
    }

    /// A leaf of regions in key order, no more than it has room for.
    #[must_use]
    pub fn leaf_within(within: Bounds<'_>, slots: &[Slot], regions: &Regions) -> Self {
        let mut node = Self::leaf(slots);
        node.set_bounds(within, regions);
        node
    }

    /// The region of this node with the highest start key that is not above `key`.
    #[must_use]
    pub fn at_or_before(&self, key: &[u8], regions: &Regions) -> Option<Slot> {
        match self {
            Self::Leaf(leaf) => leaf.slots().get(leaf.count_up_to(key, regions).checked_sub(1)?).copied(),
            Self::Branch(branch) => {
                let at = branch.child_of(key);
                let found = branch.nodes[at].at_or_before(key, regions);
                found.or_else(|| branch.nodes[..at].iter().rev().find_map(Self::last))
            }
        }
    }

    fn last(&self) -> Option<Slot> {
        match self {
            Self::Leaf(leaf) => leaf.slots().last().copied(),
            Self::Branch(branch) => branch.nodes.iter().rev().find_map(Self::last),
        }
    }

    /// The leaf that has, or would have, `key`, and the bound behind it.
    #[must_use]
    pub fn leaf_of(&self, key: &[u8]) -> (&Leaf, Option<&[u8]>) {
        let (mut node, mut upper) = (self, None);
        loop {
            match node {
                Self::Leaf(leaf) => return (leaf, upper),
                Self::Branch(branch) => {
                    let at = branch.child_of(key);
                    upper = branch.bounds.get(at).map(|bound| &bound[..]).or(upper);
                    node = &branch.nodes[at];
                }
            }
        }
    }

    /// Adds a region whose start key is not there.
    pub fn put(&mut self, within: Bounds<'_>, slot: Slot, regions: &Regions) -> Option<Split> {
        match self {
            Self::Leaf(leaf) => leaf.put(within, slot, regions),
            Self::Branch(branch) => branch.put(within, slot, regions),
        }
    }

    /// Removes a region that is there.
    pub fn remove(&mut self, within: Bounds<'_>, slot: Slot, regions: &Regions) {
        match self {
            Self::Leaf(leaf) => leaf.remove(slot, regions),
            Self::Branch(branch) => branch.remove(within, slot, regions),
        }
    }

    /// The one child of a branch that has no other, taken out.
    #[must_use]
    pub fn take_only_child(&mut self) -> Option<Self> {
        match self {
            Self::Branch(branch) if branch.nodes.len() == 1 => branch.nodes.pop(),
            Self::Branch(_) | Self::Leaf(_) => None,
        }
    }

    #[must_use]
    pub fn has_one_child(&self) -> bool {
        matches!(self, Self::Branch(branch) if branch.nodes.len() == 1)
    }

    fn len(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len,
            Self::Branch(branch) => branch.nodes.len(),
        }
    }

    /// Takes in the items of the node behind it; `bound` was between them.
    fn join(&mut self, bound: Box<[u8]>, next: Self) {
        match (self, next) {
            (Self::Leaf(leaf), Self::Leaf(next)) => {
                let len = leaf.len + next.len;
                leaf.slots[leaf.len..len].copy_from_slice(next.slots());
                leaf.len = len;
            }
            (Self::Branch(branch), Self::Branch(next)) => {
                branch.bounds.push(bound);
                branch.bounds.extend(next.bounds);
                branch.nodes.extend(next.nodes);
                branch.set_hints();
            }
            _ => unreachable!("all leaves have one depth"),
        }
    }

    /// Says that a leaf's keys are within these bounds. A branch has no use for them.
    fn set_bounds(&mut self, within: Bounds<'_>, regions: &Regions) {
        if let Self::Leaf(leaf) = self {
            leaf.set_bounds(within, regions);
        }
    }

    /// Asserts every invariant of this file. Returns the depth.
    pub fn check_invariants(&self, within: Bounds<'_>, regions: &Regions) -> usize {
        match self {
            Self::Leaf(leaf) => {
                leaf.check_invariants(within, regions);
                0
            }
            Self::Branch(branch) => branch.check_invariants(within, regions),
        }
    }
}

impl Leaf {
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots[..self.len]
    }

    /// How many of the start keys are not above `key`, which is between the leaf's bounds.
    #[must_use]
    pub fn count_up_to(&self, key: &[u8], regions: &Regions) -> usize {
        let is_not_above = |at: usize| regions.at(self.slots[at]).start_key() <= key;
        self.hints.count_up_to(self.len, hint(key, self.shared), is_not_above)
    }

    fn put(&mut self, within: Bounds<'_>, slot: Slot, regions: &Regions) -> Option<Split> {
        if self.len < NODE_LEN_MAX {
            self.insert(slot, regions);
            return None;
        }
        // In the middle; but at the new key when that is above all others, so that keys that come in order fill the leaves.
        let key = regions.at(slot).start_key();
        let is_above_all = within.upper.is_none() && self.count_up_to(key, regions) == NODE_LEN_MAX;
        let middle = if is_above_all { NODE_LEN_MAX } else { NODE_LEN_MAX / 2 };
        let bound = self.slots.get(middle).map_or(key, |&slot| regions.at(slot).start_key());
        let mut upper = Node::leaf_within(Bounds { lower: bound, ..within }, &self.slots[middle..], regions);
        self.len = middle;
        self.set_bounds(Bounds { upper: Some(bound), ..within }, regions);
        match &mut upper {
            Node::Leaf(upper) if key >= bound => upper.insert(slot, regions),
            _ => self.insert(slot, regions),
        }
        Some((bound.into(), upper))
    }

    /// Adds a region to a leaf that has room.
    fn insert(&mut self, slot: Slot, regions: &Regions) {
        let key = regions.at(slot).start_key();
        let at = self.count_up_to(key, regions);
        self.slots.copy_within(at..self.len, at + 1);
        self.slots[at] = slot;
        self.hints.0.copy_within(at..self.len, at + 1);
        self.hints.0[at] = hint(key, self.shared);
        self.len += 1;
    }

    fn remove(&mut self, slot: Slot, regions: &Regions) {
        let behind = self.count_up_to(regions.at(slot).start_key(), regions);
        assert_eq!(self.slots[..behind].last(), Some(&slot), "a region that is not where its key belongs");
        self.slots.copy_within(behind..self.len, behind - 1);
        self.hints.0.copy_within(behind..self.len, behind - 1);
        self.len -= 1;
        self.hints.0[self.len] = u64::MAX;
    }

    fn set_bounds(&mut self, Bounds { lower, upper }: Bounds<'_>, regions: &Regions) {
        self.shared = upper.map_or(0, |upper| shared_len(lower, upper));
        self.hints = Hints::new();
        for at in 0..self.len {
            self.hints.0[at] = hint(regions.at(self.slots[at]).start_key(), self.shared);
        }
    }

    fn check_invariants(&self, Bounds { lower, upper }: Bounds<'_>, regions: &Regions) {
        assert_eq!(self.shared, upper.map_or(0, |upper| shared_len(lower, upper)));
        let mut previous: Option<&[u8]> = None;
        for (&slot, &stored) in self.slots().iter().zip(&self.hints.0) {
            let key = regions.at(slot).start_key();
            assert!(lower <= key && upper.is_none_or(|upper| key < upper), "{key:x?} is in a wrong leaf");
            assert!(previous < Some(key), "{key:x?} is not above the key before it");
            assert_eq!(stored, hint(key, self.shared), "{key:x?} has a wrong hint");
            previous = Some(key);
        }
        self.hints.check_end(self.len);
    }
}

impl Branch {
    /// The child whose bounds `key` is between.
    fn child_of(&self, key: &[u8]) -> usize {
        let Some(first) = self.bounds.first() else { return 0 };
        match key[..key.len().min(self.shared)].cmp(&first[..self.shared]) {
            Ordering::Less => 0,
            Ordering::Greater => self.bounds.len(),
            Ordering::Equal => {
                let is_not_above = |at: usize| *self.bounds[at] <= *key;
                self.hints.count_up_to(self.bounds.len(), hint(key, self.shared), is_not_above)
            }
        }
    }

    fn put(&mut self, within: Bounds<'_>, slot: Slot, regions: &Regions) -> Option<Split> {
        let at = self.child_of(regions.at(slot).start_key());
        let (bound, node) = self.nodes[at].put(child_bounds(&self.bounds, at, within), slot, regions)?;
        self.bounds.insert(at, bound);
        self.nodes.insert(at + 1, node);
        let split = (self.nodes.len() > NODE_LEN_MAX).then(|| {
            let nodes = self.nodes.split_off(NODE_LEN_MAX / 2);
            let bounds = self.bounds.split_off(NODE_LEN_MAX / 2);
            (self.bounds.pop().expect("half of a full node's"), Node::branch(bounds, nodes))
        });
        self.set_hints();
        split
    }

    fn remove(&mut self, within: Bounds<'_>, slot: Slot, regions: &Regions) {
        let at = self.child_of(regions.at(slot).start_key());
        self.nodes[at].remove(child_bounds(&self.bounds, at, within), slot, regions);
        self.join_with_next(at, within, regions);
        if let Some(before) = at.checked_sub(1) {
            self.join_with_next(before, within, regions);
        }
    }

    /// Joins a child and the one behind it when they are small, or one of them next to empty.
    fn join_with_next(&mut self, at: usize, within: Bounds<'_>, regions: &Regions) {
        let [node, next, ..] = &self.nodes[at..] else { return };
        let (fewer, both) = (node.len().min(next.len()), node.len() + next.len());
        if both > JOINED_LEN_MAX && (fewer > 1 || both > NODE_LEN_MAX) {
            return;
        }
        let (bound, next) = (self.bounds.remove(at), self.nodes.remove(at + 1));
        self.nodes[at].join(bound, next);
        self.nodes[at].set_bounds(child_bounds(&self.bounds, at, within), regions);
        self.set_hints();
    }

    /// Brings `shared` and the hints up to the bounds.
    fn set_hints(&mut self) {
        self.shared = match &self.bounds[..] {
            [first, .., last] => shared_len(first, last),
            _ => 0,
        };
        self.hints = Hints::new();
        for (stored, bound) in self.hints.0.iter_mut().zip(&self.bounds) {
            *stored = hint(bound, self.shared);
        }
    }

    fn check_invariants(&self, within: Bounds<'_>, regions: &Regions) -> usize {
        assert_eq!(self.bounds.len() + 1, self.nodes.len());
        assert!(self.nodes.len() <= NODE_LEN_MAX);
        assert!(self.bounds.windows(2).all(|pair| pair[0] < pair[1]), "the bounds are not in order");
        assert!(
            self.bounds
                .iter()
                .all(|bound| within.lower < &**bound && within.upper.is_none_or(|upper| **bound < *upper))
        );
        if let [first, .., last] = &self.bounds[..] {
            assert_eq!(self.shared, shared_len(first, last));
        }
        let hints = self.bounds.iter().map(|bound| hint(bound, self.shared));
        assert!(hints.eq(self.hints.0[..self.bounds.len()].iter().copied()));
        self.hints.check_end(self.bounds.len());
        let mut depths = self.nodes.iter().enumerate().map(|(at, node)| {
            assert!(node.len() > 0 || self.nodes.len() == 1, "an empty leaf beside others");
            node.check_invariants(child_bounds(&self.bounds, at, within), regions)
        });
        let depth = depths.next().expect("a branch has a child");
        assert!(depths.all(|other| other == depth), "leaves of two depths");
        depth + 1
    }
}

impl Hints {
    fn new() -> Self {
        Self([u64::MAX; NODE_LEN_MAX])
    }

    /// How many of `len` keys are not above the one whose hint is `wanted`: by their hints, and where those are equal by
    /// `is_not_above`, which is asked by the key's place.
    fn count_up_to(&self, len: usize, wanted: u64, is_not_above: impl Fn(usize) -> bool) -> usize {
        // A look at the end of each line, then at one line: none of the first looks waits for another, as those of a binary
        // search do.
        let (lines, _) = self.0.as_chunks::<LINE_LEN>();
        let whole = lines.iter().filter(|line| line[LINE_LEN - 1] < wanted).count();
        let rest = lines.get(whole).map_or(0, |line| line.iter().filter(|hint| **hint < wanted).count());
        let mut low = LINE_LEN * whole + rest;
        let mut high = low + self.0[low..len].iter().take_while(|hint| **hint == wanted).count();
        while low < high {
            let middle = usize::midpoint(low, high);
            if is_not_above(middle) { low = middle + 1 } else { high = middle }
        }
        low
    }

    fn check_end(&self, len: usize) {
        assert!(self.0[len..].iter().all(|&hint| hint == u64::MAX), "hints behind the last one");
    }
}

/// The bounds of a child of a branch within these bounds.
fn child_bounds<'a>(bounds: &'a [Box<[u8]>], at: usize, within: Bounds<'a>) -> Bounds<'a> {
    let lower = at.checked_sub(1).and_then(|before| bounds.get(before));
    Bounds {
        lower: lower.map_or(within.lower, |bound| bound),
        upper: bounds.get(at).map_or(within.upper, |bound| Some(bound)),
    }
}

/// Eight bytes of `key` behind its first `skip` as a number that is ordered like the keys (a shorter key reads as zeros).
#[must_use]
pub fn hint(key: &[u8], skip: usize) -> u64 {
    let rest = &key[skip..];
    if let Some(bytes) = rest.first_chunk() {
        return u64::from_be_bytes(*bytes);
    }
    let mut bytes = [0; 8];
    bytes[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(bytes)
}

/// The length of the longest prefix of both keys.
#[must_use]
pub fn shared_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
