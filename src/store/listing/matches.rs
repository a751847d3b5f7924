//! The matches of a search. There may be any number of them: all are counted, and no more kept than a window needs.

use std::collections::VecDeque;

use crate::domain::paging::Window;

/// Largest offset for which the newest are found from the oldest on. All rows up to the window's end are kept then.
const NEAR: u64 = 10_000;

/// The rows that match a search, while they are seen: how many there are, and those of one window.
///
/// A search index is read faster from the oldest row on, and all matches are counted anyway. So unless the window is
/// far from the start, the newest are those that are left at the end.
pub(super) struct Matches {
    window: Window,
    /// True when the rows are seen with rising numbers.
    rises: bool,
    /// True when they are seen in the order of the list.
    in_order: bool,
    /// Number of a row that matches by its id, until its place is reached.
    pub(super) also: Option<i64>,
    total: u64,
    /// Numbers of the window's rows. Out of order, of the rows before it as well.
    kept: VecDeque<i64>,
}

impl Matches {
    pub(super) fn within(window: Window, oldest_first: bool) -> Self {
        let rises = oldest_first || window.offset <= NEAR;
        Self { window, rises, in_order: rises == oldest_first, also: None, total: 0, kept: VecDeque::new() }
    }

    /// Direction in which the rows are to be seen, for `ORDER BY`.
    pub(super) const fn direction(&self) -> &'static str {
        if self.rises { "" } else { " DESC" }
    }

    pub(super) fn see(&mut self, n: i64) {
        let rises = self.rises;
        let met = self.also.take_if(|also| if rises { *also <= n } else { *also >= n });
        if let Some(also) = met.filter(|also| *also != n) {
            self.count(also);
        }
        self.count(n);
    }

    /// Numbers of the window's rows, in the order of the list, and how many match.
    pub(super) fn end(mut self) -> (Vec<i64>, u64) {
        if let Some(also) = self.also.take() {
            self.count(also);
        }
        if self.in_order {
            return (self.kept.into(), self.total);
        }
        let skipped = usize::try_from(self.window.offset).unwrap_or(usize::MAX);
        (self.kept.into_iter().rev().skip(skipped).collect(), self.total)
    }

    fn count(&mut self, n: i64) {
        let Window { limit, offset } = self.window;
        if !self.in_order {
            self.kept.push_back(n);
            if self.kept.len() as u64 > offset + u64::from(limit) {
                self.kept.pop_front();
            }
        } else if self.total >= offset && self.kept.len() < limit as usize {
            self.kept.push_back(n);
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
        let windows =
            || (0..5).chain([NEAR, NEAR + 1]).flat_map(|offset| (1..5).map(move |limit| Window { limit, offset }));
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
            }
            if matches.direction() == " DESC" {
                rows.reverse();
            }
            for n in rows {
                matches.see(n);
            }
            let (found, total) = matches.end();
            let from = usize::try_from(window.offset).unwrap();
            let page: Vec<i64> = expected.iter().copied().skip(from).take(window.limit as usize).collect();
            assert_eq!(found, page, "{also:?} {window:?}");
            assert_eq!(total, expected.len() as u64);
        }
    }

    #[test]
    fn windows_among_many_matches_are_the_same_from_either_end() {
        for offset in [0, 1, 500, NEAR - 1, NEAR, NEAR + 1, 29_990, 30_000] {
            let window = Window { limit: 20, offset };
            let mut matches = Matches::within(window, false);
            let numbers = 1..=30_000;
            if matches.direction().is_empty() {
                numbers.for_each(|n| matches.see(n));
            } else {
                numbers.rev().for_each(|n| matches.see(n));
            }
            let from = 30_000 - i64::try_from(offset).unwrap();
            let expected: Vec<i64> = (1..=from).rev().take(20).collect();
            assert_eq!(matches.end(), (expected, 30_000), "{offset}");
        }
    }
}
