//! Randomness without state: each value is a hash of the seed, a purpose and a number.
//!
//! So the 70,000th order can be made without making those before it, and the same seed always shows the same world.

use crate::id::Id;

/// What all the invented data comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seed(pub(crate) u64);

impl Seed {
    /// A number for one purpose and one index.
    pub(crate) fn number(self, purpose: &str, index: u64) -> u64 {
        let purpose = purpose
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        mix(mix(mix(self.0) ^ purpose) ^ index)
    }

    /// A number in `0..bound`; 0 where the bound is 0.
    pub(crate) fn below(self, purpose: &str, index: u64, bound: u64) -> u64 {
        self.number(purpose, index).checked_rem(bound).unwrap_or(0)
    }

    /// A number in `0.0..1.0`.
    pub(crate) fn fraction(self, purpose: &str, index: u64) -> f64 {
        (self.number(purpose, index) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// One of a list; the empty string where the list is empty.
    pub(crate) fn pick(self, purpose: &str, index: u64, list: &[&'static str]) -> &'static str {
        let chosen = self.below(purpose, index, list.len() as u64) as usize;
        list.get(chosen).copied().unwrap_or_default()
    }

    /// An id of 24 hex digits, as GHL's orders, products and prices have.
    pub(crate) fn id(self, purpose: &str, index: u64) -> Id {
        let high = u128::from(self.number(purpose, index));
        let low = u128::from(self.number(purpose, !index) >> 32);
        Id::new((high << 32) | low)
    }

    /// An id of 20 letters and digits, as GHL's contacts and locations have.
    pub(crate) fn word(self, purpose: &str, index: u64) -> String {
        const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        (0..20)
            .filter_map(|place| {
                let letter = self.below(purpose, index.wrapping_mul(20).wrapping_add(place), LETTERS.len() as u64);
                LETTERS.get(letter as usize).map(|letter| char::from(*letter))
            })
            .collect()
    }
}

/// SplitMix64's output function.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
