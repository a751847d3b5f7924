//! Databases with many accounts, and how fast the disk under them commits.
//!
//! A database is made at schema 6 by SQL, whatever the schema of today is, and each broker migrates its own copy when
//! it starts: so one generator serves every build, old or new. Tokens are really sealed, in the present version: a
//! value that was sealed once opens in every later version. The data key is an earlier release's, so that the first
//! start authenticates the access key.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use postpeer::domain::access_key::{PlainAccessKey, Scope};
use postpeer::domain::entropy::SystemEntropy;
use postpeer::domain::grant::TokenSet;
use postpeer::domain::id::{AccessKeyId, GrantId, IdSource, IntegrationId, ProfileId, ProjectId};
use postpeer::domain::secret::SecretString;
use postpeer::domain::time::{Clock as _, SystemClock};
use postpeer::vault::keyring::KeyringFile;
use postpeer::vault::{Owner, Place, Vault};
use refinery::{Runner, Target};
use rusqlite::{Connection, Transaction, params};
use secrecy::ExposeSecret as _;

#[path = "../../tests/support/unbound.rs"]
mod unbound;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// The oldest schema that a build to be measured may have.
const SCHEMA: i32 = 6;
const PROFILES: usize = 1_000;
/// One account in ten is at a platform of the operator's own.
pub(crate) const PLATFORMS: [&str; 10] =
    ["twitter", "tiktok", "youtube", "twitter", "linkedin", "pinterest", "threads", "tiktok", "instagram", "acme"];
/// One of these is in the name of each account.
pub(crate) const FIRST_NAMES: [&str; 16] = [
    "Amara", "Björn", "Chloé", "Dmitri", "Elena", "Farouk", "Giulia", "Hiroshi", "Ingrid", "João", "Katarina", "Liam",
    "Marta", "Nikhil", "Olwen", "Zoë",
];
const SYLLABLES: [&str; 32] = [
    "ba", "cor", "den", "el", "fi", "gor", "han", "is", "jen", "kal", "lo", "mar", "nov", "ost", "pel", "qui", "ro",
    "sen", "tal", "ul", "ven", "wer", "xi", "yor", "zan", "berg", "dur", "gan", "mir", "sol", "tur", "vik",
];
/// Accounts in a transaction.
const BATCH: usize = 50_000;

/// A database to copy, with what its requests need.
pub(crate) struct Data {
    dir: PathBuf,
    pub(crate) accounts: usize,
    /// An access key with every scope.
    pub(crate) key: String,
    /// A few hundred accounts, from everywhere.
    pub(crate) ids: Vec<IntegrationId>,
    pub(crate) last_names: Vec<String>,
}

/// Makes a database with this many accounts in a directory of its own.
pub(crate) fn make(dir: &Path, accounts: usize) -> Data {
    fs::create_dir(dir).unwrap();
    let mut db = Connection::open(dir.join("postpeer.db")).unwrap();
    db.pragma_update(None, "synchronous", "OFF").unwrap();
    db.pragma_update(None, "cache_size", -262_144).unwrap();
    let migrations = embedded::migrations::runner().get_migrations().clone();
    Runner::new(&migrations).set_target(Target::Version(SCHEMA)).set_grouped(true).run(&mut db).unwrap();
    let filled = fill(&mut db, &dir.join("postpeer.keyring"), accounts);
    db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0)).unwrap();
    db.close().unwrap();
    let (key, ids, last_names) = filled;
    Data { dir: dir.to_owned(), accounts, key, ids, last_names }
}

