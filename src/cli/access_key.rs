//! `postpeer access-key`: the keys with which callers use the API.

use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::failure::{Exit, Failure};
use super::output::{self, or_dash};
use super::settings::ConfigFile;
use crate::app::Desk;
use crate::broker;
use crate::config::Environment;
use crate::domain::access_key::{AccessKey, Scope};
use crate::domain::error_chain::chain;
use crate::domain::id::{AccessKeyId, ProfileId};
use crate::domain::key_limits::{Expiry, Limits, WARN_AHEAD};
use crate::domain::network::Network;
use crate::domain::project::DEFAULT_PROJECT;
use crate::domain::time::{Clock as _, SystemClock, Timestamp};

const CREATE_EXAMPLES: &str = "Examples:
  postpeer access-key create --name \"my app\" --scope read,tokens
  postpeer access-key create --name \"one customer\" --profile prof_0198c0de000070008000000000000000 --expires 90d
  postpeer access-key create --name worker --scope tokens --from 10.0.0.0/8,fd00::/8";

/// Create, list and revoke access keys; works while the broker runs
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Example:\n  postpeer access-key create --name \"my app\" --scope read,connect",
    disable_help_subcommand = true
)]
pub(super) enum Command {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Create a key and print it (it is shown only once)
#[derive(Debug, Args)]
#[command(after_help = CREATE_EXAMPLES)]
pub(super) struct Create {
    /// Name of the key, shown by `postpeer access-key list`
    #[arg(long)]
    name: String,
    /// Project (tenant) that the key belongs to
    #[arg(long, default_value = DEFAULT_PROJECT)]
    project: String,
    /// Permissions of the key: connect, manage, read or tokens; may be repeated [default: all but tokens]
    #[arg(long = "scope", value_name = "SCOPE[,SCOPE]", value_delimiter = ',')]
    scopes: Vec<Scope>,
    /// Profile that the key is bound to: it sees, connects and changes accounts of this profile only
    #[arg(long, value_name = "ID")]
    profile: Option<ProfileId>,
    /// When the key stops to work: a time from now (90d, 12h), or a date or time (2027-03-01, in UTC)
    #[arg(long, value_name = "WHEN")]
    expires: Option<Expiry>,
    /// Networks or addresses that the key works from; may be repeated [default: all]
    #[arg(long = "from", value_name = "NETWORK[,NETWORK]", value_delimiter = ',')]
    networks: Vec<Network>,
    #[command(flatten)]
    config: ConfigFile,
}

/// List all keys with their limits and their last use (which is written within a minute)
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  postpeer access-key list\n  postpeer access-key list --json")]
pub(super) struct List {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// Revoke a key; it is rejected from its next request on
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  postpeer access-key revoke key_0198c0de000070008000000000000000")]
pub(super) struct Revoke {
    /// Id of the key, as shown by `postpeer access-key list`
    id: AccessKeyId,
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(command: Command, environment: &Environment) -> Result<(), Failure> {
    match command {
        Command::Create(arguments) => create(arguments, environment),
        Command::List(arguments) => list(&arguments, environment),
        Command::Revoke(arguments) => revoke(&arguments, environment),
    }
}

#[expect(clippy::disallowed_methods, reason = "a new key is printed once, for the operator who creates it")]
fn create(arguments: Create, environment: &Environment) -> Result<(), Failure> {
    let Create { name, project, scopes, profile, expires, networks, config } = arguments;
    let desk = config.desk(environment)?;
    let limits = Limits {
        scopes: if scopes.is_empty() { Scope::DEFAULT.to_vec() } else { scopes },
        profile_id: profile,
        networks,
        expires_at: expires.map(|expires| expires.from(SystemClock.now())),
    };
    let created = desk.run(|broker| {
        let (project, name) = (&project, &name);
        async move { broker.create_access_key(project, name, limits).await }
    });
    let (key, plain) = created.map_err(|error| not_created(error, &config))?;
    say!("Created {} for project {project}{}. The key is shown only this once:", key.id, told(&key.limits));
    output::only_once(plain.expose_secret()).map_err(|failure| take_back(&desk, &config, key.id, failure))
}

/// The failure of making a key. A key that may be there all the same is to be revoked.
pub(super) fn not_created(error: broker::Error, config: &ConfigFile) -> Failure {
    let is_in_doubt = error.is_in_doubt();
    let failure = Failure::from(error);
    if !is_in_doubt {
        return failure;
    }
    let option = config.option();
    failure.and(&format!(
        "Nobody has seen the new key. If `postpeer access-key list{option}` shows it: `postpeer access-key revoke ID{option}`"
    ))
}

/// Revokes a new key that nobody has seen. Returns the failure to print it, with what became of the key.
pub(super) fn take_back(desk: &Desk, config: &ConfigFile, id: AccessKeyId, failure: Failure) -> Failure {
    match desk.run(|broker| async move { broker.revoke_access_key(id).await }) {
        Ok(_) => failure.and(&format!("Nobody has seen the key {id}, so it was revoked: create another one")),
        Err(error) => failure.and(&format!(
            "Nobody has seen the key {id}, and it could not be revoked ({}): `postpeer access-key revoke {id}{}`",
            chain(&error),
            config.option()
        )),
    }
}

/// The limits of a new key, for a sentence.
fn told(limits: &Limits) -> String {
    let profile = limits.profile_id.map(|profile| format!(", bound to profile {profile}"));
    let networks = (!limits.networks.is_empty()).then(|| format!(", for {} only", joined(&limits.networks, ", ")));
    let expiry = limits.expires_at.map(|at| format!(", until {at}"));
    [profile, networks, expiry].into_iter().flatten().collect()
}

fn list(arguments: &List, environment: &Environment) -> Result<(), Failure> {
    let desk = arguments.config.desk(environment)?;
    let keys = desk.run(|broker| async move { broker.list_access_keys().await })?;
    let now = SystemClock.now();
    if arguments.json {
        let keys: Vec<Value> = keys.iter().map(|(key, project)| as_json(key, project, now)).collect();
        return output::result(&Value::from(keys).to_string());
    }
    let headings =
        ["ID", "KEY", "NAME", "PROJECT", "SCOPES", "PROFILE", "FROM", "CREATED", "EXPIRES", "LAST USED", "REVOKED"];
    let mut rows = vec![headings.map(str::to_owned)];
    rows.extend(keys.into_iter().map(|(key, project)| {
        let Limits { scopes, profile_id, networks, expires_at } = &key.limits;
        [
            key.id.to_string(),
            format!("{}…", key.hint),
            key.name,
            project,
            joined(scopes, " "),
            or_dash(*profile_id),
            or_dash((!networks.is_empty()).then(|| joined(networks, " "))),
            key.created_at.to_string(),
            expires_at.map_or_else(|| "never".to_owned(), |at| expiry(at, now)),
            key.last_used_at.map_or_else(|| "never".to_owned(), |at| at.to_string()),
            or_dash(key.revoked_at),
        ]
    }));
    output::result(&output::table(&rows))
}

fn joined(items: &[impl ToString], separator: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
}

/// When a key expires, in words where somebody has to act.
fn expiry(at: Timestamp, now: Timestamp) -> String {
    let left = now.until(at);
    if at <= now {
        format!("{at} (expired)")
    } else if left <= WARN_AHEAD {
        let (days, hours) = (left.as_secs() / 86_400, left.as_secs() / 3_600);
        if days > 1 { format!("{at} (in {days} days)") } else { format!("{at} (in {hours} h)") }
    } else {
        at.to_string()
    }
}

/// Members are named as in the API.
fn as_json(key: &AccessKey, project: &str, now: Timestamp) -> Value {
    let Limits { scopes, profile_id, networks, expires_at } = &key.limits;
    let state = match (key.revoked_at, expires_at) {
        (Some(_), _) => "revoked",
        (None, Some(at)) if *at <= now => "expired",
        (None, _) => "active",
    };
    json!({
        "id": key.id.to_string(),
        "hint": key.hint,
        "name": key.name,
        "project": project,
        "scopes": scopes.iter().map(Scope::into_str).collect::<Vec<_>>(),
        "profileId": profile_id.map(|id| id.to_string()),
        "networks": networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "state": state,
        "createdAt": key.created_at,
        "expiresAt": expires_at,
        "lastUsedAt": key.last_used_at,
        "revokedAt": key.revoked_at,
    })
}

fn revoke(arguments: &Revoke, environment: &Environment) -> Result<(), Failure> {
    let desk = arguments.config.desk(environment)?;
    let id = arguments.id;
    if desk.run(|broker| async move { broker.revoke_access_key(id).await })? {
        say!("Revoked {id}. Its requests are rejected from now on.");
        Ok(())
    } else {
        Err(Failure::new(
            Exit::Usage,
            format!("{id} does not exist or is already revoked: see `postpeer access-key list`"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_expiry_that_is_near_or_past_is_told_in_words() {
        let now = Timestamp::from_millis(0);
        let told = |hours: u64| expiry(now.plus(Duration::from_hours(hours)), now);
        for (hours, words) in
            [(24 * 15, ""), (24 * 14, " (in 14 days)"), (49, " (in 2 days)"), (30, " (in 30 h)"), (0, " (expired)")]
        {
            let told = told(hours);
            assert_eq!(told.split_once('Z').map(|(_, words)| words), Some(words), "{told}");
        }
    }
}
