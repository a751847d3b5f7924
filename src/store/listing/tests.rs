//! Lists and searches compared with naive ones, kept counts compared with the rows, and the plans of every statement.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use rusqlite::trace::{TraceEvent, TraceEventCodes};

use super::*;
use crate::domain::grant::Grant;
use crate::domain::health_list::{After, HealthFilter};
use crate::domain::id::{GrantId, IntegrationId, ProfileId};
use crate::domain::integration::{Integration, IntegrationFilter, PlatformFilter};
use crate::domain::oauth_app::OauthAppChange;
use crate::domain::profile::ProfileChange;
use crate::store::fixture::{ALL, Fixture, NO_TOKENS};
use crate::store::{grants, integrations, oauth_apps, profiles};

const CONTRACT: [&str; 3] = ["tiktok", "twitter", "youtube"];
const PLATFORMS: [&str; 5] = ["acme", "globex", "tiktok", "twitter", "youtube"];

/// What a list of integrations should be made from.
struct Kept {
    integration: Integration,
    text: String,
}

/// A fixture with integrations on four grants, and the same as a plain list in the order of insertion.
struct Model {
    fixture: Fixture,
    grants: [GrantId; 4],
    profiles: [Option<ProfileId>; 3],
    kept: Vec<Kept>,
}

#[derive(Debug, Clone)]
enum Step {
    Connect {
        grant: usize,
        profile: usize,
        platform: usize,
        name: String,
    },
    Disconnect(Index),
    Move(Index, usize),
    Reconnect(Index, usize, String),
    /// The grant gets another app.
    Rehome(usize, usize),
}

impl Model {
    fn new() -> Self {
        let mut fixture = Fixture::new();
        let [a, b] = ["a", "b"].map(|client| fixture.app("twitter", client));
        let grants = [None, Some(a), Some(a), Some(b)].map(|app_id| {
            let grant = fixture.new_grant("twitter", &fixture.id::<GrantId>().to_string());
            let grant = Grant { app_id, ..grant };
            fixture.write(|db| grants::insert(db, &grant)).unwrap();
            grant.id
        });
        let profiles = [None, Some(fixture.profile("p")), Some(fixture.profile("q"))];
        // Rows of another project, which no list and no search may meet.
        let theirs = fixture.theirs;
        let foreign = Grant { project_id: theirs, ..fixture.new_grant("twitter", "theirs") };
        fixture.write(|db| grants::insert(db, &foreign)).unwrap();
        let integration = fixture.new_integration(foreign.id, None, "aäßb");
        fixture.write(|db| integrations::insert(db, theirs, &integration, &NO_TOKENS)).unwrap();
        Self { fixture, grants, profiles, kept: Vec::new() }
    }

    fn apply(&mut self, step: Step) {
        let (ours, now) = (self.fixture.ours, self.fixture.now());
        let at = |index: &Index, kept: &[Kept]| (!kept.is_empty()).then(|| index.index(kept.len()));
        match step {
            Step::Connect { grant, profile, platform, name } => {
                let user = format!("u{}", self.fixture.id::<IntegrationId>());
                let mut integration = self.fixture.new_integration(self.grants[grant], self.profiles[profile], &user);
                PLATFORMS[platform].clone_into(&mut integration.platform);
                integration.account.display_name = Some(name).filter(|name| !name.is_empty());
                self.fixture.write(|db| integrations::insert(db, ours, &integration, &NO_TOKENS)).unwrap();
                self.kept.push(Kept { text: integrations::search_text(&integration.account), integration });
            }
            Step::Disconnect(index) => {
                let Some(at) = at(&index, &self.kept) else { return };
                let gone = self.kept.remove(at);
                self.fixture.write(|db| integrations::delete(db, ours, gone.integration.id)).unwrap();
            }
            Step::Move(index, profile) => {
                let Some(at) = at(&index, &self.kept) else { return };
                let profile = self.profiles[profile];
                let moved = &mut self.kept[at].integration;
                moved.profile_id = profile;
                let id = moved.id;
                self.fixture.write(|db| integrations::move_to_profile(db, ours, id, profile, now)).unwrap();
            }
            Step::Reconnect(index, grant, name) => {
                let Some(at) = at(&index, &self.kept) else { return };
                let grant = self.grants[grant];
                let Kept { integration, text } = &mut self.kept[at];
                integration.account.display_name = Some(name);
                integration.grant_id = grant;
                let (id, account) = (integration.id, integration.account.clone());
                self.fixture.write(|db| integrations::update_account(db, ours, id, &account, grant, now)).unwrap();
                *text = integrations::search_text(&account);
            }
            Step::Rehome(grant, app) => {
                let apps =
                    oauth_apps::list(&self.fixture.db, ours, &PlatformFilter::All, &CONTRACT, None, ALL).unwrap().items;
                let app_id = apps.get(app).map(|app| app.id);
                self.fixture.change(self.grants[grant], |grant| Ok(Grant { app_id, ..grant }));
            }
        }
    }

