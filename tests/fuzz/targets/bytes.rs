//! Random numbers that libFuzzer makes: what a generator draws is what the input says.

#[path = "../../common/random.rs"]
mod random;

use std::cell::RefCell;

thread_local! {
    static INPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What is drawn from now on comes from here.
pub fn draw_from(input: &[u8]) {
    INPUT.with_borrow_mut(|own| {
        own.clear();
        own.extend(input.iter().rev());
    });
}

/// In place of the one in `tests/common/random.rs`, which goes on when the input has come to
/// its end.
pub struct Random(pub u64);

#[allow(dead_code)] // neither target needs all of it
impl Random {
    pub fn next(&mut self) -> u64 {
        let mut goes_on = random::Random(self.0);
        let next = goes_on.next();
        self.0 = goes_on.0;
        next
    }

    /// A number below `end`: one byte of the input, or as many as it takes.
    pub fn below(&mut self, end: usize) -> usize {
        let bytes = (usize::BITS - end.leading_zeros()).div_ceil(8);
        let drawn = (0..bytes).try_fold(0, |drawn: usize, _| {
            INPUT.with_borrow_mut(Vec::pop).map(|byte| drawn << 8 | usize::from(byte))
        });
        drawn.unwrap_or_else(|| self.next() as usize) % end
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn among<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}
