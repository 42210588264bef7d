//! Chance for the choice among equals: quick, a state for each thread, and of no worth to who guesses it.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};

thread_local! {
    /// Another beginning for each thread: the standard library's hasher is seeded by the system.
    static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(1) | 1);
}

/// xorshift64*, <https://doi.org/10.18637/jss.v008.i14>.
fn next() -> u64 {
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        state.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    })
}

/// A number below `end`; none when there is none.
pub fn below(end: u32) -> Option<u32> {
    let high = next() >> 32;
    (end > 0).then(|| u32::try_from((high * u64::from(end)) >> 32).unwrap_or(0))
}