    fn naive(&self, filter: &IntegrationFilter) -> Vec<IntegrationId> {
        let needle = filter.search.as_deref().map(fold);
        let matches = |kept: &&Kept| {
            (match &filter.platforms {
                PlatformFilter::All => true,
                PlatformFilter::Contract => CONTRACT.contains(&kept.integration.platform.as_str()),
                PlatformFilter::One(name) => *name == kept.integration.platform,
            }) && filter.profile_id.is_none_or(|profile| profile == kept.integration.profile_id)
                && needle.as_ref().is_none_or(|needle| {
                    let is_within = kept.text.split('\n').any(|text| text.contains(needle.as_str()));
                    is_within || filter.search == Some(kept.integration.id.to_string())
                })
        };
        let mut ids: Vec<_> = self.kept.iter().filter(matches).map(|kept| kept.integration.id).collect();
        if !filter.oldest_first {
            ids.reverse();
        }
        ids
    }

    fn check(&self, filter: &IntegrationFilter, window: Window) {
        let listed = integrations::list(&self.fixture.db, self.fixture.ours, filter, &CONTRACT, window).unwrap();
        let naive = self.naive(filter);
        let from = usize::try_from(window.offset).unwrap_or(usize::MAX);
        let page: Vec<_> = naive.iter().copied().skip(from).take(window.limit as usize).collect();
        let ids: Vec<_> = listed.items.iter().map(|item| item.id).collect();
        assert_eq!((ids, listed.total), (page, naive.len() as u64), "{filter:?} {window:?}");
    }
}

/// Letters of one to four bytes, capitals that fold to two letters, marks, and what means something to SQL and FTS5.
const LETTERS: [char; 24] = [
    'a', 'a', 'b', 'A', 'ä', 'Ä', 'ß', 'İ', 'é', '\u{301}', '名', '😀', '😁', '0', ' ', '%', '_', '"', '\'', '*', '\\',
    '-', '(', '\n',
];

fn text(longest: usize) -> impl Strategy<Value = String> {
    vec(prop_oneof![9 => select(&LETTERS[..]), 1 => any::<char>().prop_filter("no NUL", |c| *c != '\0')], 0..=longest)
        .prop_map(String::from_iter)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4_usize, 0..3_usize, 0..5_usize, text(12))
            .prop_map(|(grant, profile, platform, name)| Step::Connect { grant, profile, platform, name }),
        1 => any::<Index>().prop_map(Step::Disconnect),
        1 => (any::<Index>(), 0..3_usize).prop_map(|(at, profile)| Step::Move(at, profile)),
        1 => (any::<Index>(), 0..4_usize, text(12)).prop_map(|(at, grant, name)| Step::Reconnect(at, grant, name)),
        1 => (0..4_usize, 0..3_usize).prop_map(|(grant, app)| Step::Rehome(grant, app)),
    ]
}

/// Where a needle comes from: a part of a stored text, mostly.
#[derive(Debug, Clone)]
enum Needle {
    Part(Index, Index, usize),
    Free(String),
    Id(Index),
}

impl Needle {
    fn of(&self, kept: &[Kept]) -> Option<String> {
        match self {
            Self::Part(..) | Self::Id(_) if kept.is_empty() => None,
            Self::Part(row, from, length) => {
                let letters: Vec<char> = row.get(kept).text.chars().collect();
                Some(letters.iter().skip(from.index(letters.len())).take(*length).collect())
            }
            Self::Free(text) => Some(text.clone()),
            Self::Id(row) => Some(row.get(kept).integration.id.to_string()),
        }
    }
}

