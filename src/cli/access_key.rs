//! `postpeer access-key`: the keys with which callers use the API.

use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;

use super::failure::{Exit, Failure};
use super::output;
use super::settings::ConfigFile;
use crate::config::Environment;
use crate::domain::access_key::Scope;
use crate::domain::id::AccessKeyId;
use crate::domain::project::DEFAULT_PROJECT;

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
#[command(after_help = "Example:\n  postpeer access-key create --name \"my app\" --scope read,tokens")]
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
    #[command(flatten)]
    config: ConfigFile,
}

/// List all keys by id and first characters
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  postpeer access-key list")]
pub(super) struct List {
    #[command(flatten)]
    config: ConfigFile,
}

/// Revoke a key; it is rejected from its next request on
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  postpeer access-key revoke key_0198c0de0000700080000000000000000")]
pub(super) struct Revoke {
    /// Id of the key, as shown by `postpeer access-key list`
    id: AccessKeyId,
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(command: Command, environment: &Environment) -> Result<(), Failure> {
    match command {
        Command::Create(arguments) => create(&arguments, environment),
        Command::List(arguments) => list(&arguments, environment),
        Command::Revoke(arguments) => revoke(&arguments, environment),
    }
}

#[expect(clippy::disallowed_methods, reason = "a new key is printed once, for the operator who creates it")]
fn create(arguments: &Create, environment: &Environment) -> Result<(), Failure> {
    let desk = arguments.config.desk(environment)?;
    let scopes: &[Scope] = if arguments.scopes.is_empty() { &Scope::DEFAULT } else { &arguments.scopes };
    let (key, plain) =
        desk.run(|broker| async move { broker.create_access_key(&arguments.project, &arguments.name, scopes).await })?;
    say!("Created {} for project {}. The key is shown only this once:", key.id, arguments.project);
    output::result(plain.expose_secret())
}

fn list(arguments: &List, environment: &Environment) -> Result<(), Failure> {
    let desk = arguments.config.desk(environment)?;
    let keys = desk.run(|broker| async move { broker.list_access_keys().await })?;
    let mut rows = vec![["ID", "KEY", "NAME", "PROJECT", "SCOPES", "CREATED", "REVOKED"].map(str::to_owned)];
    rows.extend(keys.into_iter().map(|(key, project)| {
        let scopes: Vec<&str> = key.scopes.iter().map(Scope::into_str).collect();
        [
            key.id.to_string(),
            format!("{}…", key.hint),
            key.name,
            project,
            scopes.join(" "),
            key.created_at.to_string(),
            key.revoked_at.map_or_else(|| "-".to_owned(), |at| at.to_string()),
        ]
    }));
    output::result(&output::table(&rows))
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
