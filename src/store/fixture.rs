//! A database in memory with two projects, and rows to fill it with, for the tests of this folder.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use serde_json::Map;

use super::schema::Schema;
use super::{Error, flows, grants, integrations, oauth_apps, profiles, projects, selections};
use crate::domain::InvalidTransition;
use crate::domain::account::Account;
use crate::domain::binding::Binding;
use crate::domain::entropy::SeededEntropy;
use crate::domain::flow::{Flow, FlowStage};
use crate::domain::grant::{AuthStatus, Grant};
use crate::domain::id::{GrantId, Id, IdSource, OauthAppId, ProfileId, ProjectId};
use crate::domain::integration::{Integration, OwnTokens};
use crate::domain::oauth_app::OauthApp;
use crate::domain::paging::Window;
use crate::domain::past_refreshes::PastRefreshes;
use crate::domain::profile::Profile;
use crate::domain::project::Project;
use crate::domain::refresh::RefreshState;
use crate::domain::renewal::Renewal;
use crate::domain::secret::{Digest256, Sealed};
use crate::domain::selection::{Selection, SelectionStage};
use crate::domain::time::{Clock as _, ManualClock, Timestamp};

pub(super) const ALL: Window = Window { limit: 100, offset: 0 };

/// Own tokens of an account that has none.
pub(super) const NO_TOKENS: OwnTokens = OwnTokens { generation: 1, tokens: None };

