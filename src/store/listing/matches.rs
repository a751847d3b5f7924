//! The matches of a search. There may be any number of them: all are counted, and those of one window kept.

use crate::domain::paging::Window;

/// The rows that match a search, seen in the order of the list: how many there are, and those of one window.
pub(super) struct Matches {
    window: Window,
    oldest_first: bool,
    /// Number of a row that matches by its id, until its place is reached.
    pub(super) also: Option<i64>,
    pub(super) total: u64,
    /// Numbers of the window's rows.
    pub(super) page: Vec<i64>,
}

impl Matches {
    pub(super) fn within(window: Window, oldest_first: bool) -> Self {
        Self { window, oldest_first, also: None, total: 0, page: Vec::new() }
    }

    pub(super) fn see(&mut self, n: i64) {
        let oldest_first = self.oldest_first;
        let met = self.also.take_if(|also| if oldest_first { *also <= n } else { *also >= n });
        if let Some(also) = met.filter(|also| *also != n) {
            self.count(also);
        }
        self.count(n);
    }

    pub(super) fn end(&mut self) {
        if let Some(also) = self.also.take() {
            self.count(also);
        }
    }

    fn count(&mut self, n: i64) {
        if self.total >= self.window.offset && self.page.len() < self.window.limit as usize {
            self.page.push(n);
        }
        self.total += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_row_that_matches_by_its_id_takes_its_place_among_the_others() {
        let seen = [2, 4, 6];
        let numbers = || (0..8).map(Some).chain([None]);
        let windows = || (0..5).flat_map(|offset| (1..5).map(move |limit| Window { limit, offset }));
        let cases = [false, true].into_iter().flat_map(|oldest_first| {
            numbers().flat_map(move |also| windows().map(move |window| (oldest_first, also, window)))
        });
        for (oldest_first, also, window) in cases {
            let mut matches = Matches::within(window, oldest_first);
            matches.also = also;
            let mut expected: Vec<i64> = seen.into_iter().chain(also).collect::<BTreeSet<_>>().into_iter().collect();
            let mut rows = seen.to_vec();
            if !oldest_first {
                expected.reverse();
                rows.reverse();
            }
            for n in rows {
                matches.see(n);
            }
            matches.end();
            let from = usize::try_from(window.offset).unwrap();
            let page: Vec<i64> = expected.iter().copied().skip(from).take(window.limit as usize).collect();
            assert_eq!(matches.page, page, "{also:?} {window:?}");
            assert_eq!(matches.total, expected.len() as u64);
        }
    }
}
