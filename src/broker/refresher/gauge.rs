//! How many of something there are right now, for `/metrics`.

use std::sync::atomic::{AtomicI64, Ordering};

#[derive(Debug)]
pub(super) struct Gauge {
    count: AtomicI64,
    show: fn(f64),
}

/// Counts as one until it is dropped.
pub(super) struct Counted<'a>(&'a Gauge);

impl Gauge {
    pub(super) const fn new(show: fn(f64)) -> Self {
        Self { count: AtomicI64::new(0), show }
    }

    pub(super) fn begin(&self) -> Counted<'_> {
        self.add(1);
        Counted(self)
    }

    pub(super) fn is_zero(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    #[expect(clippy::cast_precision_loss, reason = "there are never so many")]
    fn add(&self, by: i64) {
        let count = self.count.fetch_add(by, Ordering::SeqCst) + by;
        (self.show)(count as f64);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}
