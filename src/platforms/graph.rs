//! The errors of the Graph API, which Facebook, Instagram and Threads share.
//!
//! Source: Graph API, "Handling errors", with the subcodes of authentication errors listed there.

use jiff::civil::date;
use url::Url;

use super::{Refusal, Version};
use crate::domain::failure::Failure;

/// Versions of the Graph API ("Graph API changelog", 2026-11-04).
pub(super) const VERSIONS: &[Version] =
    &[Version { name: "v25.0", ends: Some(date(2028, 7, 29)) }, Version { name: "v27.0", ends: None }];

/// Domains at which Meta shows its authorize pages.
const DOMAINS: [&str; 4] = ["facebook.com", "instagram.com", "threads.com", "threads.net"];

/// True for an authorize page of Meta's. It sends the browser back with the fragment `#_=_` or `#_`.
pub(super) fn is_of_meta(authorize_url: &str) -> bool {
    let url = Url::parse(authorize_url).ok();
    url.as_ref().and_then(Url::host_str).is_some_and(|host| {
        let at = |domain: &str| host.strip_suffix(domain).is_some_and(|sub| sub.is_empty() || sub.ends_with('.'));
        DOMAINS.into_iter().any(at)
    })
}

/// True for parameters of an authorize URL that name a configuration of the app's, which has the scopes in their place
/// ("Facebook Login for Business", 2026-11).
#[must_use]
pub fn have_configuration(parameters: &[(String, String)]) -> bool {
    parameters.iter().any(|(name, _)| name == "config_id")
}

const MANUAL: &str = "Login, manual flow, exchanging code for an access token, 2026-11";
const ERRORS: &str = "Graph API, Handling errors, 2026-11";
const TESTERS: &str = "NangoHQ/nango issue 5531, chatwoot issue 12656; Threads, get started, testers, 2026-11";
const PROOF: &str = "Graph API, Secure requests; facebookarchive/offline-conversion-file-uploader issue 7, 2026-11";
const CHECKUP: &str =
    "Data Use Checkup; codingbadger/instant-tokens.com issue 27, genxbe/kirby3-instagram issue 8, 2026-11";
const TRANSIENT: &str = "facebook-python-business-sdk, FacebookRequestError.api_transient_error, 2026-11";
const LIMITS: &str = "Graph API, Rate limits, business use case limits, 2026-11";
/// Limits of the app's requests.
const THROTTLED: &[&str] = &["4", "32", "341", "613"];
/// Limits of the requests for a business.
const BUSINESS_LIMITS: Option<(u32, u32)> = Some((80_000, 80_014));
/// Limits of one person's requests, and a person who is blocked for a while.
const OF_PERSON: &[&str] = &["17", "368"];
/// A session that is not valid, and a token that is not.
const TOKEN: &[&str] = &["102", "190"];