fn needle() -> impl Strategy<Value = Option<Needle>> {
    prop_oneof![
        2 => Just(None),
        5 => (any::<Index>(), any::<Index>(), prop_oneof![1..5_usize, 5..60_usize]).prop_map(|(a, b, c)| Some(Needle::Part(a, b, c))),
        3 => text(5).prop_map(|text| Some(Needle::Free(text))),
        1 => any::<Index>().prop_map(|row| Some(Needle::Id(row))),
    ]
}

fn platforms() -> impl Strategy<Value = PlatformFilter> {
    prop_oneof![
        Just(PlatformFilter::All),
        Just(PlatformFilter::Contract),
        select(&PLATFORMS[..]).prop_map(|name| PlatformFilter::One(name.to_owned())),
    ]
}

type Query = (Option<Needle>, PlatformFilter, Option<usize>, bool, u32, u64);

fn query() -> impl Strategy<Value = Query> {
    (needle(), platforms(), proptest::option::of(0..3_usize), any::<bool>(), 1..6_u32, prop_oneof![Just(0), 0..30_u64])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn lists_and_searches_agree_with_naive_ones(steps in vec(step(), 1..40), queries in vec(query(), 20)) {
        let mut model = Model::new();
        for step in steps {
            model.apply(step);
        }
        assert_eq!(counts::recount(&model.fixture.db).unwrap(), []);
        assert_index_is_intact(&model.fixture.db, "integrations");
        for (needle, platforms, profile, oldest_first, limit, offset) in queries {
            let filter = IntegrationFilter {
                platforms,
                profile_id: profile.map(|at| model.profiles[at]),
                search: needle.and_then(|needle| needle.of(&model.kept)),
                oldest_first,
                failing_at: None,
            };
            model.check(&filter, Window { limit, offset });
        }
    }
}

/// Compares the search index with the texts.
fn assert_index_is_intact(db: &Connection, table: &str) {
    db.execute_batch(&format!("INSERT INTO {table}_search ({table}_search, rank) VALUES ('integrity-check', 1)"))
        .unwrap();
}

#[test]
fn apps_and_profiles_are_counted_and_indexed_while_they_live() {
    let mut fixture = Fixture::new();
    let (ours, now) = (fixture.ours, fixture.now());
    let found = |fixture: &Fixture, name: &str| {
        assert_eq!(counts::recount(&fixture.db).unwrap(), []);
        for table in ["integrations", "oauth_apps", "profiles"] {
            assert_index_is_intact(&fixture.db, table);
        }
        let twitter = PlatformFilter::One("twitter".to_owned());
        let apps = oauth_apps::list(&fixture.db, ours, &twitter, &CONTRACT, Some(name), ALL).unwrap().total;
        (apps, profiles::list(&fixture.db, ours, Some(name), ALL).unwrap().total)
    };
    let profile = fixture.profile("App c");
    let [app, _] = ["c", "d"].map(|client| fixture.app("twitter", client));
    assert_eq!(found(&fixture, "pp C"), (1, 1));
    let renamed = ProfileChange { name: Some("é".to_owned()), description: None };
    fixture.write(|db| profiles::update(db, ours, profile, &renamed, now)).unwrap();
    let renamed = OauthAppChange { name: Some("É".to_owned()), ..OauthAppChange::default() };
    fixture.write(|db| oauth_apps::update(db, ours, app, &renamed, now)).unwrap();
    assert_eq!((found(&fixture, "pp C"), found(&fixture, "É")), ((0, 0), (1, 1)));
    fixture.write(|db| profiles::delete(db, ours, profile, now)).unwrap();
    fixture.write(|db| oauth_apps::delete(db, ours, app, now)).unwrap();
    assert_eq!((found(&fixture, "É"), found(&fixture, "d")), ((0, 0), (1, 0)));
}

