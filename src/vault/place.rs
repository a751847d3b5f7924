//! The places where sealed values live: one constructor for each column that holds them.
//!
//! A place is authenticated with the value, so no name here may ever change: what is sealed under it would not open
//! again. Beside database, table, column, row and generation, a value is bound to its [`Owner`], as far as its row has
//! one. None of these columns ever changes in a row, so no change by the broker has to seal a value again.
//!
//! ```text
//! value                                  project  platform  OAuth client
//! discovered.document                    -        -         -             the row is the issuer
//! flows.answer, pkce_verifier, server    yes      yes       yes
//! grants.answer, tokens                  yes      yes       yes
//! integrations.tokens                    yes      yes       -             an account may move to another grant
//! oauth_apps.client_secret               yes      yes       yes           the previous secret too
//! recovery.public_key                    -        -         -             the whole database's
//! registrations.client_secret            -        in row    in row        every project's; the row names both
//! selections.payload, token_text         yes      yes       yes           the client is the flow's
//! ```
//!
//! Not bound: the profile of an integration, which callers may change, and whatever is no secret (names, scopes,
//! times). Values of version 1 are bound to no owner: see [`seal`](super::seal).

use std::fmt::Display;

use crate::domain::flow::Flow;
use crate::domain::grant::Grant;
use crate::domain::id::{FlowId, GrantId, IntegrationId, OauthAppId, ProjectId, SelectionId};

/// Generation of a value that is written once and never changed.
const ONLY: u64 = 1;

/// The project, platform and OAuth client that a value belongs to: those of its row.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    pub project_id: ProjectId,
    pub platform: &'a str,
    pub client_id: &'a str,
}

impl<'a> From<&'a Flow> for Owner<'a> {
    fn from(Flow { project_id, platform, client_id, .. }: &'a Flow) -> Self {
        Self { project_id: *project_id, platform, client_id }
    }
}

impl<'a> From<&'a Grant> for Owner<'a> {
    fn from(Grant { project_id, platform, client_id, .. }: &'a Grant) -> Self {
        Self { project_id: *project_id, platform, client_id }
    }
}

/// Where a sealed value is stored. It opens nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub(super) table: &'static str,
    pub(super) column: &'static str,
    /// Id of the row.
    pub(super) row: String,
    /// Generation of the row, for values that change in place.
    pub(super) generation: u64,
    /// The owner's project, platform and client, each empty where the place has none.
    pub(super) owner: [String; 3],
}