pub(super) const REFUSALS: &[Refusal] = &[
    // Threads documents a misspelt `error`, but gives the reason.
    Refusal { codes: &["user_denied"], ..Refusal::denial("Login, manual flow, canceled login, 2026-11") },
    Refusal { codes: &["191"], ..Refusal::authorize(Failure::CallbackUrlRejected, "php-graph-sdk issue 877, 2018-02") },
    Refusal { codes: &["101"], ..Refusal::authorize(Failure::CredentialsRejected, ERRORS) },
    Refusal { codes: &["1349245"], ..Refusal::authorize(Failure::AppNotPublic, TESTERS) },
    // "App not active": it is in development, or the app was restricted.
    Refusal { codes: &["1349126"], ..Refusal::authorize(Failure::AppNotPublic, "mixpost, live callback, 2026-11") },
    Refusal { codes: &["1", "2"], ..Refusal::authorize(Failure::PlatformUnavailable, ERRORS) },
    Refusal { codes: THROTTLED, ..Refusal::authorize(Failure::PlatformThrottled, ERRORS) },
    Refusal { codes: OF_PERSON, ..Refusal::authorize(Failure::AccountThrottled, ERRORS) },
    // The tester has not accepted the invitation, or the app lacks access to the API.
    Refusal {
        codes: &["100"],
        words: &["unsupported request - method type"],
        ..Refusal::token_or_api(Failure::AppNotPublic, TESTERS)
    },
    Refusal { words: &["not accepted the invite"], ..Refusal::token_or_api(Failure::AppNotPublic, TESTERS) },
    // "Require App Secret" is on in the app's settings: every call then needs a proof, which the broker does not send.
    Refusal { words: &["appsecret_proof"], ..Refusal::token_or_api(Failure::AccessNotApproved, PROOF) },
    // The app was restricted, or its operator missed a checkup. The code is 200, as for a withdrawn permission.
    Refusal { words: &["api access blocked"], ..Refusal::token_or_api(Failure::AccessNotApproved, ERRORS) },
    Refusal { words: &["api access deactivated"], ..Refusal::token_or_api(Failure::AccessNotApproved, ERRORS) },
    Refusal { words: &["api access disrupted"], ..Refusal::token_or_api(Failure::AccessNotApproved, CHECKUP) },
    Refusal { words: &["for non-active apps"], ..Refusal::token_or_api(Failure::AccessNotApproved, CHECKUP) },
    Refusal { codes: &["3"], ..Refusal::token(Failure::AccessNotApproved, ERRORS) },
    Refusal { codes: &["101"], ..Refusal::token_or_api(Failure::CredentialsRejected, ERRORS) },
    // The app was deleted or disabled, or its id is wrong. A refresh has a row of its own.
    Refusal { words: &["error validating application"], ..Refusal::exchange(Failure::CredentialsRejected, ERRORS) },
    Refusal { words: &["error validating application"], ..Refusal::api(Failure::CredentialsRejected, ERRORS) },
    // Instagram's and Threads' token endpoints have a sentence and no code for it.
    Refusal {
        words: &["invalid platform app"],
        ..Refusal::token(Failure::CredentialsRejected, "Business login for Instagram, code exchange, 2026-11")
    },
    Refusal { codes: &["1"], words: &["client secret"], ..Refusal::token(Failure::CredentialsRejected, ERRORS) },
    Refusal { codes: &["191"], ..Refusal::exchange(Failure::CallbackUrlRejected, ERRORS) },
    Refusal { subcodes: &["36008"], ..Refusal::exchange(Failure::CallbackUrlRejected, ERRORS) },
    // "… make sure your redirect_uri is identical to the one you used …", with several codes, and at Instagram and
    // Threads without a subcode.
    Refusal { words: &["redirect_uri", "identical"], ..Refusal::exchange(Failure::CallbackUrlRejected, MANUAL) },
    // A sentence of Instagram's API before 2020, without a code of its own.
    Refusal {
        words: &["invalid redirect_uri"],
        ..Refusal::exchange(Failure::CallbackUrlRejected, "Instagram API, OAuthException, 2018")
    },
    Refusal { codes: &["1349126", "1349245"], ..Refusal::exchange(Failure::AppNotPublic, TESTERS) },
    Refusal { codes: &["100"], words: &["verification code"], ..Refusal::exchange(Failure::ExchangeRejected, MANUAL) },
    Refusal { codes: &["100"], words: &["authorization code"], ..Refusal::exchange(Failure::ExchangeRejected, MANUAL) },
    // A sentence without a code as well.
    Refusal {
        words: &["matching code was not found"],
        ..Refusal::exchange(Failure::ExchangeRejected, "Business login for Instagram, code exchange, 2026-11")
    },
    Refusal { codes: &["1", "2"], ..Refusal::token_or_api(Failure::PlatformUnavailable, ERRORS) },
    Refusal { codes: THROTTLED, ..Refusal::token_or_api(Failure::PlatformThrottled, ERRORS) },
    Refusal { between: BUSINESS_LIMITS, ..Refusal::token_or_api(Failure::PlatformThrottled, LIMITS) },
    Refusal { codes: OF_PERSON, ..Refusal::token_or_api(Failure::AccountThrottled, ERRORS) },
    // Instagram's token endpoint says so with status 400.
    Refusal {
        codes: &["OAuthRateLimitException"],
        ..Refusal::token(Failure::PlatformThrottled, "Instagram, rate limits of the token endpoint, 2026-11")
    },
    // Whatever the code: the same request may work later.
    Refusal { codes: &["is_transient"], ..Refusal::token_or_api(Failure::PlatformUnavailable, TRANSIENT) },
    // Instagram and Threads refuse a token younger than a day with this code. The token is good.
    Refusal { codes: &["190"], words: &["24 hours"], ..Refusal::refresh(Failure::RequestRefused, ERRORS) },
    // The app's id or secret is wrong; nothing is known of the grant.
    Refusal {
        codes: &["190"],
        words: &["error validating application"],
        ..Refusal::refresh(Failure::AppOrGrantRejected, ERRORS)
    },
    Refusal { codes: TOKEN, subcodes: &["458"], ..Refusal::refresh(Failure::ConsentRevoked, ERRORS) },
    // A checkpoint, a changed password, an account that is not confirmed.
    Refusal {
        codes: TOKEN,
        subcodes: &["459", "460", "464"],
        ..Refusal::refresh(Failure::SecurityInvalidation, ERRORS)
    },
    // 467, a token that is not valid, does not say that it expired.
    Refusal { codes: TOKEN, subcodes: &["463"], ..Refusal::refresh(Failure::ConsentExpired, ERRORS) },
    Refusal { codes: TOKEN, subcodes: &["492"], ..Refusal::refresh(Failure::PermissionWithdrawn, ERRORS) },
    Refusal { codes: TOKEN, ..Refusal::refresh(Failure::RefreshRejected, ERRORS) },
    Refusal { codes: &["10"], ..Refusal::refresh(Failure::PermissionWithdrawn, ERRORS) },
    Refusal { between: Some((200, 299)), ..Refusal::refresh(Failure::PermissionWithdrawn, ERRORS) },
    Refusal { codes: &["3"], ..Refusal::api(Failure::AccessNotApproved, ERRORS) },
    Refusal { codes: &["10"], ..Refusal::api(Failure::PermissionMissing, ERRORS) },
    // The person removed the app at once.
    Refusal { codes: TOKEN, ..Refusal::api(Failure::PermissionMissing, ERRORS) },
    Refusal { between: Some((200, 299)), ..Refusal::api(Failure::PermissionMissing, ERRORS) },
];
