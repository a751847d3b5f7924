//! `postpeer accounts`: the connected accounts and their health. Never their tokens.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::failure::{Exit, Failure};
use super::output::or_dash;
use super::settings::ConfigFile;
use super::{output, platforms, process};
use crate::app::Desk;
use crate::broker::error::What;
use crate::broker::integrations::Revoked;
use crate::broker::{self, Broker, Caller};
use crate::config::Environment;
use crate::domain::id::IntegrationId;
use crate::domain::integration::IntegrationDetail;
use crate::domain::project::DEFAULT_PROJECT;

/// Accounts read at a time.
const PAGE: u32 = 500;

/// List, look at and disconnect connected accounts; works while the broker runs
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  postpeer accounts list --failing", disable_help_subcommand = true)]
pub(super) enum Command {
    List(List),
    /// Show one account: its state, scopes and times, and what to do where it fails
    #[command(after_help = "Example:\n  postpeer accounts show int_0198c0de000070008000000000000000")]
    Show(One),
    /// Disconnect one account: revoke its consent where the platform takes that, and erase its tokens
    #[command(after_help = "Example:\n  postpeer accounts disconnect int_0198c0de000070008000000000000000")]
    Disconnect(One),
}

/// List the connected accounts of a project, newest first
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  postpeer accounts list --platform youtube --failing --json")]
pub(super) struct List {
    /// Project (tenant) of the accounts
    #[arg(long, default_value = DEFAULT_PROJECT)]
    project: String,
    /// Only accounts of this platform
    #[arg(long, value_name = "NAME")]
    platform: Option<String>,
    /// Only accounts that must be reconnected, or whose refreshes fail
    #[arg(long)]
    failing: bool,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

// The commands that take it have their own summaries: a doc comment here would be that of both.
#[derive(Debug, Args)]
pub(super) struct One {
    /// Id of the account, as shown by `postpeer accounts list`
    id: IntegrationId,
    /// Project (tenant) of the account
    #[arg(long, default_value = DEFAULT_PROJECT)]
    project: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(command: Command, environment: &Environment) -> Result<(), Failure> {
    process::harden_and_log_warnings();
    match command {
        Command::List(arguments) => list(arguments, environment),
        Command::Show(arguments) => show(&arguments, environment),
        Command::Disconnect(arguments) => disconnect(&arguments, environment),
    }
}

/// The operator, acting for a project.
pub(super) async fn operator(broker: &Broker, project: &str) -> Result<Caller, broker::Error> {
    let projects = broker.list_projects().await?;
    let project = projects.into_iter().find(|one| one.name == project).ok_or(broker::Error::NotFound(What::Project))?;
    Ok(Caller::operator(project.id))
}

fn list(arguments: List, environment: &Environment) -> Result<(), Failure> {
    let List { project, platform, failing, json, config } = arguments;
    let desk = config.desk(environment)?;
    // Each account is kept as its line only, or not at all: there may be a million.
    let mut array = output::Array::default();
    let mut table = output::Table::new(["ID", "PLATFORM", "ACCOUNT", "STATE", "LAST ERROR", "NEXT REFRESH"]);
    let mut is_empty = true;
    desk.run(async |broker| {
        let caller = operator(&broker, &project).await?;
        let mut before = None;
        loop {
            let wanted = (platform.clone(), failing);
            let (accounts, next) = broker.list_newest(&caller, wanted, before, PAGE).await?;
            is_empty &= accounts.is_empty();
            for account in &accounts {
                if json { array.push(&as_json(account))? } else { table.push(&cells(account)) }
            }
            before = next;
            if next.is_none() {
                return Ok::<_, Failure>(());
            }
        }
    })?;
    if let Some(name) = platform.as_ref().filter(|_| is_empty) {
        // A mistyped name must not read as a platform without accounts.
        platforms::find(&config.load(environment)?, name)?;
    }
    if json { array.end() } else { output::result(&table.to_string()) }
}

fn cells(account: &IntegrationDetail) -> [String; 6] {
    [
        account.integration.id.to_string(),
        account.integration.platform.clone(),
        name(account).to_owned(),
        <&str>::from(account.token_state()).to_owned(),
        or_dash(account.trouble.as_ref().map(|trouble| trouble.kind.code())),
        or_dash(account.due_at),
    ]
}

fn show(arguments: &One, environment: &Environment) -> Result<(), Failure> {
    let desk = arguments.config.desk(environment)?;
    let (account, broker) = find(&desk, arguments)?;
    if arguments.json {
        return output::result(&as_json(&account).to_string());
    }
    let platform = &account.integration.platform;
    let mut rows = vec![
        ["Id", &account.integration.id.to_string()].map(str::to_owned),
        ["Platform", &broker.label(platform)].map(str::to_owned),
        ["Account", name(&account)].map(str::to_owned),
        ["State", account.token_state().into()].map(str::to_owned),
        ["Scopes", &account.scopes.join(" ")].map(str::to_owned),
        ["Token expires", &or_dash(account.access_expires_at)].map(str::to_owned),
        ["Next refresh", &or_dash(account.due_at)].map(str::to_owned),
        ["Connected", &account.integration.created_at.to_string()].map(str::to_owned),
    ];
    if let Some(trouble) = &account.trouble {
        rows.push(["Last error", &format!("{} at {}", trouble.kind.code(), trouble.at)].map(str::to_owned));
        rows.push(["Cause", &trouble.kind.what_happened(&broker.label(platform))].map(str::to_owned));
        rows.push(["Next step", &trouble.next_step(platform, broker.console(platform))].map(str::to_owned));
    }
    output::result(&output::table(&rows))
}

/// The same as the API's, also beside a running broker: tokens that it may be getting meanwhile find their account
/// gone, and are revoked.
fn disconnect(arguments: &One, environment: &Environment) -> Result<(), Failure> {
    let desk = arguments.config.desk(environment)?;
    find(&desk, arguments)?;
    let (label, revoked) = desk.run(|broker| async move {
        let caller = operator(&broker, &arguments.project).await?;
        broker.disconnect(&caller, &arguments.id.to_string()).await
    })?;
    match revoked {
        Revoked::KeptForOthers => {
            say!("Disconnected. The consent at {label} was left alone: other connected accounts live on it.");
        }
        Revoked::NotConfirmed => say!(
            "Disconnected, and the tokens are erased here. {label} did not confirm that it revoked them: the account's owner \
             can remove the app in the settings there."
        ),
        Revoked::Reconnected => {
            let told = "the account was connected again meanwhile, so it stays: disconnect it again to end that";
            return Err(Failure::new(Exit::Unavailable, told));
        }
        Revoked::Unsupported => say!(
            "Disconnected, and the tokens are erased here. {label} has no way to revoke them: the account's owner can remove \
             the app in the settings there."
        ),
        Revoked::Yes => say!("Disconnected. {label} revoked the tokens, and they are erased here."),
    }
    if arguments.json {
        let done = json!({"id": arguments.id.to_string(), "revoked": revoked == Revoked::Yes});
        return output::result(&done.to_string());
    }
    Ok(())
}

fn find(desk: &Desk, arguments: &One) -> Result<(IntegrationDetail, Broker), Failure> {
    let found = desk.run(|broker| async move {
        let caller = operator(&broker, &arguments.project).await?;
        let detail = broker.get_integration(&caller, &arguments.id.to_string()).await?;
        Ok((detail, broker))
    });
    found.map_err(|error| match error {
        broker::Error::NotFound(What::Integration) => {
            let (id, project) = (arguments.id, &arguments.project);
            Failure::new(
                Exit::Usage,
                format!(
                    "project {project} has no account {id}: see `postpeer accounts list`, or name another --project"
                ),
            )
        }
        error => error.into(),
    })
}

fn name(account: &IntegrationDetail) -> &str {
    let account = &account.integration.account;
    account.username.as_ref().or(account.display_name.as_ref()).unwrap_or(&account.platform_user_id)
}

/// Members are named as in the API.
fn as_json(account: &IntegrationDetail) -> Value {
    let integration = &account.integration;
    json!({
        "id": integration.id.to_string(),
        "platform": integration.platform,
        "platformUserId": integration.account.platform_user_id,
        "username": integration.account.username,
        "displayName": integration.account.display_name,
        "profileId": integration.profile_id.map(|id| id.to_string()),
        "state": <&str>::from(account.token_state()),
        "lastError": account.trouble.as_ref().map(|trouble| json!({"code": trouble.kind.code(), "at": trouble.at})),
        "scopes": account.scopes,
        "expiresAt": account.access_expires_at,
        "nextRefreshAt": account.due_at,
        "createdAt": integration.created_at,
    })
}