impl Place {
    /// The client secret of a caller's own OAuth app.
    #[must_use]
    pub fn app_secret<'a>(id: OauthAppId, generation: u64, owner: impl Into<Owner<'a>>) -> Self {
        Self::new("oauth_apps", "client_secret", id, generation).of(owner)
    }

    /// The document that an issuer published about itself.
    #[must_use]
    pub fn discovered(issuer: &str) -> Self {
        Self::new("discovered", "document", issuer, ONLY)
    }

    /// A platform's answer to a flow's code exchange.
    #[must_use]
    pub fn flow_answer<'a>(id: FlowId, owner: impl Into<Owner<'a>>) -> Self {
        Self::new("flows", "answer", id, ONLY).of(owner)
    }

    /// The server that the person of a flow named.
    #[must_use]
    pub fn flow_server<'a>(id: FlowId, owner: impl Into<Owner<'a>>) -> Self {
        Self::new("flows", "server", id, ONLY).of(owner)
    }

    /// A flow's PKCE verifier.
    #[must_use]
    pub fn flow_verifier<'a>(id: FlowId, owner: impl Into<Owner<'a>>) -> Self {
        Self::new("flows", "pkce_verifier", id, ONLY).of(owner)
    }

    /// A platform's answer to a refresh. `generation` is that of the tokens it replaces.
    #[must_use]
    pub fn grant_answer<'a>(id: GrantId, generation: u64, owner: impl Into<Owner<'a>>) -> Self {
        Self::new("grants", "answer", id, generation).of(owner)
    }

    /// A grant's tokens.
    #[must_use]
    pub fn grant_tokens<'a>(id: GrantId, generation: u64, owner: impl Into<Owner<'a>>) -> Self {
        Self::new("grants", "tokens", id, generation).of(owner)
    }

    /// An account's own tokens, as a token set like a grant's.
    #[must_use]
    pub fn integration_tokens(id: IntegrationId, generation: u64, project: ProjectId, platform: &str) -> Self {
        let owner = Owner { project_id: project, platform, client_id: "" };
        Self::new("integrations", "tokens", id, generation).of(owner)
    }

    /// The public half of the operator's recovery key.
    #[must_use]
    pub fn recovery_key(generation: u64) -> Self {
        Self::new("recovery", "public_key", 1, generation)
    }

    /// The client secret of an app that the broker registered by itself. Neither name has a space in it.
    #[must_use]
    pub fn registration_secret(platform: &str, server: &str, client_id: &str) -> Self {
        Self::new("registrations", "client_secret", format!("{platform} {server} {client_id}"), ONLY)
    }

    /// The consent whose accounts are being chosen. `owner`: its flow.
    #[must_use]
    pub fn selection_payload<'a>(id: SelectionId, owner: impl Into<Owner<'a>>) -> Self {
        Self::new("selections", "payload", id, ONLY).of(owner)
    }

    /// The token in the link to the choice of accounts. `owner`: its flow.
    #[must_use]
    pub fn selection_token<'a>(id: SelectionId, owner: impl Into<Owner<'a>>) -> Self {
        Self::new("selections", "token_text", id, ONLY).of(owner)
    }

    /// The place of a stored value of any column, to open or seal it where it is. `owner`: project, platform and client
    /// of its row.
    #[must_use]
    pub fn stored(table: &'static str, column: &'static str, row: &str, generation: u64, owner: &[String; 3]) -> Self {
        Self { owner: owner.clone(), ..Self::new(table, column, row, generation) }
    }

    pub(super) fn new(table: &'static str, column: &'static str, row: impl Display, generation: u64) -> Self {
        Self { table, column, row: row.to_string(), generation, owner: Default::default() }
    }

    fn of<'a>(self, owner: impl Into<Owner<'a>>) -> Self {
        let Owner { project_id, platform, client_id } = owner.into();
        Self { owner: [project_id.to_string(), platform.to_owned(), client_id.to_owned()], ..self }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::id::Id;

    #[test]
    fn sealed_values_of_existing_databases_stay_in_their_places() {
        fn id<T: Id>() -> T {
            T::from_uuid(Uuid::from_u128(0xab))
        }
        let owner = Owner { project_id: id(), platform: "twitter", client_id: "c" };
        let places = [
            Place::app_secret(id(), 2, owner),
            Place::discovered("https://id.example"),
            Place::flow_answer(id(), owner),
            Place::flow_server(id(), owner),
            Place::flow_verifier(id(), owner),
            Place::grant_answer(id(), 3, owner),
            Place::grant_tokens(id(), 4, owner),
            Place::integration_tokens(id(), 5, id(), "facebook"),
            Place::recovery_key(6),
            Place::registration_secret("mastodon", "https://m.example", "c"),
            Place::selection_payload(id(), owner),
            Place::selection_token(id(), owner),
        ];
        for place in &places {
            let Place { table, column, row, generation, owner } = place;
            assert_eq!(&Place::stored(table, column, row, *generation, owner), place);
        }
        let shown = places.map(|place| {
            let Place { table, column, row, generation, owner } = place;
            let owner = owner.join(" ").replace("proj_000000000000000000000000000000ab", "proj");
            format!("{table}.{column} {row} {generation} [{owner}]")
        });
        assert_eq!(
            shown,
            [
                "oauth_apps.client_secret app_000000000000000000000000000000ab 2 [proj twitter c]",
                "discovered.document https://id.example 1 [  ]",
                "flows.answer flow_000000000000000000000000000000ab 1 [proj twitter c]",
                "flows.server flow_000000000000000000000000000000ab 1 [proj twitter c]",
                "flows.pkce_verifier flow_000000000000000000000000000000ab 1 [proj twitter c]",
                "grants.answer grant_000000000000000000000000000000ab 3 [proj twitter c]",
                "grants.tokens grant_000000000000000000000000000000ab 4 [proj twitter c]",
                "integrations.tokens int_000000000000000000000000000000ab 5 [proj facebook ]",
                "recovery.public_key 1 6 [  ]",
                "registrations.client_secret mastodon https://m.example c 1 [  ]",
                "selections.payload sel_000000000000000000000000000000ab 1 [proj twitter c]",
                "selections.token_text sel_000000000000000000000000000000ab 1 [proj twitter c]",
            ]
        );
    }
}
