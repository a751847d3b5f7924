//! The accounts behind one consent, as the OAuth engine lists them at the sandbox. No broker is involved.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use postpeer::config::{self, Environment};
use postpeer::domain::account::{AccountKind, Identity};
use postpeer::domain::entropy::SeededEntropy;
use postpeer::domain::failure::Failure;
use postpeer::domain::grant::IssuedTokens;
use postpeer::domain::platform_error::PlatformError;
use postpeer::domain::proxy::Proxies;
use postpeer::domain::secret::SecretString;
use postpeer::domain::time::{ManualClock, Timestamp};
use postpeer::oauth::{AuthorizeRequest, CodeExchange, Engine, OauthClient, authorize_url, takes_pkce};
use postpeer::outbound::{self, Dns, Guard, Outbound};
use postpeer::platforms::{ConfiguredPlatform, Registry};
use postpeer::sandbox::{self, Answer, Control, Fault, Sandbox, Step, TokenKind};

use crate::support::{expose, parameter};

/// The sandbox redirects browsers only to this machine.
const CALLBACK: &str = "http://127.0.0.1:9/v1/connect/x/callback";
/// 43 to 128 unreserved characters (RFC 7636).
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// The engine, with the sandbox for all platforms.
struct Bench {
    engine: Engine,
    platforms: Registry,
    sandbox: Sandbox,
}

impl Bench {
    fn start() -> Self {
        Self::with("")
    }

    /// `more`: further lines of configuration below `[platforms.linkedin]`.
    fn with(linkedin: &str) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_777_797_216_445)));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sandbox = Sandbox::start(listener, clock.clone(), Arc::new(SeededEntropy::new(7))).unwrap();
        let section = "[platforms.linkedin]\n";
        let toml = sandbox::configuration(sandbox.base_url()).replace(section, &format!("{section}{linkedin}\n"));
        let config = config::from_str("test", &toml, std::path::Path::new(""), &Environment::default()).unwrap();
        let settings = outbound::Settings {
            connect_timeout: Duration::from_secs(5),
            timeout: config.outbound.timeout,
            allow_private_networks: true,
            roots: outbound::Roots::default(),
            proxies: Proxies::default(),
        };
        let (outbound, guard) = (Outbound::new(&settings).unwrap(), Guard::new(&settings, Dns::system()).unwrap());
        let engine = Engine::new(outbound, guard, clock, Arc::new(SeededEntropy::new(1)), Duration::ZERO);
        Self { engine, platforms: config.platforms, sandbox }
    }

    fn control(&self) -> Control {
        self.sandbox.handle()
    }

    fn platform(&self, name: &str) -> &ConfiguredPlatform {
        self.platforms.find(name).unwrap()
    }

    fn client(&self, name: &str) -> OauthClient<'_> {
        let configured = self.platform(name);
        self.engine.client(configured.platform(), configured.credentials.clone().unwrap())
    }

    async fn exchange(&self, name: &str, answer: &Answer) -> Result<IssuedTokens, PlatformError> {
        let configured = self.platform(name);
        let (platform, credentials) = (configured.platform(), configured.credentials.as_ref().unwrap());
        let (state, verifier) = (SecretString::from("a-state-of-some-length"), SecretString::from(VERIFIER));
        let pkce_verifier = takes_pkce(platform, CALLBACK).then_some(&verifier);
        let (client_id, redirect_uri) = (credentials.client_id.as_str(), CALLBACK);
        let scopes = platform.requested_scopes(None).unwrap();
        let request =
            AuthorizeRequest { client_id, redirect_uri, state: &state, scopes: &scopes, pkce_verifier, nonce: "" };
        let url = authorize_url(platform, &request).unwrap();
        let back = self.control().consent(url.as_str(), answer).unwrap();
        let code = SecretString::from(parameter(&back, "code").unwrap());
        let exchange = CodeExchange { code: &code, redirect_uri, pkce_verifier };
        let client = self.client(name);
        let answer = client.send_code(&exchange).await?;
        client.finish_exchange(&answer.body, answer.sent_at).await
    }

    /// Consents, exchanges the code and reads the identity.
    async fn identify(&self, name: &str, answer: &Answer) -> (IssuedTokens, Result<Identity, PlatformError>) {
        let issued = self.exchange(name, answer).await.unwrap();
        let identity = self.client(name).identify(&issued, "").await;
        (issued, identity)
    }

    async fn identity(&self, name: &str, account: &str) -> Identity {
        self.identify(name, &Answer::allow().account(account)).await.1.unwrap()
    }
}