#[test]
fn a_wrong_count_is_found() {
    let mut fixture = Fixture::new();
    let grant = fixture.grant("twitter", "s");
    fixture.integration(grant, None, "u");
    fixture.db.execute("UPDATE counts SET total = 3 WHERE kind = 'integrations' AND within = ''", []).unwrap();
    fixture.db.execute("DELETE FROM counts WHERE kind = 'integrations' AND within = '*'", []).unwrap();
    let miscounts = counts::recount(&fixture.db).unwrap();
    let seen: Vec<_> =
        miscounts.iter().map(|it| (it.within.as_str(), it.platform.as_str(), it.kept, it.counted)).collect();
    assert_eq!(seen, [("", "twitter", 3, 1), ("*", "twitter", 0, 1)]);
    assert_eq!(miscounts[0].project_id, fixture.ours.to_string());
}

#[test]
fn an_account_that_goes_leaves_no_words_behind() {
    let mut fixture = Fixture::new();
    let (grant, ours, now) = (fixture.grant("twitter", "s"), fixture.ours, fixture.now());
    let stored = |fixture: &Fixture| {
        let mut statement =
            fixture.db.prepare("SELECT id, hex(block) FROM integrations_search_data WHERE id > 10").unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(1)).unwrap();
        rows.collect::<Result<Vec<_>, _>>().unwrap().concat()
    };
    fixture.integration(grant, None, "kept");
    let id = fixture.integration(grant, None, "~~~~~").id;
    // Words are hex, of which the index stores what differs from the word before: `~~` is 7e7e, and that is 37653765.
    let word = "37653765";
    assert!(stored(&fixture).contains(word), "{}", stored(&fixture));
    let mut account = crate::store::fixture::account("~~~~~");
    account.username = None;
    account.display_name = None;
    fixture.write(|db| integrations::update_account(db, ours, id, &account, grant, now)).unwrap();
    fixture.write(|db| integrations::delete(db, ours, id)).unwrap();
    assert!(!stored(&fixture).contains(word), "{}", stored(&fixture));
    assert_index_is_intact(&fixture.db, "integrations");
}

#[test]
fn a_refresh_touches_neither_counts_nor_search_index() {
    let mut fixture = Fixture::new();
    let grant = fixture.grant("twitter", "s");
    fixture.integration(grant, None, "u");
    let before = (fixture.dump("counts"), fixture.dump("integrations_search_data"));
    let changes = |fixture: &Fixture| fixture.db.total_changes();
    let at = changes(&fixture);
    fixture.change(grant, |grant| Ok(Grant { failures: 1, ..grant }));
    assert_eq!(changes(&fixture) - at, 1, "one row");
    assert_eq!((fixture.dump("counts"), fixture.dump("integrations_search_data")), before);
}

#[test]
fn the_nearer_end_is_walked_from() {
    let walk = |limit, offset, total| {
        Walk::to(Window { limit, offset }, total).map(|walk| (walk.is_reversed, walk.offset, walk.limit))
    };
    assert_eq!(walk(20, 0, 1000), Some((false, 0, 20)));
    assert_eq!(walk(20, 400, 1000), Some((false, 400, 20)));
    assert_eq!(walk(20, 700, 1000), Some((true, 280, 20)));
    assert_eq!(walk(20, 990, 1000), Some((true, 0, 10)));
    assert_eq!(walk(20, 1000, 1000), None);
    assert_eq!(walk(20, u64::MAX, 1000), None);
    assert_eq!(walk(20, 0, 0), None);
    assert_eq!(walk(20, 0, 7), Some((false, 0, 7)));
}

