//! Values that keep their places, in segments of 2 MiB that the system is asked to back with one huge page each: among a
//! million values read in no order, translating the address of a small page takes longer than reading the value.
//!
//! The first segment grows by doubling, so that a few values take little. The memory of a place that was given back is kept
//! for the next value.

use std::ops::{Index, IndexMut};

use allocator_api2::vec::Vec as Segment;
use hugealloc::HugeAlloc;

const SEGMENT_BYTES: usize = 2 << 20;

/// Values by place.
#[derive(Clone, Debug)]
pub struct Slab<T> {
    /// All of [`Slab::SEGMENT_LEN`] values but the last, which may be shorter.
    segments: Vec<Segment<T, HugeAlloc>>,
    /// Places that were given back. They hold some value.
    vacant: Vec<usize>,
}

impl<T> Slab<T> {
    /// A segment is filled to its last byte: a shorter one gets no huge page.
    pub const SEGMENT_LEN: usize = {
        assert!(SEGMENT_BYTES.is_multiple_of(size_of::<T>()));
        SEGMENT_BYTES / size_of::<T>()
    };

    /// How many places are in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places() - self.vacant.len()
    }

    /// How many places there are, in use or vacant.
    #[must_use]
    pub fn places(&self) -> usize {
        let whole = self.segments.len().saturating_sub(1) * Self::SEGMENT_LEN;
        whole + self.segments.last().map_or(0, Segment::len)
    }

    #[must_use]
    pub fn vacant(&self) -> &[usize] {
        &self.vacant
    }

    /// Stores a value and returns its place.
    pub fn insert(&mut self, value: T) -> usize {
        if let Some(place) = self.vacant.pop() {
            self[place] = value;
            return place;
        }
        let place = self.places();
        if place.is_multiple_of(Self::SEGMENT_LEN) {
            let room = if place == 0 { 0 } else { Self::SEGMENT_LEN };
            self.segments.push(Segment::with_capacity_in(room, HugeAlloc));
        }
        self.segments.last_mut().expect("pushed above").push(value);
        place
    }

    /// Gives a place back. What it holds stays there until another value comes.
    pub fn release(&mut self, place: usize) {
        self.vacant.push(place);
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { segments: Vec::new(), vacant: Vec::new() }
    }
}

impl<T> Index<usize> for Slab<T> {
    type Output = T;

    fn index(&self, place: usize) -> &T {
        &self.segments[place / Self::SEGMENT_LEN][place % Self::SEGMENT_LEN]
    }
}

impl<T> IndexMut<usize> for Slab<T> {
    fn index_mut(&mut self, place: usize) -> &mut T {
        &mut self.segments[place / Self::SEGMENT_LEN][place % Self::SEGMENT_LEN]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_used_again_and_segments_follow_one_another() {
        let mut slab = Slab::default();
        let len = Slab::<[u8; 64]>::SEGMENT_LEN;
        for number in 0..len + 3 {
            assert_eq!(slab.insert([u8::try_from(number % 251).unwrap(); 64]), number);
        }
        assert_eq!(slab.segments.iter().map(Segment::len).collect::<Vec<_>>(), [len, 3]);
        assert_eq!(slab.segments.iter().map(Segment::capacity).collect::<Vec<_>>(), [len, len]);
        assert_eq!([slab[7], slab[len + 2]].map(|value| usize::from(value[0])), [7, (len + 2) % 251]);
        [2, len + 1].into_iter().for_each(|place| slab.release(place));
        assert_eq!((slab.len(), slab.places()), (len + 1, len + 3));
        assert_eq!([0; 3].map(|_| slab.insert([255; 64])), [len + 1, 2, len + 3]);
        assert_eq!([2, len + 1, len + 3].map(|place| slab[place]), [[255; 64]; 3]);
        assert_eq!((slab.len(), slab.vacant()), (len + 4, &[][..]));
    }

    #[test]
    fn a_few_values_take_little() {
        let mut slab = Slab::default();
        for place in 0..100 {
            assert_eq!(slab.insert([0_u8; 128]), place);
        }
        assert_eq!(slab.segments[0].capacity(), 128);
    }
}
