//! `/v1/connect/{platform}/selection/{token}`: lets a caller's own page choose among several accounts.
//!
//! These routes need no access key: the selection token, which the caller receives on its `redirectUri`, authorizes
//! this one choice. A token that is unknown, used, expired or for another platform gets the same answer.

mod view;

use std::collections::BTreeSet;

use actix_web::HttpRequest;
use actix_web::web::Json;
use serde_json::Value;
use utoipa::ToSchema;

pub(super) use self::view::{RouteView, UnusableView};
use self::view::{SelectionDone, SelectionView};
use crate::domain::secret::SecretString;
use crate::domain::selection::CHOICE_MAX;
use crate::http::Current;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::request::{CHOICE_BODY_MAX, FromMembers, Members, Segment, Unread, fields, peer};

/// Which accounts to connect.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct SelectedAccounts {
    /// Ids of accounts on offer; one that is named twice counts once.
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 10_000)]
    selected_account_ids: BTreeSet<String>,
}

impl FromMembers for SelectedAccounts {
    const BODY_MAX: usize = CHOICE_BODY_MAX;

    fn from_members(members: &mut Members) -> Result<Self, ApiError> {
        let wrong = || {
            fields::invalid(
                "selectedAccountIds",
                &format!("must be a list of 1 to {CHOICE_MAX} ids of accounts on offer"),
            )
        };
        let Some(Value::Array(items)) = members.take("selectedAccountIds") else { return Err(wrong()) };
        members.refuse_others()?;
        if items.is_empty() || items.len() > CHOICE_MAX {
            return Err(wrong());
        }
        let ids = items.into_iter().map(|item| match item {
            Value::String(id) => Ok(id),
            _ => Err(wrong()),
        });
        Ok(Self { selected_account_ids: ids.collect::<Result<_, _>>()? })
    }
}

/// Defines the two operations of a platform whose consent can cover several accounts.
macro_rules! operations {
    ($module:ident, $platform:literal, $path:literal, $get:literal, $submit:literal, $what:literal) => {
        pub(crate) mod $module {
            use super::*;

            #[utoipa::path(get, path = $path, operation_id = $get, tag = "Connect",
                summary = concat!("See which ", $what, " can be connected"),
                description = "For a connection that was begun with `headless=true` and came back with \
                    `status=selection_required`: the accounts that the person can choose from, and what became of those \
                    that may be missing.",
                params(("token" = String, Path, min_length = 1, description = "The `selectionToken`.")),
                responses(
                    (status = 200, description = "The choice.", body = SelectionView),
                    (status = 404, description = "The token is unknown, spent or expired, or another platform's.",
                        body = ErrorBody),
                    (status = 429, description = "Too many unknown tokens came from this address: see `Retry-After`.",
                        body = ErrorBody),
                    (status = 500, description = "The broker failed.", body = ErrorBody),
                    (status = 503, description = "The broker has too much to do right now.", body = ErrorBody),
                ))]
            pub(crate) async fn get(
                state: Current,
                Segment(token): Segment,
            ) -> Result<Json<SelectionView>, ApiError> {
                Ok(Json(state.broker.get_selection(Some($platform), &SecretString::from(token)).await?.into()))
            }

            #[utoipa::path(post, path = $path, operation_id = $submit, tag = "Connect",
                summary = concat!("Connect the chosen ", $what),
                description = "Connects these accounts and no others. The first valid choice spends the token; the same \
                    choice, sent again within a minute, is answered again.",
                params(("token" = String, Path, min_length = 1, description = "The `selectionToken`.")),
                request_body = SelectedAccounts,
                responses(
                    (status = 200, description = "They are connected.", body = SelectionDone),
                    (status = 400, description = "The body is malformed, or names an account that is not on offer: the \
                        token is not spent.", body = ErrorBody),
                    (status = 404, description = "The token is unknown, spent by another choice, or expired, or another \
                        platform's.", body = ErrorBody),
                    (status = 413, description = "The body is larger than 512 KiB.", body = ErrorBody),
                    (status = 429, description = "Too many unknown tokens came from this address: see `Retry-After`.",
                        body = ErrorBody),
                    (status = 500, description = "The broker failed.", body = ErrorBody),
                    (status = 503, description = "The broker has too much to do right now.", body = ErrorBody),
                    (status = 507, description = "The broker's disk is full.", body = ErrorBody),
                ))]
            pub(crate) async fn submit(
                state: Current,
                req: HttpRequest,
                Segment(token): Segment,
                unread: Unread,
            ) -> Result<Json<SelectionDone>, ApiError> {
                let token = SecretString::from(token);
                let project = state.broker.ensure_selection(Some($platform), &token).await?;
                let chosen = unread.of_project(project).members::<SelectedAccounts>().await?.selected_account_ids;
                let address = peer::address(&req, &state.settings.trusted_proxies);
                Ok(Json(state.broker.choose_accounts(Some($platform), &token, chosen, address).await?.into()))
            }
        }
    };
}

operations!(
    facebook,
    "facebook",
    "/v1/connect/facebook/selection/{token}",
    "getFacebookSelection",
    "submitFacebookSelection",
    "Facebook Pages"
);
operations!(
    googlebusiness,
    "googlebusiness",
    "/v1/connect/googlebusiness/selection/{token}",
    "getGoogleBusinessSelection",
    "submitGoogleBusinessSelection",
    "Google Business Profile locations"
);
operations!(
    linkedin,
    "linkedin",
    "/v1/connect/linkedin/selection/{token}",
    "getLinkedInSelection",
    "submitLinkedInSelection",
    "LinkedIn accounts"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzzed_choices_have_ids_and_no_more_than_are_allowed() {
        let words = [
            "\"",
            ",",
            "[",
            "]",
            "{",
            "}",
            ":",
            "null",
            "1",
            "\\u0000",
            "\\ud800",
            "selectedAccountIds",
            "\u{feff}",
            "é",
        ];
        crate::fuzz::run("choices", &words, |body| {
            let read = Members::parse(body).and_then(|mut members| SelectedAccounts::from_members(&mut members));
            if let Ok(choice) = read {
                assert!((1..=CHOICE_MAX).contains(&choice.selected_account_ids.len()));
                let strict: Value = serde_json::from_slice(body).unwrap();
                assert_eq!(strict.as_object().unwrap().len(), 1);
            }
        });
    }
}
