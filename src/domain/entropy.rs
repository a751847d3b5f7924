//! The source of randomness.
//!
//! Invariant: the broker draws random bytes through [`Entropy`] only, so a seeded test repeats itself.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

pub trait Entropy: Send + Sync {
    fn fill(&self, bytes: &mut [u8]);

    /// For what has to be unique and is no secret, such as a request id: may come from a buffer.
    fn fill_public(&self, bytes: &mut [u8]) {
        self.fill(bytes);
    }
}

/// Bytes that are drawn at once for [`Entropy::fill_public`]. A call of the operating system takes as long whether it
/// gives 16 or 500.
const BUFFER: usize = 512;

thread_local! {
    static BUFFERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The operating system's random number generator.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// # Panics
    ///
    /// When the operating system fails to give random bytes: nothing that the broker does is safe without them.
    #[expect(clippy::disallowed_methods, clippy::expect_used, reason = "the one place where randomness is drawn")]
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }

    fn fill_public(&self, bytes: &mut [u8]) {
        BUFFERED.with_borrow_mut(|buffered| {
            if buffered.len() < bytes.len() {
                buffered.resize(BUFFER.max(bytes.len()), 0);
                self.fill(buffered);
            }
            let left = buffered.len() - bytes.len();
            bytes.copy_from_slice(buffered.get(left..).unwrap_or_default());
            buffered.truncate(left);
        });
    }
}

/// A repeatable stream for tests: SHA-256 over a seed and a counter. Not for keys.
#[derive(Debug)]
pub struct SeededEntropy {
    seed: u64,
    counter: Mutex<u64>,
}

impl SeededEntropy {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, counter: Mutex::new(0) }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut counter = self.counter.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(32) {
            let block =
                Sha256::new().chain_update(self.seed.to_be_bytes()).chain_update(counter.to_be_bytes()).finalize();
            *counter += 1;
            chunk.iter_mut().zip(block).for_each(|(to, from)| *to = from);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn public_bytes_do_not_repeat() {
        let mut seen = BTreeSet::new();
        for _ in 0..BUFFER / 16 * 3 {
            let mut bytes = [0; 16];
            SystemEntropy.fill_public(&mut bytes);
            assert!(seen.insert(bytes));
        }
        let mut long = [0; BUFFER * 2];
        SystemEntropy.fill_public(&mut long);
        assert!(long.chunks(16).all(|bytes| seen.insert(bytes.try_into().unwrap())));
    }
}
