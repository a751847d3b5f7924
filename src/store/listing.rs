//! Lists that are read window by window, newest first or oldest first, and searches in them. What a list costs does not
//! depend on its length: totals are kept ([`counts`]), windows are walks along an index that has the list's order, and
//! needles are looked up in a search index of trigrams and of longer words.
//!
//! Invariant: no statement scans or sorts a table (`listing/tests.rs` checks the plans of all lists).

mod matches;

use std::fmt::Write as _;

use rusqlite::types::ToSql;
use rusqlite::{Connection, Row, named_params};

use matches::Matches;

use super::Error;
use super::columns::{Params, all, each, fold, json, one, signed};
use super::counts;
use crate::domain::id::ProjectId;
use crate::domain::paging::{Listed, Window};

/// Most trigrams of a needle that are looked up. The rows that they leave are searched for the needle itself.
const MAX_GRAMS: usize = 8;
/// Characters of a long word. Few names have it, where a trigram is in many.
const LONG: usize = 6;
/// Every third place of a text has a long word.
const LONG_EVERY: usize = 3;
/// Most long words of a needle that are looked up, for each way in which it can meet those places. A further one costs
/// more than the rows that it rules out.
const MAX_LONG: usize = 2;

/// A list of rows of one table.
pub(super) struct Listing<'a> {
    /// The table, which has the column `n`, rows in [`counts`] and a search index.
    pub(super) table: &'static str,
    /// Its name in the other members.
    pub(super) alias: &'static str,
    pub(super) select: &'a str,
    /// Joins that keep the number of rows.
    pub(super) joins: &'a str,
    /// Further condition, starting with `AND`.
    pub(super) condition: &'a str,
    /// Parameters of the condition.
    pub(super) params: Params<'a>,
    /// The part of the project that the condition selects, as in [`counts`].
    pub(super) within: &'a str,
    pub(super) oldest_first: bool,
}

/// A needle that a list is narrowed by.
pub(super) struct Search<'a> {
    /// The column with the folded text.
    pub(super) column: &'a str,
    pub(super) needle: &'a str,
    /// True when a row with exactly this id matches too.
    pub(super) or_id: bool,
    /// Further condition, starting with `AND`, with its parameter: it narrows searches, and nothing counts its rows.
    pub(super) only: Option<(&'a str, (&'a str, &'a dyn ToSql))>,
}

