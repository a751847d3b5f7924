//! Reddit: Basic authentication, refresh tokens that last, and refusals that come with status 200 or with a number.
//!
//! Sources, read in stored copies on 26 November 2026: the wiki page OAuth2 of reddit-archive/reddit (authorization,
//! the `#_` at the end of redirects, token retrieval, refresh); r/redditdev, "OAuth2 API changes upcoming" (January
//! 2021: a refresh also answers with a refresh token, a code used twice ends its tokens), whose single-use tokens were
//! given up in July 2021 (PRAW pull request 1767), and "Introducing the Responsible Builder Policy" (apps need
//! approval). The broker keeps whatever refresh token comes. That a dead refresh token answers 400 is from clients
//! (PRAW issue 677, rtv pull request 377). Not verified: that revoking a refresh token ends its access tokens, and
//! `raw_json`. Access tokens lived an hour, and a day in newer answers. Reddit throttles clients without a telling
//! `User-Agent`; the broker's is `postpeer/VERSION`.

use jiff::civil::date;
use serde_json::Value;

use super::{
    ApiCall, ClientAuth, Facts, Guide, Identity, Platform, Refresh, Refusal, Revocation, RevocationAuth,
    RevocationReach, RevokedToken, Rotation, Subject, Unidentified, list, page_url, pairs, text,
};
use crate::domain::account::Account;
use crate::domain::failure::Failure;

pub(crate) fn definition() -> Platform {
    Platform {
        name: "reddit".into(),
        label: "Reddit".into(),
        guide: Guide {
            facts: Some(&FACTS),
            connects: "Reddit",
            know: "an app of type \"web app\"; Reddit reviews apps before they may use its API",
            console: "https://www.reddit.com/prefs/apps",
            credentials: "https://www.reddit.com/prefs/apps, an app of type \"web app\": the id below its name, and its secret",
            ..Guide::default()
        },
        authorize_url: "https://www.reddit.com/api/v1/authorize".into(),
        token_url: "https://www.reddit.com/api/v1/access_token".into(),
        // A refresh token takes its access tokens along; an access token would leave the refresh token alive.
        revocation: Revocation::Endpoint {
            url: "https://www.reddit.com/api/v1/revoke_token".into(),
            client_auth: RevocationAuth::AsToken,
            token: RevokedToken::Refresh,
        },
        revocation_reach: RevocationReach::Tokens,
        authority: "reddit".into(),
        subject: Subject::Person,
        api_url: "https://oauth.reddit.com".into(),
        scopes: list(&["identity", "read", "submit"]),
        needed_scopes: &["identity"],
        // `temporary`, the default, brings no refresh token.
        authorize_params: pairs(&[("duration", "permanent")]),
        adds_fragment: true,
        client_auth: ClientAuth::Basic,
        refresh: Refresh::RefreshToken { rotation: Rotation::None },
        refusals: &[REFUSALS],
        default_expires_in: Some(3600),
        // Without `raw_json` the picture's URL comes with `&amp;` in it.
        ..Platform::standard(Identity::new(ApiCall::get("/api/v1/me", &[("raw_json", "1")]), read))
    }
}

const FACTS: Facts = Facts {
    as_of: date(2026, 11, 26),
    code: "once (its life is not documented)",
    access_token: "1 hour, and a day in newer answers",
    refresh: "until it is revoked",
    versions: &[],
};

fn read(answer: &Value) -> Result<Account, Unidentified> {
    let id = text(answer, "/id").ok_or(Unidentified::Unreadable)?;
    let username = text(answer, "/name");
    Ok(Account {
        // Elsewhere in the API the same id has the prefix of its kind.
        platform_user_id: id.strip_prefix("t2_").unwrap_or(&id).to_owned(),
        profile_url: username.as_ref().and_then(|name| page_url("https://www.reddit.com/user/", &[name])),
        display_name: username.clone(),
        username,
        image_url: text(answer, "/icon_img"),
        ..Account::default()
    })
}

const REFUSALS: &[Refusal] = &[
    // Reddit answers a dead refresh token with 400 and the status as the `error`. Nothing else in the broker's request
    // could be at fault: a wrong client is 401.
    Refusal { codes: &["400"], ..Refusal::refresh(Failure::RefreshRejected, "PRAW issue 677, read 2026-11-26") },
    // A 401 without a word, which may come with status 200: at the exchange it is the client, because a code has a
    // refusal of its own. At a refresh it may be the grant as well.
    Refusal {
        codes: &["401"],
        ..Refusal::exchange(Failure::CredentialsRejected, "wiki OAuth2, token retrieval, read 2026-11-26")
    },
    Refusal { status: Some(403), ..Refusal::api(Failure::PermissionMissing, "wiki OAuth2, scopes, read 2026-11-26") },
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_account_is_known_by_its_id_without_the_prefix() {
        for id in ["5k2ab", "t2_5k2ab"] {
            let account =
                read(&json!({"id": id, "name": "ada_marlow", "icon_img": "https://styles.redditmedia.com/a.png"}))
                    .unwrap();
            assert_eq!(account.platform_user_id, "5k2ab");
            assert_eq!(account.username.as_deref(), Some("ada_marlow"));
            assert_eq!(account.profile_url.as_deref(), Some("https://www.reddit.com/user/ada_marlow"));
            assert_eq!(account.image_url.as_deref(), Some("https://styles.redditmedia.com/a.png"));
        }
        assert_eq!(read(&json!({"name": "ada_marlow"})), Err(Unidentified::Unreadable));
    }
}
