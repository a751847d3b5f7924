//! Documented refusals of the servers in `presets.toml`. They hold for all platforms of an operator's own, whose section
//! may describe the same server without the preset.
//!
//! Invariant: other servers do not use the words and codes of a row with another meaning.

use super::{OF_OUTAGE, OF_THROTTLING, Refusal};
use crate::domain::failure::Failure;

const ATHLETES: &str = "Strava, rate limits, athlete capacity; ha_strava issue 288, 2026-11";
const SLACK: &str = "Slack, auth.test, errors, 2026-11";
const SPOTIFY: &str = "spotipy issue 1044, SpotifyAPI-NET issue 700, 2026-11";

pub(super) const REFUSALS: &[Refusal] = &[
    Refusal {
        words: &["does not have the required scope"],
        ..Refusal::api(Failure::AuthorizationRefused, "Dropbox, developer guide, app permissions, 2026-11")
    },
    Refusal {
        codes: &["user_suspended"],
        ..Refusal::api(Failure::AccountInactive, "Dropbox, HTTP documentation, AuthError, 2026-11")
    },
    Refusal {
        words: &["your account was suspended"],
        ..Refusal::api(Failure::AccountInactive, "GitHub, REST API for a suspended account, 2026-11")
    },
    // Slack refuses with status 200.
    Refusal { codes: OF_THROTTLING, ..Refusal::api(Failure::PlatformThrottled, SLACK) },
    Refusal { codes: OF_OUTAGE, ..Refusal::api(Failure::PlatformUnavailable, SLACK) },
    Refusal { codes: &["missing_scope"], ..Refusal::api(Failure::PermissionMissing, SLACK) },
    // An app in development, whose operator lists who may use it.
    Refusal { words: &["not registered in the developer dashboard"], ..Refusal::api(Failure::AppNotPublic, SPOTIFY) },
    Refusal { words: &["user may not be registered"], ..Refusal::api(Failure::AppNotPublic, SPOTIFY) },
    // A spent quota has this code too, and comes with 429.
    Refusal {
        status: Some(403),
        codes: &["Application.exceeded"],
        ..Refusal::token_or_api(Failure::AccessNotApproved, ATHLETES)
    },
    // Zoom has sentences in the place of a code.
    Refusal {
        codes: &["Invalid Token!"],
        ..Refusal::refresh(Failure::RefreshRejected, "Zoom developer forum, refresh token, 2026-11")
    },
    Refusal {
        codes: &["Redirect URI mismatch."],
        ..Refusal::exchange(Failure::CallbackUrlRejected, "Zoom developer forum, redirect URL, 2026-11")
    },
    // The scopes are set in the app alone.
    Refusal {
        words: &["does not contain scopes"],
        ..Refusal::api(
            Failure::AuthorizationRefused,
            "Zoom, error 4711; zoom-laravel issue 15, zoom-batch-downloader issue 34, 2026-11",
        )
    },
];
