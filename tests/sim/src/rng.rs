//! Chance that can be had again: the same seed, the same story.
//!
//! SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). A
//! saved story must replay for years, so the generator is ours and never changes.

/// A stream of numbers that follows from its seed alone.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut rng = Self(seed ^ 0x6d61_7374_7761_7463);
        rng.draw();
        rng
    }

    /// A stream of its own for `purpose`, so that one purpose drawing more leaves the others as they were.
    pub fn fork(&self, purpose: u64) -> Self {
        Self::new(self.0 ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { ((u128::from(self.draw()) * u128::from(n)) >> 64) as u64 }
    }

    /// A number from `low` to `high`, both possible.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low).max(0) as u64 + 1) as i64
    }

    /// A number from `low` to `high`, each order of magnitude as likely as the next.
    pub fn log_between(&mut self, low: i64, high: i64) -> i64 {
        let unit = (self.draw() >> 11) as f64 / (1u64 << 53) as f64;
        let (a, b) = ((low as f64).ln(), (high as f64 + 1.0).ln());
        ((a + (b - a) * unit).exp() as i64).clamp(low, high)
    }

    /// True so many times in a thousand.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1_000) < u64::from(per_mille)
    }

    /// One of `these`; they must not be empty.
    pub fn pick<'a, T>(&mut self, these: &'a [T]) -> &'a T {
        &these[self.below(these.len() as u64) as usize]
    }

    /// Puts `these` into any order.
    pub fn shuffle<T>(&mut self, these: &mut [T]) {
        for i in (1..these.len()).rev() {
            these.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_for_ever() {
        let mut rng = Rng::new(7);
        let first = [rng.draw(), rng.draw(), rng.draw()];
        let mut again = Rng::new(7);
        assert_eq!(first, [again.draw(), again.draw(), again.draw()]);
        assert_ne!(Rng::new(8).draw(), first[0]);
    }

    #[test]
    fn bounds_are_kept_and_reached() {
        let mut rng = Rng::new(1);
        let seen: Vec<i64> = (0..1_000).map(|_| rng.between(3, 6)).collect();
        assert_eq!((seen.iter().min(), seen.iter().max()), (Some(&3), Some(&6)));
        assert!((0..1_000).all(|_| (5..=2_000).contains(&rng.log_between(5, 2_000))));
    }
}
