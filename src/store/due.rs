//! The grants that are due, and which of them come first.
//!
//! Any number may be due, and they are looked up every few seconds. So a look-up walks along an index that holds all
//! that it needs, and keeps the most urgent ones: SQLite would sort them all, in memory that it never gives back.
//!
//! Statements are for every project and say so: the broker keeps all tokens alive.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use rusqlite::{Connection, named_params};

use super::Error;
use super::columns::{Fields, each};
use crate::domain::id::{GrantId, OauthAppId, ProjectId};
use crate::domain::time::Timestamp;

/// Most grants that are kept, except for one of each app. They take some ten megabytes.
const MOST: usize = 50_000;

/// A row of the table of grants, for a moment: the number of a deleted grant may go to a new one.
pub type GrantRow = i64;

/// A grant that is due, with what the scheduler needs to order and throttle it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub project_id: ProjectId,
    pub id: GrantId,
    pub row: GrantRow,
    pub platform: String,
    pub client_id: String,
    pub app_id: Option<OauthAppId>,
    pub generation: u64,
}

/// The due grants of all projects.
#[derive(Debug, PartialEq, Eq)]
pub struct AllDue {
    /// The most urgent ones of each app, the access token that expires first at the head.
    pub first: Vec<Due>,
    /// Number of all.
    pub count: u64,
    /// When the first of all became due.
    pub since: Option<Timestamp>,
}

/// Grants of all projects that are due at `now`. Keeps at most `of_each_app` per app, and fewer where many apps have
/// many.
pub fn list_due(db: &Connection, now: Timestamp, of_each_app: u32) -> Result<AllDue, Error> {
    list_at_most(db, now, of_each_app, MOST)
}

fn list_at_most(db: &Connection, now: Timestamp, of_each_app: u32, most: usize) -> Result<AllDue, Error> {
    let mut urgent = Urgent::new(of_each_app as usize, most);
    let (mut count, mut since) = (0, None);
    each(db, LIST, named_params! {":now": now}, |row| {
        let fields = Fields::of("grants", row);
        if since.is_none() {
            since = Some(fields.get("due_at")?);
        }
        count += 1;
        urgent.see(&fields)
    })?;
    Ok(AllDue { first: urgent.into_sorted(), count, since })
}

/// All columns are in the index: no row is read.
const LIST: &str =
    "SELECT due_at, access_expires_at, platform, client_id, app_id, id, project_id, generation, rowid AS number
    FROM grants /* every project */ INDEXED BY grants_by_due WHERE due_at <= :now ORDER BY due_at";

/// The most urgent grants of each app.
struct Urgent {
    /// By platform, client id and app.
    apps: HashMap<String, BinaryHeap<Ranked>>,
    of_each_app: usize,
    most: usize,
    kept: usize,
    /// The app of the present row; a member, so that its memory is used again.
    app: String,
}

impl Urgent {
    fn new(of_each_app: usize, most: usize) -> Self {
        Self { apps: HashMap::new(), of_each_app: of_each_app.max(1), most, kept: 0, app: String::new() }
    }

    fn see(&mut self, fields: &Fields<'_, '_>) -> Result<(), Error> {
        let expires_at: Option<Timestamp> = fields.get("access_expires_at")?;
        self.app.clear();
        for column in ["platform", "client_id", "app_id"] {
            self.app.push_str(fields.text_if_any(column)?.unwrap_or_default());
            self.app.push('\0');
        }
        if !self.apps.contains_key(&self.app) {
            self.apps.insert(self.app.clone(), BinaryHeap::new());
        }
        let Some(app) = self.apps.get_mut(&self.app) else { return Ok(()) };
        let is_full = app.len() >= self.of_each_app;
        if is_full && app.peek().is_some_and(|last| last.expires_at < expires_at) {
            return Ok(());
        }
        app.push(Ranked { expires_at, due: read(fields)? });
        if is_full {
            app.pop();
        } else {
            self.kept += 1;
        }
        while self.kept > self.most && self.of_each_app > 1 {
            self.halve();
        }
        Ok(())
    }

    fn halve(&mut self) {
        self.of_each_app /= 2;
        for app in self.apps.values_mut() {
            while app.len() > self.of_each_app {
                app.pop();
                self.kept -= 1;
            }
        }
    }

