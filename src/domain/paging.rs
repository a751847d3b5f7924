//! Which part of a list is wanted, and what came of it.

/// A window on a list. `limit` is 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub limit: u32,
    pub offset: u64,
}

/// A part of a list, and how long the whole is.
#[derive(Debug, Clone)]
pub struct Listed<T> {
    pub items: Vec<T>,
    pub total: u64,
}