impl Listing<'_> {
    /// `is_wanted` narrows the list by platform.
    pub(super) fn window<T>(
        &self,
        db: &Connection,
        project: ProjectId,
        is_wanted: impl Fn(&str) -> bool,
        search: Option<&Search<'_>>,
        window: Window,
        read: impl FnMut(&Row<'_>) -> Result<T, Error>,
    ) -> Result<Listed<T>, Error> {
        let (wanted, others): (Vec<_>, Vec<_>) = counts::by_platform(db, project, self.table, self.within)?
            .into_iter()
            .partition(|(platform, _)| is_wanted(platform));
        let platforms =
            Platforms { is_all: others.is_empty(), names: wanted.iter().map(|(name, _)| name.as_str()).collect() };
        match search.filter(|search| !search.needle.is_empty()) {
            Some(search) if !wanted.is_empty() => {
                let (page, total) = self.find(db, project, &platforms, search, window)?;
                let items = if page.is_empty() { Vec::new() } else { self.rows(db, project, &page, read)? };
                Ok(Listed { items, total })
            }
            _ => {
                let total = wanted.iter().map(|(_, total)| total).sum();
                let items = match Walk::to(window, total) {
                    Some(walk) => self.walk(db, project, &platforms, walk, read)?,
                    None => Vec::new(),
                };
                Ok(Listed { items, total })
            }
        }
    }

    /// Rows of the window, along one index, or along one for each platform at once.
    fn walk<T>(
        &self,
        db: &Connection,
        project: ProjectId,
        platforms: &Platforms<'_>,
        walk: Walk,
        read: impl FnMut(&Row<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let Self { table, alias, select, joins, condition, .. } = self;
        let arm = format!("SELECT {alias}.n FROM {table} AS {alias} WHERE {alias}.project_id = :project {condition}");
        let (limit, offset) = (signed(walk.limit), signed(walk.offset));
        let mut params =
            [self.params, named_params! {":project": project, ":limit": limit, ":offset": offset}].concat();
        // The list of a part of the project has an index by platform only.
        let names: Vec<String> = (0..platforms.names.len()).map(|at| format!(":platform{at}")).collect();
        let keys = if platforms.is_all && self.within == counts::PROJECT {
            arm
        } else {
            params.extend(
                names.iter().zip(&platforms.names).map(|(name, platform)| (name.as_str(), platform as &dyn ToSql)),
            );
            let arms: Vec<String> = names.iter().map(|name| format!("{arm} AND {alias}.platform = {name}")).collect();
            arms.join(" UNION ALL ")
        };
        let direction = if walk.is_reversed == self.oldest_first { " DESC" } else { "" };
        // The rows themselves are looked up last: what is skipped costs a step in the index.
        let mut items = all(
            db,
            &format!(
                "SELECT {select} FROM ({keys} ORDER BY n{direction} LIMIT :limit OFFSET :offset) AS page
                 CROSS JOIN {table} AS {alias} ON {alias}.n = page.n {joins} WHERE {alias}.project_id = :project"
            ),
            &params,
            read,
        )?;
        if walk.is_reversed {
            items.reverse();
        }
        Ok(items)
    }

    /// Numbers of the window's rows, and how many match.
    fn find(
        &self,
        db: &Connection,
        project: ProjectId,
        platforms: &Platforms<'_>,
        search: &Search<'_>,
        window: Window,
    ) -> Result<(Vec<i64>, u64), Error> {
        let Self { table, alias, condition, .. } = self;
        let needle = fold(search.needle);
        let grams = Grams::of(project, &needle);
        let wanted = json(&platforms.names)?;
        let mut narrow = (*condition).to_owned();
        let mut params = self.params.to_vec();
        if !platforms.is_all {
            let _ = write!(narrow, " AND {alias}.platform IN (SELECT value FROM json_each(:platforms))");
            params.push((":platforms", &wanted));
        }
        if let Some((only, param)) = search.only {
            let _ = write!(narrow, " {only}");
            params.push(param);
        }
        let mut matches = Matches::within(window, self.oldest_first);
        let direction = matches.direction();
        if search.or_id {
            let sql = format!(
                "SELECT {alias}.n FROM {table} AS {alias} WHERE {alias}.project_id = :project AND {alias}.id = :id {narrow}"
            );
            let named = named_params! {":project": project, ":id": search.needle};
            matches.also = one(db, &sql, &[params.as_slice(), named].concat(), |row| Ok(row.get(0)?))?;
        }
        let see = |row: &Row<'_>| {
            matches.see(row.get(0)?);
            Ok(())
        };
        if grams.are_exact && platforms.is_all && self.within == counts::PROJECT && search.only.is_none() {
            // The project is in the grams, and the index has the rows of the list only.
            let sql =
                format!("SELECT rowid FROM {table}_search WHERE {table}_search MATCH :grams ORDER BY rowid{direction}");
            each(db, &sql, named_params! {":grams": grams.query}, see)?;
        } else {
            let sql = format!(
                "SELECT s.rowid FROM {table}_search AS s CROSS JOIN {table} AS {alias} ON {alias}.n = s.rowid
                 WHERE s.{table}_search MATCH :grams AND {alias}.project_id = :project {narrow}
                    AND instr({alias}.{}, :needle) > 0
                 ORDER BY s.rowid{direction}",
                search.column
            );
            let named = named_params! {":grams": grams.query, ":project": project, ":needle": needle};
            each(db, &sql, &[params.as_slice(), named].concat(), see)?;
        }
        Ok(matches.end())
    }

    /// The rows with these numbers, in their order.
    fn rows<T>(
        &self,
        db: &Connection,
        project: ProjectId,
        page: &[i64],
        read: impl FnMut(&Row<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let Self { table, alias, select, joins, .. } = self;
        let sql = format!(
            "SELECT {select} FROM json_each(:page) AS page CROSS JOIN {table} AS {alias} ON {alias}.n = page.value {joins}
             WHERE {alias}.project_id = :project"
        );
        all(db, &sql, named_params! {":project": project, ":page": json(&page)?}, read)
    }
}

/// Platforms that a list is narrowed to.
struct Platforms<'a> {
    /// True when no rows are on others.
    is_all: bool,
    names: Vec<&'a str>,
}

