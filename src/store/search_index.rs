//! Keeps the search indices of [lists](super::listing) in few segments. FTS5 adds a segment with each commit and merges
//! those of similar size, which leaves about a dozen in a large index. A search looks up each of its words in every
//! segment: among a million accounts, a search for a rare name took half as long again in nine segments as in one.
//!
//! Invariant: merging changes no answer. It happens in small transactions, and what a stop leaves undone is left to the
//! next time.

use rusqlite::{Transaction, named_params};

use super::Error;
use super::columns::{all, change};

/// Tables with a search index.
pub const TABLES: [&str; 3] = ["integrations", "oauth_apps", "profiles"];

/// Segments that need no merging.
const FEW: usize = 4;

/// Pages of an index whose segments do not matter.
const SMALL: u32 = 100;

/// Pages that one step writes, or more where a word is in many rows. It usually takes a few milliseconds, in which
/// nothing else is written.
const PAGES: i64 = 50;

/// Begins to merge the index of one of the [`TABLES`], where that makes searches faster. False when there is nothing to
/// [do](merge).
pub fn begin(db: &Transaction<'_>, table: &str) -> Result<bool, Error> {
    // Two look-ups for each segment, instead of a walk along all words. Its last word is on its last page.
    let segments = format!(
        "WITH RECURSIVE segments (id) AS (
            SELECT min(segid) FROM {table}_search_idx
            UNION ALL
            SELECT (SELECT min(segid) FROM {table}_search_idx WHERE segid > id) FROM segments WHERE id IS NOT NULL
         )
         SELECT (SELECT pgno / 2 FROM {table}_search_idx WHERE segid = id ORDER BY term DESC LIMIT 1) FROM segments
         WHERE id IS NOT NULL"
    );
    let pages: Vec<u32> = all(db, &segments, &[], |row| Ok(row.get(0)?))?;
    // By the minus sign, FTS5 takes all segments for ones of a size.
    if is_worthwhile(&pages) { step(db, table, -PAGES) } else { Ok(false) }
}

/// True when segments of so many pages should be one. Merging writes the whole index, so an eighth of it must be new.
fn is_worthwhile(pages: &[u32]) -> bool {
    let (all, largest): (u32, u32) = (pages.iter().sum(), pages.iter().copied().max().unwrap_or(0));
    pages.len() > FEW && all > SMALL && all - largest > all / 8
}

/// Goes on. False when there is nothing more to do.
pub fn merge(db: &Transaction<'_>, table: &str) -> Result<bool, Error> {
    step(db, table, PAGES)
}

fn step(db: &Transaction<'_>, table: &str, pages: i64) -> Result<bool, Error> {
    let before = db.total_changes();
    let sql = format!("INSERT INTO {table}_search ({table}_search, rank) VALUES ('merge', :pages)");
    change(db, &sql, named_params! {":pages": pages})?;
    // FTS5 shows by the number of changes whether it merged anything: one is this statement's own.
    Ok(db.total_changes() - before >= 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::integration::{IntegrationFilter, PlatformFilter};
    use crate::domain::paging::Window;
    use crate::domain::secret::Digest256;
    use crate::store::fixture::{Fixture, NO_TOKENS};
    use crate::store::integrations;

    fn segments(fixture: &Fixture) -> i64 {
        fixture.db.query_row("SELECT count(DISTINCT segid) FROM integrations_search_idx", [], |row| row.get(0)).unwrap()
    }

    fn found(fixture: &Fixture, needle: &str) -> u64 {
        let filter = IntegrationFilter {
            platforms: PlatformFilter::All,
            profile_id: None,
            search: Some(needle.to_owned()),
            oldest_first: false,
            failing_at: None,
        };
        integrations::list(&fixture.db, fixture.ours, &filter, &[], Window { limit: 5, offset: 0 }).unwrap().total
    }

    #[test]
    fn what_was_added_must_be_worth_a_merge() {
        assert!(!is_worthwhile(&[]));
        assert!(!is_worthwhile(&[1_000, 500, 500, 500]), "few");
        assert!(!is_worthwhile(&[10, 9, 8, 7, 6]), "small");
        assert!(!is_worthwhile(&[10_000, 1, 20, 300, 4, 1_000]));
        assert!(is_worthwhile(&[10_000, 1, 20, 300, 4, 1_200]));
        assert!(is_worthwhile(&[30, 30, 30, 30, 30]));
    }

    #[test]
    fn many_segments_become_one_and_find_the_same() {
        let mut fixture = Fixture::new();
        let (ours, grant) = (fixture.ours, fixture.grant("twitter", "subject"));
        let add = |fixture: &mut Fixture, user: &str| {
            let integration = fixture.new_integration(grant, None, user);
            fixture.write(|db| integrations::insert(db, ours, &integration, &NO_TOKENS)).unwrap();
        };
        for number in 0..40 {
            add(&mut fixture, &format!("user-{number:03}"));
        }
        assert!(segments(&fixture) > 4, "{}", segments(&fixture));
        assert!(!fixture.write(|db| begin(db, "integrations")).unwrap(), "it is small");
        for number in 40..400 {
            // Long and unlike the others, so that the index has pages.
            let digest = hex::encode(Digest256::of(number.to_string().as_bytes()).as_bytes());
            add(&mut fixture, &format!("user-{number:03}-{digest}-{}", digest.chars().rev().collect::<String>()));
        }
        let needles = ["user-12", "user-399", "9", "nobody"];
        let before = needles.map(|needle| found(&fixture, needle));
        assert!(fixture.write(|db| begin(db, "integrations")).unwrap(), "{} segments", segments(&fixture));
        let mut steps = 0;
        while fixture.write(|db| merge(db, "integrations")).unwrap() {
            steps += 1;
            assert!(steps < 1_000, "it ends");
        }
        assert!(steps > 0, "it is no single step");
        assert_eq!(segments(&fixture), 1);
        assert_eq!(needles.map(|needle| found(&fixture, needle)), before);
        assert_eq!(before[0], 10);
        for table in TABLES {
            assert!(!fixture.write(|db| begin(db, table)).unwrap(), "{table} has few");
        }
        fixture
            .db
            .execute_batch("INSERT INTO integrations_search (integrations_search) VALUES ('integrity-check')")
            .unwrap();
    }
}
