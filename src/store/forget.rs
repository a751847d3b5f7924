//! Erases everything that is sealed, when the keyring is lost: what is left is what anybody can read, and accounts that
//! must be reconnected. Statements are for every project and say so.

use rusqlite::{Connection, Transaction, named_params};

use super::Error;
use super::columns::{Fields, all, change, json};
use crate::domain::failure::Failure;
use crate::domain::id::{OauthAppId, ProjectId};
use crate::domain::refresh_failure::RefreshFailure;
use crate::domain::time::Timestamp;

/// An app of a caller's own. Its secret is to be entered again.
#[derive(Debug)]
pub struct App {
    pub project_id: ProjectId,
    pub id: OauthAppId,
    pub platform: String,
    pub client_id: String,
    pub generation: u64,
}

/// Erases all sealed values but the apps' secrets, which cannot be absent, and all data keys. Ends every grant. Returns
/// how many were active.
pub fn erase(db: &Transaction<'_>, now: Timestamp) -> Result<u64, Error> {
    let trouble = RefreshFailure::unasked(Failure::KeyringLost, now);
    let reason = Failure::KeyringLost.ends_grant().map(|reason| reason.into_str());
    let ended = change(
        db,
        "UPDATE grants /* every project */ SET status = 'reconnect_required', failure_reason = :reason, ended_at = :now,
            trouble = :trouble, due_at = NULL, updated_at = :now
         WHERE status = 'active'",
        named_params! {":reason": reason, ":now": now, ":trouble": json(&trouble)?},
    )?;
    change(
        db,
        "UPDATE links /* every project */ SET revoked_at = :now, mac = NULL, mac_dek_id = NULL WHERE revoked_at IS NULL",
        named_params! {":now": now},
    )?;
    for statement in [
        "UPDATE grants /* every project */ SET tokens = NULL, tokens_dek_id = NULL, generation = generation + 1,
            attempt_at = NULL, in_doubt = 0, answer = NULL, answer_dek_id = NULL",
        "UPDATE integrations /* every project */ SET tokens = NULL, tokens_dek_id = NULL, generation = generation + 1
         WHERE tokens IS NOT NULL",
        "UPDATE oauth_apps /* every project */ SET previous_secret = NULL, previous_secret_dek_id = NULL,
            previous_until = NULL
         WHERE previous_secret IS NOT NULL",
        "DELETE FROM selections /* every project */",
        "DELETE FROM flows /* every project */",
        "DELETE FROM discovered",
        "DELETE FROM registrations",
        "DELETE FROM recovery",
        "DELETE FROM resealed",
        "DELETE FROM keyring",
    ] {
        change(db, statement, &[])?;
    }
    Ok(ended as u64)
}

/// The apps of all projects.
pub fn list_apps(db: &Connection) -> Result<Vec<App>, Error> {
    all(
        db,
        "SELECT id, project_id, platform, client_id, generation FROM oauth_apps /* every project */
         WHERE deleted_at IS NULL ORDER BY id",
        &[],
        |row| {
            let fields = Fields::of("oauth_apps", row);
            Ok(App {
                id: fields.get("id")?,
                project_id: fields.get("project_id")?,
                platform: fields.get("platform")?,
                client_id: fields.get("client_id")?,
                generation: fields.unsigned("generation")?,
            })
        },
    )
}
