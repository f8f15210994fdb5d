//! Reproducible random numbers: the same in every run, on every platform, in every version.
//!
//! Never in here: the standard library's hasher, which differs from run to run.

/// `SplitMix64` over an FNV-1a hash.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn seeded(parts: &[&[u8]]) -> Self {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for part in parts {
            // The length distinguishes ("ab", "c") from ("a", "bc").
            let length = (part.len() as u64).to_le_bytes();
            for byte in length.iter().chain(*part) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        Self(hash)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Four characters that represent the seed.
    pub(crate) fn tag(mut self) -> String {
        format!("{:04x}", self.next() & 0xffff)
    }

    /// A number from 0 to less than 1.
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.share()
    }

    /// One of a list that isn't empty.
    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        let at = (self.share() * list.len() as f64) as usize;
        &list[at.min(list.len() - 1)]
    }

    /// Shuffles a list.
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            let other = (self.share() * (at + 1) as f64) as usize;
            list.swap(at, other.min(at));
        }
    }
}
