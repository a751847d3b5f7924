//! `postpeer audit`: the audit trail of all projects.

use clap::Args;
use serde_json::json;

use super::failure::{Exit, Failure};
use super::output::{self, or_dash};
use super::settings::ConfigFile;
use crate::app::Desk;
use crate::config::Environment;
use crate::domain::audit::{Entry, Recorded, Since};
use crate::domain::id::AccessKeyId;

/// Entries that are read at a time, so that a long trail takes little memory.
const AT_A_TIME: u32 = 1000;

/// Show who changed what, and who was handed which token; works while the broker runs
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  postpeer audit --since 2026-05-03T08:00:00Z\n  postpeer audit --json | jq 'select(.action == \"token.read\")'"
)]
pub(super) struct Arguments {
    /// First time to show (RFC 3339), or the id of the entry after which to begin [default: the oldest entry]
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Show only what this key did, and the connections that it began
    #[arg(long, value_name = "ID")]
    key: Option<AccessKeyId>,
    /// Print a JSON object for each entry, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(arguments: &Arguments, environment: &Environment) -> Result<(), Failure> {
    let desk = arguments.config.desk(environment)?;
    let key = arguments.key;
    let after = |since| desk.run(|broker| async move { broker.whole_audit_trail(since, key, AT_A_TIME).await });
    let mut entries = after(arguments.since.unwrap_or(Since::BEGINNING))?;
    if let Some(id) = key.filter(|_| entries.is_empty()) {
        check_known(&desk, id)?;
    }
    if !arguments.json {
        output::result(&line(["TIME", "ID", "ACTOR", "ACTION", "OBJECT", "OUTCOME", "FROM"]))?;
    }
    while let Some(last) = entries.last() {
        let since = Since::Entry(last.id);
        let show = if arguments.json { as_json } else { as_text };
        output::result(&entries.iter().map(show).collect::<Vec<_>>().join("\n"))?;
        entries = after(since)?;
    }
    Ok(())
}

/// Fails for a key without entries that does not exist: a mistyped id must not read as one that was never used.
fn check_known(desk: &Desk, id: AccessKeyId) -> Result<(), Failure> {
    let keys = desk.run(|broker| async move { broker.list_access_keys().await })?;
    if keys.iter().any(|(key, _)| key.id == id) {
        return Ok(());
    }
    let message = format!("there is no access key {id}, and no entry of it: see `postpeer access-key list`");
    Err(Failure::new(Exit::Usage, message))
}

fn as_json(recorded: &Recorded) -> String {
    let Recorded { id, at, project_id, entry } = recorded;
    let Entry { by, action, object, profile_id, flow_id, outcome } = entry;
    json!({
        "id": id,
        "at": at,
        "projectId": project_id.map(|id| id.to_string()),
        "actor": by.actor.into_str(),
        "accessKeyId": by.access_key_id.map(|id| id.to_string()),
        "linkId": by.link_id.map(|id| id.to_string()),
        "address": by.address,
        "action": action.into_str(),
        "object": object,
        "profileId": profile_id.map(|id| id.to_string()),
        "flowId": flow_id.map(|id| id.to_string()),
        "outcome": outcome,
    })
    .to_string()
}

fn as_text(recorded: &Recorded) -> String {
    let Recorded { id, at, project_id: _, entry } = recorded;
    let Entry { by, action, object, profile_id: _, flow_id: _, outcome } = entry;
    let link = by.link_id.map(|id| id.to_string());
    let actor = link.or_else(|| by.access_key_id.map(|id| id.to_string()));
    let actor = actor.unwrap_or_else(|| by.actor.into_str().to_owned());
    line([&at.to_string(), &id.to_string(), &actor, action.into_str(), object, outcome, &or_dash(by.address)])
}

/// Columns of a fixed width, because not all rows are known when the first is printed.
fn line([at, id, actor, action, object, outcome, address]: [&str; 7]) -> String {
    format!("{at:<24}  {id:>8}  {actor:<36}  {action:<20}  {object:<38}  {outcome:<18}  {address}")
}
