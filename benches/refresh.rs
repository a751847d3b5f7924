//! `cargo bench --bench refresh`: many grants due at once at a slow platform, and the latency for callers meanwhile.
//!
//! Reports the time relative to the ideal (grants × latency ÷ concurrency), the number of calls to the platform, and
//! the list endpoint's latency before and during as a ratio. `GRANTS`, `LATENCY_MS` and `CONCURRENCY` change the
//! setup. Everything runs on loopback and in a temporary folder, for about a minute.

#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a benchmark stops where something is not as it should be, and reads the clock and its settings itself"
)]

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse, HttpServer};
use postpeer::app::{self, Ports, Prepared};
use postpeer::config::{self, Environment};
use postpeer::domain::access_key::Scope;
use postpeer::domain::account::Account;
use postpeer::domain::grant::{AuthStatus, Grant, TokenSet};
use postpeer::domain::id::{IdSource, ProjectId};
use postpeer::domain::integration::{Integration, OwnTokens};
use postpeer::domain::past_refreshes::PastRefreshes;
use postpeer::domain::project::DEFAULT_PROJECT;
use postpeer::domain::refresh::RefreshState;
use postpeer::domain::renewal::Renewal;
use postpeer::domain::secret::SecretString;
use postpeer::http;
use postpeer::store::{self, Store, grants, integrations};
use postpeer::vault::keyring::KeyringFile;
use postpeer::vault::{Owner, Place, Vault};
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

/// The platform, which counts its calls and the most in flight.
#[derive(Default)]
struct Platform {
    latency: Duration,
    asked: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
}

async fn token(platform: Data<Platform>) -> HttpResponse {
    let asked = platform.asked.fetch_add(1, Ordering::SeqCst);
    let now = platform.now.fetch_add(1, Ordering::SeqCst) + 1;
    platform.most.fetch_max(now, Ordering::SeqCst);
    tokio::time::sleep(platform.latency).await;
    platform.now.fetch_sub(1, Ordering::SeqCst);
    HttpResponse::Ok().content_type("application/json").body(format!(
        r#"{{"access_token":"access-{asked}","refresh_token":"refresh-{asked}","token_type":"bearer","expires_in":7200}}"#
    ))
}

/// Serves the platform from its own threads, until the process ends.
fn serve(listener: TcpListener, platform: Data<Platform>) {
    std::thread::spawn(move || {
        let server =
            HttpServer::new(move || App::new().app_data(platform.clone()).route("/token", web::post().to(token)));
        actix_web::rt::System::new().block_on(server.workers(1).listen(listener).unwrap().run()).unwrap();
    });
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn main() {
    let (grants, latency) = (setting("GRANTS", 10_000), Duration::from_millis(setting("LATENCY_MS", 100)));
    let concurrency = setting("CONCURRENCY", 32);
    let platform = Data::new(Platform { latency, ..Platform::default() });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let platform_url = format!("http://{}", listener.local_addr().unwrap());
    serve(listener, platform.clone());

    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let toml = format!(
        r#"
        [server]
        public_url = "{url}"
        [refresh]
        concurrency = {concurrency}
        [platforms.acme]
        client_id = "client"
        client_secret = "secret"
        authorize_url = "{platform_url}/authorize"
        token_url = "{platform_url}/token"
        identity_url = "{platform_url}/me"
        scopes = ["a"]
        identity = {{ id = "/sub" }}
        "#
    );
    let config = config::from_str("bench", &toml, dir.path(), &Environment::default()).unwrap();
    let ports = Ports::system();
    app::initialise(&config, &ports).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    seed(&runtime, &config, &ports, grants);
    let app = Prepared::new(config, ports.clone()).unwrap().open().unwrap();
    let key = runtime.block_on(async {
        let (_, key) = app.broker.create_access_key(DEFAULT_PROJECT, "bench", Scope::ALL).await.unwrap();
        key.expose_secret().to_owned()
    });
    let state = http::State::new(app.broker.clone(), http::Settings::new(&url), ports.entropy.clone());
    std::thread::spawn(move || {
        let server = HttpServer::new(move || http::app(state.clone()));
        actix_web::rt::System::new().block_on(server.workers(2).listen(listener).unwrap().run()).unwrap();
    });

    let idle = runtime.block_on(list_for(&url, &key, Duration::from_secs(5)));
    let started = Instant::now();
    let broker = app.broker.clone();
    let (round, busy) = runtime.block_on(async {
        let refreshing =
            app.work().spawn(async move { broker.refresher().refresh_due(&CancellationToken::new()).await.unwrap() });
        let listing = list_until(&url, &key, || refreshing.is_finished()).await;
        (refreshing.await.unwrap(), listing)
    });
    let took = started.elapsed();
    let ideal = latency * u32::try_from(grants).unwrap() / u32::try_from(concurrency).unwrap();
    println!("{grants} grants due at once, a platform that takes {latency:?}, concurrency {concurrency}");
    println!("  refreshed            {:>10}", round.refreshed);
    println!(
        "  upstream calls       {:>10}   at most {} at once",
        platform.asked.load(Ordering::SeqCst),
        platform.most.load(Ordering::SeqCst)
    );
    println!(
        "  time                 {:>9.1}s   {:.2} of the ideal {:.1}s",
        took.as_secs_f64(),
        took.as_secs_f64() / ideal.as_secs_f64(),
        ideal.as_secs_f64()
    );
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        let (before, during) = (at(&idle, quantile), at(&busy, quantile));
        println!(
            "  list {name}             {:>8.1}ms   {:.1} times the {:.1}ms of before ({} and {} requests)",
            during.as_secs_f64() * 1000.0,
            during.as_secs_f64() / before.as_secs_f64(),
            before.as_secs_f64() * 1000.0,
            busy.len(),
            idle.len()
        );
    }
    drop(runtime);
    app.close().unwrap();
}