    fn into_sorted(self) -> Vec<Due> {
        let mut all: Vec<Ranked> = self.apps.into_values().flatten().collect();
        all.sort_unstable();
        all.into_iter().map(|ranked| ranked.due).collect()
    }
}

/// A due grant in the order of urgency: the greatest one is the least urgent.
struct Ranked {
    expires_at: Option<Timestamp>,
    due: Due,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.expires_at, self.due.id).cmp(&(other.expires_at, other.due.id))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked {}

fn read(fields: &Fields<'_, '_>) -> Result<Due, Error> {
    Ok(Due {
        platform: fields.get("platform")?,
        client_id: fields.get("client_id")?,
        app_id: fields.get("app_id")?,
        id: fields.get("id")?,
        project_id: fields.get("project_id")?,
        generation: fields.unsigned("generation")?,
        row: fields.get("number")?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::grant::Grant;
    use crate::store::fixture::Fixture;
    use crate::store::grants;

    fn ids(all: &AllDue) -> Vec<GrantId> {
        all.first.iter().map(|due| due.id).collect()
    }

    fn insert(fixture: &mut Fixture, grant: &Grant) -> GrantId {
        fixture.write(|db| grants::insert(db, grant)).unwrap();
        grant.id
    }

    #[test]
    fn due_grants_are_listed_by_the_expiry_of_their_tokens() {
        let mut fixture = Fixture::new();
        let start = fixture.now();
        let at = |seconds| Some(start.plus(Duration::from_secs(seconds)));
        let [late, soon, past, unknown, _, _] = [
            ("late", at(10), at(900)),
            ("soon", at(20), at(100)),
            ("past", at(30), at(50)),
            ("expires at a time that nobody knows", at(40), None),
            ("not yet", at(99), at(10)),
            ("never", None, at(10)),
        ]
        .map(|(subject, due_at, access_expires_at)| {
            let grant = Grant { access_expires_at, due_at, ..fixture.new_grant("twitter", subject) };
            insert(&mut fixture, &grant)
        });
        let now = fixture.later(40);
        let order = [unknown, past, soon, late];
        for of_each_app in 1..=5 {
            let all = list_due(&fixture.db, now, of_each_app).unwrap();
            assert_eq!(ids(&all), order[..order.len().min(of_each_app as usize)]);
            assert_eq!((all.count, all.since), (4, at(10)));
        }
        assert_eq!(list_due(&fixture.db, start, 5).unwrap(), AllDue { first: Vec::new(), count: 0, since: None });
    }

    #[test]
    fn no_app_takes_the_places_of_another() {
        let mut fixture = Fixture::new();
        let now = fixture.now();
        let app = fixture.app("twitter", "client");
        let crowd: Vec<GrantId> = (0..9)
            .map(|number| {
                let grant = Grant { due_at: Some(now), ..fixture.new_grant("twitter", &number.to_string()) };
                insert(&mut fixture, &grant)
            })
            .collect();
        let [own, other] = [("twitter", Some(app)), ("tiktok", None)].map(|(platform, app_id)| {
            let grant = Grant { due_at: Some(now), app_id, ..fixture.new_grant(platform, "last") };
            insert(&mut fixture, &grant)
        });
        for (of_each_app, most, expected) in
            [(2, 99, 2), (4, 6, 4), (8, 9, 4), (8, 5, 2), (9, 11, 9), (9, 10, 4), (9, 4, 2), (9, 1, 1)]
        {
            let all = list_at_most(&fixture.db, now, of_each_app, most).unwrap();
            let expected = [&crowd[..expected], &[own, other]].concat();
            assert_eq!(ids(&all), expected, "{of_each_app} {most}");
            assert_eq!(all.count, 11);
        }
    }

    #[test]
    fn due_grants_are_found_in_the_index_alone_and_not_sorted() {
        let fixture = Fixture::new();
        let mut statement = fixture.db.prepare(&format!("EXPLAIN QUERY PLAN {LIST}")).unwrap();
        let steps = statement.query_map([0], |row| row.get("detail")).unwrap();
        let plan: Vec<String> = steps.collect::<Result<_, _>>().unwrap();
        assert_eq!(plan, ["SEARCH grants USING COVERING INDEX grants_by_due (due_at<?)"]);
    }
}
