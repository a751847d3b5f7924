//! Keys in pages of memory that the kernel keeps out of the swap space.
//!
//! The kernel refuses where the limit of locked memory (`ulimit -l`) is too low. The keys are used all the same, and
//! the log says so once.

use std::ops::Deref;
use std::sync::Once;

use region::LockGuard;

use crate::domain::error_chain::chain;

/// Size of a page on most machines, in bytes. Larger ones are locked as a whole.
const PAGE: usize = 4096;

/// A value alone in its pages, because a lock is of whole pages and ends for all that is on them.
#[repr(align(4096))]
struct Page<T>(T);

/// A secret that is not swapped to the disk. On the heap, so that moving it leaves no copy.
pub(super) struct Locked<T> {
    /// `None` where the kernel refused. Dropped before the page is given back to others.
    _lock: Option<LockGuard>,
    page: Box<Page<T>>,
}

impl<T> Locked<T> {
    pub(super) fn new(secret: T) -> Self {
        const { assert!(align_of::<Page<T>>() == PAGE && size_of::<T>() > 0) };
        let page = Box::new(Page(secret));
        let lock = region::lock(&raw const *page, size_of::<Page<T>>());
        if let Err(error) = &lock {
            static TOLD: Once = Once::new();
            TOLD.call_once(|| {
                tracing::warn!(
                    "the data keys can reach the swap space, because their memory cannot be locked: {}. Raise the limit \
                     (LimitMEMLOCK, ulimit -l), or have no swap space or an encrypted one",
                    chain(error)
                );
            });
        }
        Self { _lock: lock.ok(), page }
    }
}

impl<T> Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.page.0
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Flags of the memory around that address, as the kernel tells them.
    fn flags(address: usize) -> String {
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_here = false;
        for line in maps.lines() {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            let bounds = range.map(|(from, to)| [from, to].map(|number| usize::from_str_radix(number, 16)));
            if let Some([Ok(from), Ok(to)]) = bounds {
                is_here = (from..to).contains(&address);
            } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| is_here) {
                return flags.to_owned();
            }
        }
        panic!("no memory at {address:x}");
    }

    #[test]
    fn a_secret_has_locked_pages_of_its_own() {
        let (first, second) = (Locked::new([7_u8; 64]), Locked::new([8_u8; 64]));
        let addresses = [&first, &second].map(|locked| (&raw const **locked).addr());
        assert!(addresses.iter().all(|address| address % PAGE == 0), "{addresses:x?}");
        assert_eq!((*first, *second), ([7; 64], [8; 64]));
        for address in addresses {
            let flags = flags(address);
            assert!(flags.split(' ').any(|flag| flag == "lo"), "{flags}: raise the limit of locked memory (ulimit -l)");
        }
        drop(first);
        assert!(flags(addresses[1]).split(' ').any(|flag| flag == "lo"), "another secret's end unlocks it");
    }
}
