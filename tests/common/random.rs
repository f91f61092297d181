//! A small random number generator, the same on every machine.

/// SplitMix64: Steele, Lea and Flood, *Fast splittable pseudorandom number generators*,
/// 2014.
pub struct Random(pub u64);

#[allow(dead_code)] // not every test needs all of it
impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn among<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}