pub(super) struct Fixture {
    pub(super) db: Connection,
    pub(super) clock: Arc<ManualClock>,
    ids: IdSource,
    /// The project that the rows belong to.
    pub(super) ours: ProjectId,
    /// Another project, which must never see or change them.
    pub(super) theirs: ProjectId,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let mut db = Connection::open_in_memory().unwrap();
        Schema::embedded().migrate(&mut db).unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)));
        let ids = IdSource::new(clock.clone(), Arc::new(SeededEntropy::new(1)));
        let (ours, theirs) = (ids.next(), ids.next());
        let mut fixture = Self { db, clock, ids, ours, theirs };
        for (id, name) in [(ours, "default"), (theirs, "other")] {
            let project = Project { id, name: name.to_owned(), created_at: fixture.now() };
            fixture.write(|db| projects::insert(db, &project)).unwrap();
        }
        fixture
    }

    pub(super) fn id<T: Id>(&self) -> T {
        self.ids.next()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn later(&self, seconds: u64) -> Timestamp {
        self.clock.advance(Duration::from_secs(seconds));
        self.now()
    }

    /// Like [`Store::write`](super::Store::write): commits on `Ok`, rolls back on `Err`.
    pub(super) fn write<T>(&mut self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// Every row of a table as text, to compare before and after.
    pub(super) fn dump(&self, table: &str) -> Vec<String> {
        let mut statement = self.db.prepare(&format!("SELECT * FROM {table} ORDER BY 1")).unwrap();
        let columns = statement.column_count();
        statement
            .query_map([], |row| {
                let values: Vec<String> = (0..columns).map(|at| format!("{:?}", row.get_ref(at).unwrap())).collect();
                Ok(values.join("|"))
            })
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    }

    pub(super) fn profile(&mut self, name: &str) -> ProfileId {
        let (id, now, project) = (self.id(), self.now(), self.ours);
        let profile = Profile {
            id,
            name: name.to_owned(),
            description: None,
            integration_count: 0,
            created_at: now,
            updated_at: now,
        };
        self.write(|db| profiles::insert(db, project, &profile)).unwrap();
        id
    }

    pub(super) fn app(&mut self, platform: &str, client_id: &str) -> OauthAppId {
        let (app, project) = (self.new_app(platform, client_id), self.ours);
        self.write(|db| oauth_apps::insert(db, project, &app, &sealed(1))).unwrap();
        app.id
    }

    pub(super) fn new_app(&self, platform: &str, client_id: &str) -> OauthApp {
        OauthApp {
            id: self.id(),
            platform: platform.to_owned(),
            name: format!("App {client_id}"),
            image_url: None,
            client_id: client_id.to_owned(),
            integration_count: 0,
            created_at: self.now(),
            updated_at: self.now(),
        }
    }

    pub(super) fn new_grant(&self, platform: &str, subject: &str) -> Grant {
        Grant {
            id: self.id(),
            project_id: self.ours,
            platform: platform.to_owned(),
            app_id: None,
            client_id: "client".to_owned(),
            subject: subject.to_owned(),
            scopes: vec!["read".to_owned(), "write".to_owned()],
            requested_scopes: vec!["read".to_owned(), "write".to_owned(), "delete".to_owned()],
            consented_at: self.now(),
            issued_at: self.now(),
            access_expires_at: Some(self.now().plus(Duration::from_hours(1))),
            refresh_expires_at: None,
            renewal: Renewal::RefreshToken,
            tokens: Some(sealed(1)),
            generation: 1,
            status: AuthStatus::Active,
            ended_at: None,
            due_at: Some(self.now().plus(Duration::from_mins(45))),
            trouble: None,
            failures: 0,
            refresh: RefreshState::Idle,
            past_refreshes: PastRefreshes::default(),
            created_at: self.now(),
            updated_at: self.now(),
        }
    }

    pub(super) fn grant(&mut self, platform: &str, subject: &str) -> GrantId {
        let grant = self.new_grant(platform, subject);
        self.write(|db| grants::insert(db, &grant)).unwrap();
        grant.id
    }

    pub(super) fn change(&mut self, id: GrantId, decide: impl FnOnce(Grant) -> Result<Grant, InvalidTransition>) {
        let project = self.ours;
        self.write(|db| grants::change(db, project, id, 1, decide)).unwrap();
    }

    /// A pending flow, which lives a minute.
    pub(super) fn new_flow(&self) -> Flow {
        Flow {
            id: self.id(),
            project_id: self.ours,
            access_key_id: None,
            link_id: None,
            state: Digest256::of(b"state"),
            platform: "facebook".to_owned(),
            app_id: None,
            client_id: "client".to_owned(),
            server: None,
            profile_id: None,
            reconnects: None,
            binding: Binding::None,
            needs_completion: false,
            redirect_uri: Some("https://app.example/back".to_owned()),
            cancel_redirect_uri: None,
            headless: false,
            scopes: Vec::new(),
            created_at: self.now(),
            expires_at: self.now().plus(Duration::from_mins(1)),
            stage: FlowStage::Pending { pkce_verifier: None },
            mac: None,
        }
    }

    /// An open selection, with the flow that waits for it.
    pub(super) fn pending(&mut self, token: &str) -> Selection {
        let now = self.now();
        let flow = Flow {
            state: Digest256::of(format!("state of {token}").as_bytes()),
            stage: FlowStage::Consumed { by: Digest256::of(b"code") },
            ..self.new_flow()
        };
        let selection = Selection {
            id: self.id(),
            project_id: self.ours,
            flow_id: flow.id,
            platform: "facebook".to_owned(),
            subject: "s".to_owned(),
            token: Digest256::of(token.as_bytes()),
            created_at: now,
            expires_at: now.plus(Duration::from_mins(10)),
            stage: SelectionStage::Open { token_text: sealed(1), payload: sealed(1) },
        };
        self.write(|db| {
            flows::insert(db, &flow)?;
            selections::insert(db, &selection)?;
            flows::change(db, flow.project_id, flow.id, |flow| flow.await_selection(selection.expires_at))
        })
        .unwrap();
        selection
    }

    pub(super) fn new_integration(&self, grant: GrantId, profile: Option<ProfileId>, user: &str) -> Integration {
        Integration {
            id: self.id(),
            grant_id: grant,
            profile_id: profile,
            platform: "twitter".to_owned(),
            account: account(user),
            app: None,
            status: AuthStatus::Active,
            lapses_at: None,
            created_at: self.now(),
            updated_at: self.now(),
        }
    }

    pub(super) fn integration(&mut self, grant: GrantId, profile: Option<ProfileId>, user: &str) -> Integration {
        let (integration, project) = (self.new_integration(grant, profile, user), self.ours);
        self.write(|db| integrations::insert(db, project, &integration, &NO_TOKENS)).unwrap();
        integration
    }
}

pub(super) fn account(user: &str) -> Account {
    Account {
        platform_user_id: user.to_owned(),
        username: Some(format!("@{user}")),
        display_name: Some(format!("Name of {user}")),
        profile_url: Some(format!("https://platform.example/{user}")),
        image_url: None,
        metadata: Map::from_iter([("kind".to_owned(), "page".into())]),
    }
}

/// A value with the layout of a sealed one under that data key.
pub(super) fn sealed(dek_id: u32) -> Sealed {
    Sealed::from_bytes([[1].as_slice(), &dek_id.to_be_bytes(), &[7; 40]].concat())
}