/// Inserts due grants, each with an account.
fn seed(runtime: &tokio::runtime::Runtime, config: &config::Config, ports: &Ports, count: u64) {
    let inspection = store::inspect(&config.database).unwrap();
    let keyring = KeyringFile::load(&config.keyring).unwrap();
    let vault = Vault::unlock(&keyring, inspection.db_id, &inspection.wrapped_keys, ports.entropy.clone()).unwrap();
    let store = Store::open(&config.database).unwrap();
    let ids = Arc::new(IdSource::new(ports.clock.clone(), ports.entropy.clone()));
    let now = ports.clock.now();
    runtime.block_on(async {
        let projects = store.read(store::projects::list).await.unwrap();
        let project: ProjectId = projects.first().unwrap().id;
        for start in (0..count).step_by(500) {
            let (ids, vault) = (ids.clone(), vault.clone());
            store
                .write(move |tx| {
                    for number in start..(start + 500).min(count) {
                        let id = ids.next();
                        let tokens = TokenSet {
                            access_token: SecretString::from(format!("old-access-{number}")),
                            refresh_token: Some(SecretString::from(format!("old-refresh-{number}"))),
                            id_token: None,
                            token_type: "Bearer".to_owned(),
                            service_url: None,
                        };
                        let owner = Owner { project_id: project, platform: "acme", client_id: "client" };
                        let grant = Grant {
                            id,
                            project_id: project,
                            platform: "acme".to_owned(),
                            app_id: None,
                            client_id: "client".to_owned(),
                            subject: number.to_string(),
                            scopes: vec!["a".to_owned()],
                            requested_scopes: Vec::new(),
                            consented_at: now,
                            issued_at: now.minus(Duration::from_hours(2)),
                            access_expires_at: Some(now.plus(Duration::from_mins(10))),
                            refresh_expires_at: None,
                            renewal: Renewal::RefreshToken,
                            tokens: Some(vault.seal_tokens(&Place::grant_tokens(id, 1, owner), &tokens).unwrap()),
                            generation: 1,
                            status: AuthStatus::Active,
                            ended_at: None,
                            due_at: Some(now),
                            trouble: None,
                            failures: 0,
                            refresh: RefreshState::Idle,
                            past_refreshes: PastRefreshes::default(),
                            created_at: now,
                            updated_at: now,
                        };
                        grants::insert(tx, &grant)?;
                        let integration = Integration {
                            id: ids.next(),
                            grant_id: id,
                            profile_id: None,
                            platform: "acme".to_owned(),
                            account: Account { platform_user_id: number.to_string(), ..Account::default() },
                            app: None,
                            status: AuthStatus::Active,
                            lapses_at: None,
                            created_at: now,
                            updated_at: now,
                        };
                        integrations::insert(tx, project, &integration, &OwnTokens { generation: 1, tokens: None })?;
                    }
                    Ok::<_, store::Error>(())
                })
                .await
                .unwrap();
        }
    });
}

async fn list_for(url: &str, key: &str, time: Duration) -> Vec<Duration> {
    let until = Instant::now() + time;
    list_until(url, key, || Instant::now() >= until).await
}

/// Durations of list requests, sent one after the other with a pause.
async fn list_until(url: &str, key: &str, done: impl Fn() -> bool) -> Vec<Duration> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let list = format!("{url}/v1/connect/integrations?include=custom&limit=20");
    let mut took = Vec::new();
    while !done() {
        let started = Instant::now();
        let answer = client.get(&list).header("x-access-key", key).send().await.unwrap();
        assert!(answer.status().is_success());
        answer.bytes().await.unwrap();
        took.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    took.sort();
    took
}

fn at(sorted: &[Duration], quantile: f64) -> Duration {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let index = (sorted.len() as f64 * quantile) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}
