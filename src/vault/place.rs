//! The places where sealed values live: one constructor for each column that holds them.
//!
//! A place is authenticated with the value, so no name here may ever change: what is sealed under it would not open
//! again.

use std::fmt::Display;

use crate::domain::id::{FlowId, GrantId, IntegrationId, OauthAppId, SelectionId};

/// Generation of a value that is written once and never changed.
const ONLY: u64 = 1;

/// Where a sealed value is stored. It opens nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub(super) table: &'static str,
    pub(super) column: &'static str,
    /// Id of the row.
    pub(super) row: String,
    /// Generation of the row, for values that change in place.
    pub(super) generation: u64,
}

impl Place {
    /// The client secret of a caller's own OAuth app.
    #[must_use]
    pub fn app_secret(id: OauthAppId, generation: u64) -> Self {
        Self::new("oauth_apps", "client_secret", id, generation)
    }

    /// The document that an issuer published about itself.
    #[must_use]
    pub fn discovered(issuer: &str) -> Self {
        Self::new("discovered", "document", issuer, ONLY)
    }

    /// A platform's answer to a flow's code exchange.
    #[must_use]
    pub fn flow_answer(id: FlowId) -> Self {
        Self::new("flows", "answer", id, ONLY)
    }

    /// The server that the person of a flow named.
    #[must_use]
    pub fn flow_server(id: FlowId) -> Self {
        Self::new("flows", "server", id, ONLY)
    }

    /// A flow's PKCE verifier.
    #[must_use]
    pub fn flow_verifier(id: FlowId) -> Self {
        Self::new("flows", "pkce_verifier", id, ONLY)
    }

    /// A platform's answer to a refresh. `generation` is that of the tokens it replaces.
    #[must_use]
    pub fn grant_answer(id: GrantId, generation: u64) -> Self {
        Self::new("grants", "answer", id, generation)
    }

    /// A grant's tokens.
    #[must_use]
    pub fn grant_tokens(id: GrantId, generation: u64) -> Self {
        Self::new("grants", "tokens", id, generation)
    }

    /// An account's own tokens, as a token set like a grant's.
    #[must_use]
    pub fn integration_tokens(id: IntegrationId, generation: u64) -> Self {
        Self::new("integrations", "tokens", id, generation)
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

    /// The consent whose accounts are being chosen.
    #[must_use]
    pub fn selection_payload(id: SelectionId) -> Self {
        Self::new("selections", "payload", id, ONLY)
    }

    /// The token in the link to the choice of accounts.
    #[must_use]
    pub fn selection_token(id: SelectionId) -> Self {
        Self::new("selections", "token_text", id, ONLY)
    }

    /// The place of a stored value of any column, to open or seal it where it is.
    #[must_use]
    pub fn stored(table: &'static str, column: &'static str, row: &str, generation: u64) -> Self {
        Self::new(table, column, row, generation)
    }

    pub(super) fn new(table: &'static str, column: &'static str, row: impl Display, generation: u64) -> Self {
        Self { table, column, row: row.to_string(), generation }
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
        let places = [
            Place::app_secret(id(), 2),
            Place::discovered("https://id.example"),
            Place::flow_answer(id()),
            Place::flow_server(id()),
            Place::flow_verifier(id()),
            Place::grant_answer(id(), 3),
            Place::grant_tokens(id(), 4),
            Place::integration_tokens(id(), 5),
            Place::recovery_key(6),
            Place::registration_secret("mastodon", "https://m.example", "c"),
            Place::selection_payload(id()),
            Place::selection_token(id()),
        ];
        let shown = places.map(|place| format!("{}.{} {} {}", place.table, place.column, place.row, place.generation));
        assert_eq!(
            shown,
            [
                "oauth_apps.client_secret app_000000000000000000000000000000ab 2",
                "discovered.document https://id.example 1",
                "flows.answer flow_000000000000000000000000000000ab 1",
                "flows.server flow_000000000000000000000000000000ab 1",
                "flows.pkce_verifier flow_000000000000000000000000000000ab 1",
                "grants.answer grant_000000000000000000000000000000ab 3",
                "grants.tokens grant_000000000000000000000000000000ab 4",
                "integrations.tokens int_000000000000000000000000000000ab 5",
                "recovery.public_key 1 6",
                "registrations.client_secret mastodon https://m.example c 1",
                "selections.payload sel_000000000000000000000000000000ab 1",
                "selections.token_text sel_000000000000000000000000000000ab 1",
            ]
        );
    }
}