fn names(identity: &Identity) -> Vec<&str> {
    identity.accounts.iter().map(|found| found.account.label()).collect()
}

fn refused(identity: &Identity) -> Vec<&str> {
    identity.unusable.iter().map(|unusable| unusable.display_name.as_deref().unwrap()).collect()
}

fn troubles(identity: &Identity) -> Vec<(&str, &str)> {
    let of = |route: &'_ postpeer::domain::account::RouteReport| route.trouble.is_some();
    let troubled = identity.routes.iter().filter(|route| of(route));
    troubled.map(|route| (route.route.as_str(), route.trouble.as_deref().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_come_with_tokens_of_a_long_lived_consent() {
    let bench = Bench::start();
    let (issued, identity) = bench.identify("facebook", &Answer::allow()).await;
    let identity = identity.unwrap();
    assert_eq!(identity.subject, "122100000000000017");
    assert_eq!(names(&identity), ["Marlow & Daughters", "Harbour Lights", "Riverside Market"]);
    assert!(issued.scopes.unwrap().contains(&"pages_show_list".to_owned()));
    assert!(issued.access_expires_at.is_some());
    let first = &identity.accounts[0];
    assert_eq!(first.kind, AccountKind::Page);
    assert_eq!(first.account.username.as_deref(), Some("marlowdaughters"));
    assert_eq!(first.account.profile_url.as_deref(), Some("https://www.facebook.com/marlowdaughters"));

    let own: BTreeSet<String> =
        identity.accounts.iter().map(|found| expose(found.own_token.as_ref().unwrap())).collect();
    assert_eq!(own.len(), 3, "each Page has its own");
    let pages: BTreeSet<String> = bench
        .control()
        .issued("facebook")
        .into_iter()
        .filter(|issued| issued.kind == TokenKind::Page)
        .map(|issued| issued.value)
        .collect();
    assert!(own.is_subset(&pages));
    let long_lived = expose(&issued.tokens.access_token);
    for asked in bench.control().requests_at("facebook", Step::Accounts) {
        assert_eq!(asked.header("authorization"), Some(format!("Bearer {long_lived}").as_str()), "{}", asked.path);
        assert_eq!(asked.parameter("access_token"), None, "{}", asked.path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_told_with_their_reasons_and_routes() {
    let bench = Bench::start();
    let analyst = bench.identity("facebook", "analyst").await;
    assert_eq!((names(&analyst), refused(&analyst)), (vec!["Ana's Notebook"], vec!["Only to look at"]));

    let nobody = bench.identity("facebook", "nobody").await;
    assert_eq!((names(&nobody).len(), nobody.routes[0].found, troubles(&nobody)), (0, 0, vec![]));

    let business = bench.identity("facebook", "business").await;
    assert_eq!(names(&business), ["Quince Flagship", "Quince Outlet"]);
    assert_eq!(refused(&business), ["Somebody's Page"]);
    let found: Vec<(&str, u32)> = business.routes.iter().map(|route| (route.route.as_str(), route.found)).collect();
    assert_eq!(
        found,
        [
            ("your Pages", 0),
            ("Pages that Quince & Co Holding owns", 2),
            ("Pages that Quince & Co Holding manages for clients", 1),
            ("Pages that An empty business owns", 0),
            ("Pages that An empty business manages for clients", 0),
        ]
    );

    let agency = bench.identity("facebook", "agency").await;
    assert_eq!(agency.accounts.len(), 250);
    assert_eq!(names(&agency)[249], "Client no. 250", "in the order of the platform");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_unticked_at_facebook_is_said() {
    let bench = Bench::start();
    let answer = Answer::allow().account("business").scopes(&["pages_show_list"]);
    let identity = bench.identify("facebook", &answer).await.1.unwrap();
    assert_eq!(names(&identity).len(), 0);
    assert_eq!(
        troubles(&identity),
        [("Pages of your business portfolios", "the permission business_management was not given")]
    );
    // The account's owner declined a permission, and is asked for it again.
    let identity = bench.identity("facebook", "business").await;
    assert_eq!(names(&identity).len(), 2);

    let only_one = Answer::allow().pages(&["101000000000002"]);
    let identity = bench.identify("facebook", &only_one).await.1.unwrap();
    assert_eq!(names(&identity), ["Harbour Lights"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_the_app_from_facebook_ends_its_tokens() {
    let bench = Bench::start();
    let (issued, identity) = bench.identify("facebook", &Answer::allow()).await;
    identity.unwrap();
    let client = bench.client("facebook");
    assert!(client.revoke(&issued.tokens).await.unwrap());
    assert_eq!(bench.control().requests_at("facebook", Step::Revoke)[0].method, "DELETE");
    let error = client.revoke(&issued.tokens).await.unwrap_err();
    assert_eq!((error.status, error.code.as_deref()), (Some(400), Some("190")));
    let dead = client.identify(&issued, "").await.unwrap_err();
    assert_eq!(dead.failure, Failure::PermissionMissing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_is_asked_again_and_then_given_up() {
    let bench = Bench::start();
    bench.control().fail_next("facebook", Step::Accounts, Fault::ServerError, 2).unwrap();
    assert_eq!(names(&bench.identity("facebook", "ada").await).len(), 3);
    for (fault, code) in [
        (Fault::ServerError, "platform_unavailable"),
        (Fault::Drop, "platform_unavailable"),
        (Fault::RateLimited, "platform_throttled"),
        (Fault::Html, "identity_unavailable"),
        (Fault::Garbage, "identity_unavailable"),
        (Fault::Empty, "identity_unavailable"),
    ] {
        bench.control().fail_next("facebook", Step::Accounts, fault, 100).unwrap();
        let error = bench.identify("facebook", &Answer::allow()).await.1.unwrap_err();
        assert_eq!(error.of_connection().code(), code, "{fault:?}");
        bench.control().clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn organizations_follow_the_person() {
    let bench = Bench::start();
    let ada = bench.identity("linkedin", "ada").await;
    assert_eq!(names(&ada), ["Ada Marlow", "Marlow & Daughters", "Harbour <b>Lights</b> 🦊"]);
    let kinds: Vec<AccountKind> = ada.accounts.iter().map(|found| found.kind).collect();
    assert_eq!(kinds, [AccountKind::Person, AccountKind::Organization, AccountKind::Organization]);
    assert_eq!(ada.subject, ada.accounts[0].account.platform_user_id);
    let [_, with_logo, without_logo] = &ada.accounts[..] else { panic!() };
    assert_eq!(with_logo.account.platform_user_id, "2414183");
    assert_eq!(with_logo.account.username.as_deref(), Some("marlow-daughters"));
    assert!(with_logo.account.image_url.is_some() && without_logo.account.image_url.is_none());
    assert!(with_logo.own_token.is_none());

    let basil = bench.identity("linkedin", "basil").await;
    assert_eq!((basil.accounts.len(), troubles(&basil)), (1, vec![]));

    let analyst = bench.identity("linkedin", "analyst").await;
    assert_eq!(names(&analyst), ["Ana Lyst", "Two Roles Ltd"]);
    assert_eq!(refused(&analyst), ["Only to look at"]);

    let agency = bench.identity("linkedin", "agency").await;
    assert_eq!(agency.accounts.len(), 121);
    assert_eq!(agency.routes[0].found, 120);
    assert!(agency.accounts.iter().skip(1).all(|found| {
        found.account.display_name.is_some() && found.account.image_url.is_some() && found.account.username.is_some()
    }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_linkedin_retired_leaves_the_person() {
    let bench = Bench::with("api_version = \"202401\"");
    let ada = bench.identity("linkedin", "ada").await;
    assert_eq!(names(&ada), ["Ada Marlow"]);
    assert_eq!(troubles(&ada)[0].1, "this service asks LinkedIn in a version of its API that was retired");
    let statuses: Vec<Option<u16>> =
        bench.control().requests_at("linkedin", Step::Accounts).into_iter().map(|asked| asked.status).collect();
    assert_eq!(statuses, [Some(426)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_with_organizations_leaves_the_person() {
    for fault in [Fault::ServerError, Fault::RateLimited, Fault::Html, Fault::Drop, Fault::Expired] {
        let bench = Bench::start();
        bench.control().fail_next("linkedin", Step::Accounts, fault, 100).unwrap();
        let ada = bench.identity("linkedin", "ada").await;
        assert_eq!((names(&ada), troubles(&ada).len()), (vec!["Ada Marlow"], 1), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_linkedin_does_not_know_yet_is_tried_again() {
    let bench = Bench::start();
    bench.control().fail_next("linkedin", Step::Identity, Fault::Revoked, 4).unwrap();
    bench.control().fail_next("linkedin", Step::Accounts, Fault::Revoked, 4).unwrap();
    let ada = bench.identity("linkedin", "ada").await;
    assert_eq!((names(&ada).len(), troubles(&ada)), (3, vec![]));

    bench.control().clear();
    bench.control().fail_next("linkedin", Step::Identity, Fault::Revoked, 100).unwrap();
    let error = bench.identify("linkedin", &Answer::allow()).await.1.unwrap_err();
    assert_eq!((error.of_connection().code(), error.status), ("platform_unavailable", Some(401)));
    assert_eq!(bench.control().requests_at("linkedin", Step::Identity).len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn locations_come_from_every_account_once() {
    let bench = Bench::start();
    let ada = bench.identity("googlebusiness", "ada").await;
    let ids: Vec<&str> = ada.accounts.iter().map(|found| found.account.platform_user_id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "accounts/111000000000000000001/locations/301000000000000001",
            "accounts/111000000000000000001/locations/301000000000000002",
            "accounts/111000000000000000002/locations/301000000000000003",
        ]
    );
    assert!(ada.accounts.iter().all(|found| found.kind == AccountKind::Location && found.own_token.is_none()));
    let market = &ada.accounts[2].account;
    assert_eq!(market.display_name.as_deref(), Some("Marlow & Daughters, Market"));
    assert!(market.profile_url.as_deref().unwrap().starts_with("https://maps.google.com/"));

    let basil = bench.identity("googlebusiness", "basil").await;
    assert!(basil.accounts[0].account.profile_url.as_deref().unwrap().starts_with("https://shop-"));

    let nobody = bench.identity("googlebusiness", "nobody").await;
    assert_eq!((nobody.accounts.len(), troubles(&nobody)), (0, vec![]));
    assert_ne!(nobody.subject, ada.subject);

    let closed = bench.identity("googlebusiness", "closed").await;
    assert_eq!(names(&closed), ["Open for posts"]);
    assert_eq!(refused(&closed), ["Posts switched off", "Nothing said of posts"]);

    let chain = bench.identity("googlebusiness", "chain").await;
    assert_eq!(chain.accounts.len(), 40);
    let found: Vec<u32> = chain.routes.iter().map(|route| route.found).collect();
    assert_eq!(found, [16, 25], "one is in both");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_of_nothing_is_a_failure_of_its_own() {
    let bench = Bench::start();
    bench.control().fail_next("googlebusiness", Step::Accounts, Fault::NoQuota, 100).unwrap();
    let error = bench.identify("googlebusiness", &Answer::allow()).await.1.unwrap_err();
    assert_eq!(error.of_connection().code(), "access_not_approved");
    assert_eq!(bench.control().requests_at("googlebusiness", Step::Accounts).len(), 1, "waiting does not help");
    assert!(error.next_step(None).contains("access"), "{}", error.next_step(None));

    let bench = Bench::start();
    bench.control().fail_next("googlebusiness", Step::Accounts, Fault::RateLimited, 2).unwrap();
    let error = bench.identify("googlebusiness", &Answer::allow()).await.1.unwrap_err();
    assert_eq!(
        (error.of_connection().code(), error.retry_after),
        ("platform_throttled", Some(Duration::from_secs(30)))
    );
    let asked = bench.control().requests_at("googlebusiness", Step::Accounts).len();
    assert_eq!(asked, 1, "it said to wait for half a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_was_unticked_at_google_is_missing() {
    let bench = Bench::start();
    let answer = Answer::allow().scopes(&["openid"]);
    let error = bench.identify("googlebusiness", &answer).await.1.unwrap_err();
    assert_eq!(error.of_connection().code(), "permission_missing");
}