/// The way to a window: from the nearer end of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Walk {
    is_reversed: bool,
    offset: u64,
    limit: u64,
}

impl Walk {
    /// `None` when the window has no rows.
    fn to(window: Window, total: u64) -> Option<Self> {
        let rest = total.checked_sub(window.offset).filter(|rest| *rest > 0)?;
        let limit = rest.min(window.limit.into());
        let behind = rest - limit;
        Some(if behind < window.offset {
            Self { is_reversed: true, offset: behind, limit }
        } else {
            Self { is_reversed: false, offset: window.offset, limit }
        })
    }
}

/// A query of the search index for the rows that can contain a needle.
struct Grams {
    query: String,
    /// True when every row that it finds contains the needle.
    are_exact: bool,
}

impl Grams {
    /// The words of the index are trigrams, of which those near the end of a text are shorter, and long words.
    fn of(project: ProjectId, needle: &str) -> Self {
        let starts: Vec<usize> = needle.char_indices().map(|(at, _)| at).chain([needle.len()]).collect();
        let parts = |length: usize| -> Vec<&str> {
            let ends = starts.iter().skip(length);
            starts.iter().zip(ends).filter_map(|(from, to)| needle.get(*from..*to)).collect()
        };
        let long = parts(LONG);
        if long.len() >= LONG_EVERY {
            return Self { query: long_words(project, &long, &parts(3)), are_exact: false };
        }
        let word = |gram: &str| format!("\"{project}_{}\"", hex::encode(gram));
        let grams = parts(3);
        let Some(last) = grams.last() else {
            // Shorter than a word: every word that begins with it.
            return Self { query: format!("{} *", word(needle)), are_exact: true };
        };
        // Three characters apart they cover the needle, wider apart a long one in parts.
        let step = grams.len().div_ceil(MAX_GRAMS).max(3);
        let mut query = word(last);
        for gram in grams.iter().rev().skip(step).step_by(step) {
            let _ = write!(query, " {}", word(gram));
        }
        Self { query, are_exact: grams.len() == 1 }
    }
}

/// A query for the rows that have the long words of one of three ways: the needle begins at a place with such a word,
/// or one or two characters before the next. `parts`: the six characters at each place of the needle; `grams`: the
/// three.
fn long_words(project: ProjectId, parts: &[&str], grams: &[&str]) -> String {
    let ways = (0..LONG_EVERY).map(|first| {
        let places: Vec<&str> = parts.iter().skip(first).step_by(LONG_EVERY).copied().collect();
        let step = places.len().div_ceil(MAX_LONG);
        // From the end: names often begin alike. That they overlap costs less than rows to search.
        let words = places.iter().rev().step_by(step);
        let mut words: Vec<String> = words.map(|part| format!("\"{project}__{}\"", hex::encode(part))).collect();
        // A single word leaves out the needle's beginning or its end, which tell apart the many rows that have it.
        if words.len() == 1 {
            let rest = if first == 0 { grams.last() } else { grams.first() };
            words.extend(rest.map(|gram| format!("\"{project}_{}\"", hex::encode(gram))));
        }
        format!("({})", words.join(" "))
    });
    ways.collect::<Vec<_>>().join(" OR ")
}

#[cfg(test)]
mod tests;