impl Data {
    /// Copies database and keyring to another directory.
    pub(crate) fn copy_to(&self, dir: &Path) {
        fs::create_dir(dir).unwrap();
        for name in ["postpeer.db", "postpeer.keyring"] {
            fs::copy(self.dir.join(name), dir.join(name)).unwrap();
        }
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        // It is in a temporary directory, so the only loss is space for a while.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn fill(db: &mut Connection, keyring_file: &Path, accounts: usize) -> (String, Vec<IntegrationId>, Vec<String>) {
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let ids = IdSource::new(clock.clone(), entropy.clone());
    let now = clock.now().as_millis();
    let keyring = KeyringFile::generate(&*entropy);
    keyring.write_new(keyring_file).unwrap();
    let db_id = uuid::Builder::from_random_bytes([7; 16]).into_uuid();
    let (vault, wrapped) = Vault::initialise(&keyring, db_id, entropy.clone()).unwrap();
    let project: ProjectId = ids.next();
    let key = PlainAccessKey::generate(&*entropy);
    let (hint, digest) = (key.hint(), key.digest());

    let tx = db.transaction().unwrap();
    tx.execute("INSERT INTO meta (id, db_id) VALUES (1, ?)", [db_id.hyphenated().to_string()]).unwrap();
    tx.execute(
        "INSERT INTO keyring VALUES (?, ?, ?, ?, 'active', ?)",
        params![wrapped.dek_id, wrapped.wrapped_by, wrapped.blob, wrapped.check_value, now],
    )
    .unwrap();
    unbound::unbind_key(&tx, keyring_file, db_id, 1);
    tx.execute("INSERT INTO projects VALUES (?, 'default', ?)", params![project.to_string(), now]).unwrap();
    tx.execute(
        "INSERT INTO access_keys VALUES (?, ?, 'bench', ?, ?, ?, ?, NULL)",
        params![
            ids.next::<AccessKeyId>().to_string(),
            project.to_string(),
            hint,
            serde_json::to_string(&Scope::ALL.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap(),
            digest.as_bytes(),
            now
        ],
    )
    .unwrap();
    let profiles: Vec<ProfileId> = (0..PROFILES.min(accounts)).map(|_| ids.next()).collect();
    for (number, id) in profiles.iter().enumerate() {
        tx.execute(
            "INSERT INTO profiles (id, project_id, name, name_folded, created_at, updated_at)
             VALUES (?1, ?2, 'Brand ' || ?3, 'brand ' || ?3, ?4, ?4)",
            params![id.to_string(), project.to_string(), number.to_string(), now],
        )
        .unwrap();
    }
    tx.commit().unwrap();

    let kept_every = accounts.div_ceil(512).max(1);
    let (mut some, mut names) = (Vec::new(), Vec::new());
    for start in (0..accounts).step_by(BATCH) {
        let tx = db.transaction().unwrap();
        for number in start..(start + BATCH).min(accounts) {
            let grant: GrantId = ids.next();
            let tokens = TokenSet {
                access_token: SecretString::from(format!("access-{number:0>80}")),
                refresh_token: Some(SecretString::from(format!("refresh-{number:0>80}"))),
                id_token: None,
                token_type: "Bearer".to_owned(),
                service_url: None,
            };
            let account = Account::of(number);
            let owner = Owner { project_id: project, platform: account.platform, client_id: "client" };
            let sealed = vault.seal_tokens(&Place::grant_tokens(grant, 1, owner), &tokens).unwrap();
            let id: IntegrationId = ids.next();
            insert_grant(&tx, &grant.to_string(), &project.to_string(), &account, sealed.as_bytes(), now);
            // Every other account is in a profile.
            let profile = profiles.get(number / 2 % PROFILES.min(accounts)).filter(|_| number % 2 == 1);
            insert_integration(
                &tx,
                [&id.to_string(), &project.to_string(), &grant.to_string()],
                profile,
                &account,
                now,
            );
            if number % kept_every == 0 {
                some.push(id);
                names.push(account.last_name);
            }
        }
        tx.commit().unwrap();
    }
    (key.into_secret().expose_secret().to_owned(), some, names)
}

struct Account {
    platform: &'static str,
    user: String,
    username: String,
    name: String,
    last_name: String,
}

impl Account {
    fn of(number: usize) -> Self {
        // Multiplying by an odd number spreads the names, and gives a million accounts a million last names.
        let spread = number.wrapping_mul(0x9E37_79B1) >> 7;
        let part = |at: u32| SYLLABLES.get(spread >> (5 * at) & 31).copied().unwrap();
        let last_name = (0..4).map(part).collect::<String>();
        let first = FIRST_NAMES.get(number % FIRST_NAMES.len()).unwrap();
        Self {
            platform: PLATFORMS.get(number % PLATFORMS.len()).unwrap(),
            user: (10_000_000_000 + number).to_string(),
            username: format!("{}_{number}", &last_name),
            name: format!("{first} {last_name}"),
            last_name,
        }
    }
}

fn insert_grant(tx: &Transaction<'_>, id: &str, project: &str, account: &Account, tokens: &[u8], now: i64) {
    const DAY: i64 = 24 * 60 * 60 * 1000;
    // Fresh for two days, so nothing is due while the broker is measured.
    tx.prepare_cached(
        "INSERT INTO grants (id, project_id, platform, client_id, subject, scopes, consented_at, issued_at,
            access_expires_at, renewal, tokens, tokens_dek_id, generation, status, due_at, created_at, updated_at)
         VALUES (?1, ?2, ?3, 'client', ?4, '[\"a\"]', ?5, ?5, ?6, 'refresh_token', ?7, 1, 1, 'active', ?8, ?5, ?5)",
    )
    .unwrap()
    .execute(params![id, project, account.platform, account.user, now, now + 2 * DAY, tokens, now + DAY])
    .unwrap();
}

fn insert_integration(
    tx: &Transaction<'_>,
    [id, project, grant]: [&str; 3],
    profile: Option<&ProfileId>,
    account: &Account,
    now: i64,
) {
    let Account { platform, user, username, name, .. } = account;
    let search = format!("{name}\n{username}\n{user}").to_lowercase();
    tx.prepare_cached(
        "INSERT INTO integrations (id, project_id, grant_id, profile_id, platform, platform_user_id, username,
            display_name, profile_url, image_url, metadata, search, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'https://social.example/' || ?7,
            'https://images.social.example/' || ?6 || '.jpg', '{}', ?9, ?10, ?10)",
    )
    .unwrap()
    .execute(params![id, project, grant, profile.map(ToString::to_string), platform, user, username, name, search, now])
    .unwrap();
}

/// Makes room for further connections in a broker that refuses them: forgets those that nobody finished.
pub(crate) fn forget_flows(database: &Path) {
    let db = Connection::open(database).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db.execute("DELETE FROM flows", []).unwrap();
}

/// Durable commits of one row each, per second, one after the other.
pub(crate) fn commits_per_second(dir: &Path, time: Duration) -> f64 {
    let db = Connection::open(dir.join("commits.db")).unwrap();
    db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0)).unwrap();
    db.pragma_update(None, "synchronous", "FULL").unwrap();
    db.execute_batch("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, text TEXT NOT NULL)").unwrap();
    let mut insert = db.prepare("INSERT INTO rows (text) VALUES ('a row of some length, as rows are')").unwrap();
    let started = Instant::now();
    let mut commits = 0_u32;
    while started.elapsed() < time {
        insert.execute([]).unwrap();
        commits += 1;
    }
    f64::from(commits) / started.elapsed().as_secs_f64()
}
