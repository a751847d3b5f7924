//! How much memory a value takes: for whoever keeps values within bounds.

/// Knows how much memory it takes.
pub trait Weigh {
    /// Bytes on the heap, about.
    fn weight(&self) -> usize;
}

/// Bytes of texts with their `String`s.
pub fn weight_of<'t>(texts: impl IntoIterator<Item = &'t String>) -> usize {
    texts.into_iter().map(|text| size_of::<String>() + text.len()).sum()
}
