//! The tokens that an account uses, in one statement: its own, or its grant's.

use rusqlite::{Connection, Row, named_params};

use crate::domain::id::{IntegrationId, ProjectId};
use crate::domain::integration::{AccountTokens, OwnTokens};
use crate::domain::renewal::Renewal;
use crate::store::Error;
use crate::store::columns::{Fields, one};
use crate::store::grants::read_status;

/// Everything that handing out the account's token needs, still sealed.
pub fn find_tokens(db: &Connection, project: ProjectId, id: IntegrationId) -> Result<Option<AccountTokens>, Error> {
    one(db, FIND_TOKENS, named_params! {":project": project, ":id": id}, read)
}

pub(in crate::store) const FIND_TOKENS: &str =
        "SELECT i.id, i.profile_id, i.grant_id, i.platform, g.client_id, i.platform_user_id, g.status AS grant_status,
            g.failure_reason AS grant_failure_reason, i.status, i.failure_reason, i.generation AS own_generation,
            i.tokens AS own_tokens, g.renewal, g.access_expires_at, g.refresh_expires_at, g.scopes, g.issued_at,
            g.issued_at > g.consented_at AS is_refreshed, g.trouble, g.tokens AS grant_tokens, g.generation AS grant_generation
         FROM integrations AS i JOIN grants AS g ON g.project_id = i.project_id AND g.id = i.grant_id
         WHERE i.project_id = :project AND i.id = :id";

/// In the order of the statement.
fn read(row: &Row<'_>) -> Result<AccountTokens, Error> {
    let fields = Fields::in_order("integrations", row);
    let (id, profile_id, grant_id) = (fields.get("id")?, fields.get("profile_id")?, fields.get("grant_id")?);
    let (platform, client_id) = (fields.get("platform")?, fields.get("client_id")?);
    let platform_user_id = fields.get("platform_user_id")?;
    let of_grant = read_status(&fields, "grant_status", "grant_failure_reason")?;
    let status = of_grant.of_account(read_status(&fields, "status", "failure_reason")?);
    let own = OwnTokens { generation: fields.unsigned("own_generation")?, tokens: fields.get("own_tokens")? };
    let (renewal, access_expires_at): (Renewal, _) = (fields.parsed("renewal")?, fields.get("access_expires_at")?);
    let lapses_at = renewal.lapses_at(access_expires_at, fields.get("refresh_expires_at")?);
    Ok(AccountTokens {
        id,
        profile_id,
        grant_id,
        platform,
        client_id,
        platform_user_id,
        status,
        lapses_at: lapses_at.filter(|_| own.tokens.is_none()),
        renewal,
        access_expires_at,
        scopes: fields.json("scopes")?,
        issued_at: fields.get("issued_at")?,
        is_refreshed: fields.get("is_refreshed")?,
        trouble: fields.json_if_any("trouble")?,
        grant_tokens: fields.get("grant_tokens")?,
        grant_generation: fields.unsigned("grant_generation")?,
        own,
    })
}