/// Statements of every list, in every combination of filters.
fn statements() -> BTreeSet<String> {
    let mut model = Model::new();
    for platform in 0..5 {
        for profile in 0..3 {
            model.apply(Step::Connect { grant: 1, profile, platform, name: "Ada Marlow".to_owned() });
        }
    }
    let Model { mut fixture, profiles, .. } = model;
    let (ours, now) = (fixture.ours, fixture.now());
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let into = seen.clone();
    let trace = move |event: TraceEvent<'_>| {
        if let TraceEvent::Stmt(statement, _) = event {
            into.lock().unwrap().insert(statement.sql().into_owned());
        }
    };
    fixture.db.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(trace)).unwrap();
    let id = fixture.id::<IntegrationId>().to_string();
    let needles = [None, Some("a"), Some("ad"), Some("ada"), Some("ada mar"), Some(id.as_str())];
    for offset in [0, 10] {
        let window = Window { limit: 3, offset };
        for after in [None, Some(After::Failing(now, 9)), Some(After::Other(9))] {
            for platform in [None, Some("acme".to_owned())] {
                for profile_id in [None, Some(None), Some(profiles[1])] {
                    let filter = HealthFilter { platform: platform.clone(), profile_id, failing_only: false };
                    integrations::list_by_health(&fixture.db, ours, &filter, after, now, 3).unwrap();
                    integrations::count_failing(&fixture.db, ours, profile_id.flatten(), now).unwrap();
                }
            }
        }
        for needle in needles {
            for platforms in [PlatformFilter::All, PlatformFilter::Contract, PlatformFilter::One("acme".to_owned())] {
                for profile_id in [None, Some(None), Some(profiles[1])] {
                    for oldest_first in [false, true] {
                        let search = needle.map(str::to_owned);
                        let platforms = platforms.clone();
                        let failing_at = (offset == 0).then_some(now);
                        let filter = IntegrationFilter { platforms, profile_id, search, oldest_first, failing_at };
                        integrations::list(&fixture.db, ours, &filter, &CONTRACT, window).unwrap();
                    }
                }
            }
            profiles::list(&fixture.db, ours, needle, window).unwrap();
            for platforms in [PlatformFilter::All, PlatformFilter::Contract, PlatformFilter::One("twitter".to_owned())]
            {
                oauth_apps::list(&fixture.db, ours, &platforms, &CONTRACT, needle, window).unwrap();
            }
        }
    }
    fixture.db.trace_v2(TraceEventCodes::empty(), None::<fn(TraceEvent<'_>)>).unwrap();
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    // The others are FTS5's own, and those that check a plan.
    let is_ours = |sql: &String| sql.starts_with("SELECT") && !sql.contains("'main'") && !sql.contains("sqlite_schema");
    seen.into_iter().filter(is_ours).collect()
}

/// Steps of the plan that read a whole table or sort.
fn expensive(db: &Connection, sql: &str) -> Vec<String> {
    let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let steps: Vec<String> = statement.raw_query().mapped(|row| row.get("detail")).collect::<Result<_, _>>().unwrap();
    let is_bounded = |step: &String| {
        // The window itself, the rows of a bounded count, JSON of a window, and words of the search index.
        let bounded = ["SCAN page", "SCAN (subquery-", "SCAN json_each", "SCAN s VIRTUAL TABLE INDEX", "SCAN moved"];
        let by_word =
            |step: &str| step.starts_with("SCAN") && step.contains("_search VIRTUAL TABLE INDEX") && step.contains('M');
        bounded.iter().any(|start| step.starts_with(start)) || by_word(step)
    };
    steps
        .into_iter()
        .filter(|step| (step.contains("SCAN") || step.contains("TEMP B-TREE")) && !is_bounded(step))
        .collect()
}

#[test]
fn no_list_scans_or_sorts_a_table() {
    let fixture = Fixture::new();
    let statements = statements();
    assert!(statements.len() > 30, "{statements:#?}");
    for sql in &statements {
        assert_eq!(expensive(&fixture.db, sql), Vec::<String>::new(), "{sql}");
    }
    for bad in [
        "SELECT count(*) FROM integrations",
        "SELECT n FROM integrations WHERE project_id = 'a' ORDER BY username",
        "SELECT rowid FROM integrations_search",
    ] {
        assert_ne!(expensive(&fixture.db, bad), Vec::<String>::new(), "{bad}");
    }
}

#[test]
fn every_list_is_among_those_whose_plans_are_checked() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let mut lists = BTreeSet::new();
    let mut folders = vec![folder.clone()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read_to_string(&path).unwrap().contains("-> Result<Listed<") {
                lists.insert(path.strip_prefix(&folder).unwrap().display().to_string());
            }
        }
    }
    let known = ["integrations/list.rs", "listing.rs", "listing/tests.rs", "oauth_apps.rs", "profiles.rs"];
    assert_eq!(lists.iter().map(String::as_str).collect::<Vec<_>>(), known, "add the new list to `statements`");
}
