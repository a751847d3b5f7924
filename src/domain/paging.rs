//! Pages of a list.

/// The requested part of a list. `limit` is 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    pub limit: u32,
    pub offset: u64,
}

impl Window {
    /// Rows that are skipped within a short read: some hundred microseconds.
    const SKIPPED_AT_ONCE: u64 = 10_000;

    /// True when reading the window can take milliseconds, so that no other request may wait for it: it is far from the
    /// start, or it is one of a search, whose needle can match any number of rows.
    #[must_use]
    pub fn is_long(&self, searches: bool) -> bool {
        searches || self.offset > Self::SKIPPED_AT_ONCE
    }
}

/// A part of a list, and the length of the whole.
#[derive(Debug, Clone)]
pub struct Listed<T> {
    pub items: Vec<T>,
    pub total: u64,
}

impl<T> Listed<T> {
    #[must_use]
    pub const fn empty() -> Self {
        Self { items: Vec::new(), total: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_and_far_windows_are_long() {
        let near = Window { limit: 100, offset: 10_000 };
        assert!(!near.is_long(false) && near.is_long(true));
        assert!(Window { offset: 10_001, ..near }.is_long(false));
    }
}
