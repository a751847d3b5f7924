//! postpeer: a self-hosted OAuth broker for social accounts.
//!
//! # The idea
//!
//! 1. A **platform is a value** ([`platforms`]): URLs, enums for quirks that several platforms share, and pure
//!    functions for the rest. A new platform is its file, its imitation and a line in each of two lists. An operator's
//!    own platform, in TOML, becomes the same kind of value.
//! 2. All talk with platforms goes through **one engine** ([`oauth`]) over **one HTTP client** ([`outbound`]). All SQL
//!    is in **one folder** ([`store`]). Plaintext becomes sealed and back in **one place** ([`vault`]). The use cases,
//!    that is the order of these steps, are in **one folder** ([`broker`]) that knows no web framework. Bluesky has no
//!    redirect, so it has its own engine ([`atproto`]); [`upstream`] answers for both. Hosts that a user chose are
//!    called only through [`outbound::Guard`].
//! 3. A **grant** is one consent at one platform under one OAuth app, and owns the tokens. An **integration** is one
//!    account that a caller can use.
//! 4. The database is touched in short closures and **never while the network is in flight**.
//! 5. **A lint or a test knows what a reviewer would have to remember**: see `clippy.toml` and `tests/house.rs`.
//!
//! # Who may know whom
//!
//! Each room names only the rooms in its row, and a row only rooms further down. `tests/house.rs` reads this table and
//! the next one, and fails when the code knows more or less.
//!
//! ```text
//! main:       cli
//! cli:        app, broker, config, domain, failpoint, http, outbound, platforms, sandbox, server, store, telemetry, vault
//! server:     app, background, domain, http, telemetry
//! app:        atproto, broker, config, domain, failpoint, oauth, outbound, store, upstream, vault
//! background: broker, domain
//! http:       broker, domain
//! broker:     domain, failpoint, platforms, store, upstream, vault
//! config:     domain, platforms, telemetry
//! upstream:   atproto, domain, oauth, platforms
//! atproto:    domain, outbound, platforms
//! oauth:      domain, outbound, platforms
//! outbound:   domain
//! platforms:  domain
//! sandbox:    domain
//! store:      domain, failpoint
//! vault:      domain
//! domain:
//! failpoint:
//! telemetry:
//! ```
//!
//! `store` takes and returns sealed values, so it does not know `vault`. `sandbox` imitates the platforms from their
//! documentation and knows none of the broker, so that it does not repeat the broker's mistakes. Every room may count
//! with the `metrics` crate; [`telemetry`] lists the metrics, and `server` serves them.
//!
//! # Where a crate is at home
//!
//! Only the rooms in a crate's row name it.
//!
//! ```text
//! actix_http:                  server
//! actix_service:               server
//! actix_web:                   http, sandbox, server
//! askama:                      http, sandbox
//! bytes:                       outbound
//! chacha20poly1305:            vault
//! clap:                        cli
//! csscolorparser:              domain
//! figment:                     config
//! flate2:                      outbound
//! hickory_resolver:            outbound
//! hkdf:                        vault
//! jsonwebtoken:                oauth
//! landlock:                    cli
//! metrics_exporter_prometheus: telemetry
//! mimalloc:                    main
//! oauth2:                      oauth
//! refinery:                    store
//! region:                      vault
//! reqwest:                     outbound
//! ring:                        oauth, platforms
//! rusqlite:                    store
//! rustls:                      outbound, platforms
//! rustls_native_certs:         outbound
//! x25519_dalek:                vault
//! zeroizing_alloc:             main
//! ```
//!
//! # A tenant's boundary
//!
//! A tenant is a project. `http::access` finds the project of an access key or a session, and hands a
//! [`Caller`](broker::Caller) to each route (`Authenticated`). A use case takes the project from the caller, never from
//! what was sent; `Caller::sees`, `for_whole_project` and `profile_to_connect` narrow it to a profile where the key is
//! bound to one. Every statement of `store` on a tenant's row compares the project, or says that it is for every
//! project; `tests/house.rs` takes the tables from the schema. A sealed value opens only for its owner
//! (`vault::Owner`): project, platform and OAuth client. `tests/api/projects.rs` tries another project's ids everywhere.
//!
//! # A connection, step by step
//!
//! `broker::begin` checks what the caller asks for and stores it as a flow under a hashed, one-time state. Where the
//! person names a server, `broker::registration` makes sure first that the broker has an app there. `broker::reconnect`
//! finds the account that must come back, where the caller names one. `broker::confirmation` asks the person before the
//! platform does, where the operator wants it. `broker::callback` matches a callback to its flow, refuses a browser
//! that the flow is not bound to (`domain::binding`), and lets exactly one attempt finish it, on a runtime that neither
//! a vanished browser nor a stopping server cancels. `broker::exchange` consumes the state, exchanges the code, stores
//! the answer before reading it, and asks who connected. Where the caller asked for it, `broker::completion` keeps that
//! apart until the caller confirms that the right person came back. `broker::record` stores grant and integrations in
//! one transaction, and refuses another account than the one that must come back. `broker::revocation` gives back what
//! cannot be kept. `broker::results` shows how it ended, at an address of its own. `broker::late` answers people who
//! come back after their connection expired.
//!
//! Where there is no front end, `broker::links` makes a link for a caller. On its page, `broker::link_page` begins
//! connections for whoever has it, each bound to the browser that sets out, and the person comes back there after each.
//!
//! # A token, from then on
//!
//! `broker::refresher` keeps it fresh, one refresh at a time for each grant; its module doc says why no step may be
//! left out. When it is due is decided in `domain::renewal`, how many calls an app may have in flight in
//! `domain::throttle`, and what a failure does to the grant in `domain::refresh`. `broker::tokens` hands the token
//! out, and has it refreshed where it would not last. `broker::token_reads` records which key got it.
//! `broker::recovery` continues what a crash cut off.
//!
//! # The life of keys
//!
//! `broker::keyring` makes, wraps and retires data keys for the operator's commands. `broker::reseal` lets the running
//! broker follow, and brings every stored value to the active key and the present version. `broker::key_rows`
//! authenticates the rows of access keys. `app::recover` makes a new keyring file with the recovery key, `app::forget`
//! one without.
//!
//! # The end of an account
//!
//! `broker::integrations` disconnects an account when its caller asks. `broker::refresher` ends a grant when the
//! platform says so. `broker::record` marks the accounts that a new consent no longer covers. `broker::purge` erases
//! what is left after thirty days. Only `broker::revocation` asks a platform to revoke.
//!
//! # What outlives a power cut
//!
//! A write is on the disk when [`Store::write`](store::Store::write) returns. `write_kept` is for what must not be lost
//! (a platform's answer, tokens, a consent): it uses the reserve of a full disk, and waits where others are refused.
//! `write_unsynced` is for what may be lost: deletions that are repeated, and a flow that just began, whose person then
//! starts again. So of a connection, the state's consumption and its end are on the disk, the platform's answer and
//! what is connected by all means. Tokens are sealed by `broker::exchange` and `broker::refresher::keep` as the answer
//! that came, then by `broker::record` and `keep` in their places.
//!
//! # A copy, and the way back
//!
//! `store::backup` copies the database while it is written to, and puts a copy in its place. `app::backup` checks each
//! copy with the keyring, for the commands; `broker::backups` makes those that the operator scheduled. A restore is
//! noted in the database, so that `broker::refresher` can tell an old refresh token from a revoked one.
//!
//! # Trouble with the disk
//!
//! `store::error` tells a full disk, a read-only one and a failing one apart, and `store::files` notices a database
//! that was moved under the running process. `broker::readiness` finds the reason why the broker is not ready, for
//! `/readyz` and the log. `store::open` copies a database before it migrates it.
//!
//! # The console
//!
//! `http::console` has the operator's pages. A browser signs in with an access key and gets a session
//! (`broker::console`), of which `store::console_sessions` keeps a digest. `http::access` turns the session of each
//! request into the [`Caller`](broker::Caller) that the key would be, so that the pages go through the use cases of the
//! API and can do no more. The list that begins with what fails is a walk along an index (`store::integrations`), which
//! triggers keep.
//!
//! # Where a change goes
//!
//! `tests/house.rs` checks that these paths exist.
//!
//! ```text
//! a built-in platform:        src/platforms/mod.rs (one line), src/platforms/pinterest.rs (a plain one to copy),
//!                             src/sandbox/imitations/mod.rs (one line), src/oauth/refusals.txt (3 or more),
//!                             src/upstream/recorded/answers.txt (10 or more), src/http/pages/marks.rs (its mark);
//!                             CONTRIBUTING.md has the recipe
//! a platform whose consent covers several accounts: the same, with src/platforms/quirks.rs (`Accounts`: the compiler
//!                             names what each kind answers there), src/oauth/account_listing/mod.rs (asks for them),
//!                             src/config/platforms.rs and src/platforms/registry.rs (hosts of APIs of their own),
//!                             src/upstream/recorded/mod.rs (`lists`),
//!                             src/http/api/selection.rs, src/http/routes.rs, src/http/openapi/annotations.rs,
//!                             src/http/openapi/codes.rs and src/http/pages/documentation/chapters.rs (its paths),
//!                             src/http/pages/words/en.rs and src/http/pages/words/de/trouble.rs (what a person can do
//!                             where accounts are missing)
//! a preset for a known server: src/platforms/presets.toml (keys of an operator's own platform),
//!                             tests/api/presets.rs (its recorded answers), README.md
//! a quirk that platforms share: src/platforms/quirks.rs, acted on in src/oauth/mod.rs
//! a fact that servers publish of themselves: src/platforms/metadata.rs, src/platforms/custom.rs (what follows from it),
//!                             src/oauth/discovery.rs, src/broker/discovery.rs (when they are asked)
//! servers that people name (Mastodon's kind): src/platforms/server.rs (how they are named), src/oauth/register.rs,
//!                             src/broker/registration.rs (when they are asked), src/outbound/guard.rs
//! something on connecting, disconnecting, ending: src/broker/record.rs, src/broker/integrations.rs,
//!                             src/broker/refresher/failed.rs, in the transaction that is there
//! something on a refresh:     src/broker/refresher/keep.rs (a success), src/broker/refresher/failed.rs,
//!                             src/domain/past_refreshes.rs (what is kept of it)
//! a column:                   migrations/V0006__previous_secrets.sql (copy to the next number, never edit),
//!                             src/store/grants.rs (the file named for the table), src/domain/grant.rs (the type),
//!                             src/store/schema.rs (a test of the upgrade, with data),
//!                             src/store/schema/upgrades.rs (values for `ROWS`)
//! a table:                    the same, with src/store/mod.rs, src/broker/purge.rs,
//!                             src/store/projects.rs (its rows go with their project)
//! a limit of access keys:     src/domain/key_limits.rs, src/broker/access_keys.rs, src/broker/key_rows.rs (`parts`: keys
//!                             without the new limit must keep their codes); what a key that is bound to a profile
//!                             sees: src/broker/mod.rs (`Caller::sees`), tests/api/key_limits.rs
//! a list, or a filter of one: src/store/listing.rs, src/store/listing/tests.rs (`statements`), and a migration for the
//!                             index in its order; what is counted or searched: the views of migrations/V0007__lists.sql
//! a transition of a life cycle: src/domain/refresh.rs, src/domain/flow.rs, src/domain/selection.rs
//! a hosted page:              src/http/pages/mod.rs (how), templates/base.html, src/http/pages/words/en.rs and de.rs beside
//!                             it (every text), src/http/routes.rs, src/http/openapi/annotations.rs,
//!                             tests/browser/pages.py, tests/api/access.rs (what needs no key)
//! a page of the console:      src/http/console/mod.rs (how), templates/console/layout.html, src/http/pages/words/console/en.rs and
//!                             de.rs beside it, src/http/routes.rs (`CONSOLE_ROUTES`), tests/api/console/rules.rs
//! what makes an account fail: src/domain/integration.rs (`token_state`), and in a migration the view and triggers of
//!                             migrations/V0019__console.sql, src/store/integrations/health.rs (the list)
//! a JSON endpoint:            src/http/api/mod.rs, src/http/routes.rs, src/http/openapi/annotations.rs,
//!                             src/http/openapi/codes.rs (its errors),
//!                             src/http/pages/documentation/chapters.rs (its place on the page)
//! what waits for a caller or a person: src/broker/completion.rs, src/broker/selection.rs, src/store/selections.rs,
//!                             src/broker/purge.rs (what is given back), tests/api/completion.rs
//! a parameter of connect:     src/http/api/connect.rs (Bluesky shares some: src/http/api/bluesky.rs),
//!                             src/broker/begin.rs; kept until the callback: src/domain/flow.rs, src/store/flows.rs and
//!                             a migration
//! connect links:              src/broker/links.rs (for their makers), src/broker/link_page.rs (for whoever has one),
//!                             src/domain/link.rs (how long they live), src/store/links.rs, src/http/pages/link.rs,
//!                             src/domain/binding.rs (`LinkCookie`), tests/api/links.rs
//! how many connections may wait: src/broker/begin.rs (`BOUNDS`), src/store/flow_limit.rs (who gives way), README.md
//! an API error:               src/broker/error.rs, src/http/error/from_broker.rs, src/http/error.rs (code and sentence),
//!                             src/http/error/advice.rs (the caller's next step), src/http/openapi/codes.rs (who gives it)
//! a kind of failure:          src/domain/failure.rs (its name and words, for log, redirect, health and database alike),
//!                             src/http/pages/words/en.rs (its words for people), src/http/pages/words/de/failures.rs (the
//!                             operator's), src/http/api/connect.rs, README.md (a generated row), tests/api/pages.rs; to
//!                             decide, though no compiler asks: src/domain/throttle.rs (pauses its app?),
//!                             src/domain/renewal.rs (retried when?), src/domain/refresh.rs,
//!                             src/oauth/account_listing/mod.rs
//! what a platform's refusal means: its file in src/platforms, or presets.rs there for a server that operators add (a
//!                             row with its source), src/platforms/refusal.rs (how rows are matched, and where a code
//!                             stands in an answer), src/oauth/error_answer.rs (the general rules),
//!                             src/oauth/refusals.txt (tests)
//! how an answer is read:      src/outbound/json.rs (its syntax), src/oauth/tokens.rs (tokens, errors with status 200),
//!                             src/platforms/mod.rs (`text`: ids and names), src/upstream/recorded/answers.txt (tests)
//! a command:                  src/cli/mod.rs, tests/cli.rs, tests/cli/commands.rs (the entries that it leaves)
//! a thing to look at in an installation: src/cli/check/start.rs (what keeps `serve` from starting), src/cli/doctor.rs
//!                             (what is stored, and around it), src/store/survey.rs (SQL), tests/cli/doctor.rs
//! a remark on a platform's settings: src/platforms/remarks.rs (for `check` and the console), src/config/reader.rs (`warn`)
//! what a probe concludes from an answer: src/oauth/probe.rs, src/cli/check/probe.rs (its words)
//! a reason why the broker is not ready: src/broker/readiness.rs (its words), src/store/error.rs, docs/operations.md,
//!                             tests/api/storage.rs
//! a setting:                  src/config/mod.rs, postpeer.toml.example; where it needs a restart: src/cli/reload.rs
//! a key of a platform:        src/config/platforms/own.rs, src/platforms/custom.rs, postpeer.toml.example; for built-in
//!                             ones src/config/platforms.rs, src/platforms/registry.rs,
//!                             src/platforms/generated_texts.rs (writes their sections)
//! a way of client authentication: src/platforms/quirks.rs, src/oauth/mod.rs (`authenticate`),
//!                             src/config/platforms/own.rs, src/platforms/custom.rs (what servers publish)
//! a metric:                   src/telemetry/metrics.rs, README.md; counted by its literal name where it happens
//! a secret:                   src/domain/secret.rs (the types that print nothing), src/vault/place.rs (where it is
//!                             sealed, and its owner), src/store/sealed.rs (its column, its owner's, and the one for its data
//!                             key), src/store/forget.rs (erased when the keyring is lost),
//!                             tests/api/secrets/needles.rs (searched for in logs, answers and the database)
//! a file that the running broker opens: src/cli/confine.rs (its folder), tests/cli/confined.rs
//! what is accepted on a connection: src/server/head.rs (heads and bodies), src/server/wire.rs (deadlines, turns)
//! a limit on what costs:      src/domain/budget.rs, src/http/routes.rs (`costs`), src/http/access.rs (who pays),
//!                             src/config/mod.rs, postpeer.toml.example, README.md
//! which redirects are allowed: src/domain/redirect.rs, src/domain/redirect/targets.txt (read by tests/browser as well)
//! a change that the audit trail must tell: src/domain/audit.rs (its name), src/broker/profiles.rs (recorded in its
//!                             transaction), src/http/api/audit.rs, tests/api/audit.rs (every changing route)
//! a loop in the background:   src/background.rs
//! a reader of input from outside: a `fuzzed_…` test beside it, tests/support/fuzz.rs, tests/corpus (its known inputs)
//! a threat, a fault:          tests/README.md (what becomes of it, and the tests that show it)
//! ```

pub mod app;
pub mod atproto;
pub mod background;
pub mod broker;
pub mod cli;
pub mod config;
pub mod domain;
pub mod failpoint;
pub mod http;
pub mod oauth;
pub mod outbound;
pub mod platforms;
pub mod sandbox;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod upstream;
pub mod vault;

#[cfg(test)]
#[path = "../tests/support/fuzz.rs"]
mod fuzz;
