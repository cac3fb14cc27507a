//! Randomness is a parameter: the server uses the system's generator, tests a seeded one.

use std::sync::{Arc, Mutex, PoisonError};

use rand::{Rng, SeedableRng, rngs::StdRng};

const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Where random values come from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Random(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Seeded(Arc<Mutex<StdRng>>),
}

impl Random {
    /// A generator that is secure enough for secrets.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A generator that returns the same values every time. For tests only.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(Mutex::new(StdRng::seed_from_u64(seed)))))
    }

    /// Fills `buffer` with random bytes.
    pub fn fill(&self, buffer: &mut [u8]) {
        match &self.0 {
            Source::System => rand::rng().fill_bytes(buffer),
            Source::Seeded(rng) => {
                rng.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(buffer);
            }
        }
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A random number.
    pub fn u64(&self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    /// A string of `length` ASCII letters and digits, each with an entropy of 5.95 bits.
    pub fn alphanumeric(&self, length: usize) -> String {
        let mut string = String::with_capacity(length);
        let mut block = [0; 64];
        while string.len() < length {
            self.fill(&mut block);
            // A byte above the largest multiple of 62 would favor the first letters.
            let unbiased = block.iter().filter(|byte| **byte < 248);
            let letters = unbiased.filter_map(|byte| ALPHANUMERIC.get(usize::from(byte % 62)));
            string.extend(letters.take(length - string.len()).map(|letter| char::from(*letter)));
        }
        string
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_the_system_does_not() {
        assert_eq!(Random::seeded(1).alphanumeric(100), Random::seeded(1).alphanumeric(100));
        assert_ne!(Random::system().alphanumeric(100), Random::system().alphanumeric(100));
    }

    #[test]
    fn strings_have_the_length_asked_for() {
        for length in [0, 1, 63, 64, 200] {
            assert_eq!(Random::system().alphanumeric(length).len(), length);
        }
    }
}
