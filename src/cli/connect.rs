//! `postpeer connect`: makes a connect link, for a team without a front end, or revokes one.

use std::time::Duration;

use clap::Args;
use secrecy::ExposeSecret as _;

use super::accounts::operator;
use super::failure::{Exit, Failure};
use super::settings::ConfigFile;
use super::{output, platforms};
use crate::broker::links::{LinkState, NewLink};
use crate::broker::{self, Broker, Caller};
use crate::config::{Config, Environment, presets};
use crate::domain::id::{LinkId, ProfileId};
use crate::domain::link::LinkStatus;
use crate::domain::project::DEFAULT_PROJECT;
use crate::platforms::Availability;

/// Time between two looks at the database.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Make a link to a page on which whoever has it connects accounts, and print it, or revoke one; works while the broker
/// runs
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  postpeer connect\n  postpeer connect youtube --profile prof_0198c0de000070008000000000000000 --wait\n  postpeer connect --revoke link_0198c0de000070008000000000000000"
)]
pub(super) struct Arguments {
    /// Name of the platform to connect [default: all that can be connected]
    platform: Option<String>,
    /// Project (tenant) that the accounts are connected for
    #[arg(long, default_value = DEFAULT_PROJECT)]
    project: String,
    /// Profile that the accounts are bound to
    #[arg(long, value_name = "ID")]
    profile: Option<ProfileId>,
    /// Wait until an account is connected through the link; exit code 69 when the link ends without one
    #[arg(long)]
    wait: bool,
    /// Revoke this link instead: nobody can connect anything through it any more
    #[arg(long, value_name = "ID", conflicts_with_all = ["platform", "profile", "wait"])]
    revoke: Option<LinkId>,
    #[command(flatten)]
    config: ConfigFile,
}

#[expect(clippy::disallowed_methods, reason = "a new link is printed once, for the operator who makes it")]
pub(super) fn run(arguments: Arguments, environment: &Environment) -> Result<(), Failure> {
    let Arguments { platform, project, profile, wait, revoke, config } = arguments;
    if let Some(id) = revoke {
        config.desk(environment)?.run(|broker| async move {
            let caller = operator(&broker, &project).await?;
            broker.revoke_link(&caller, &id.to_string()).await
        })?;
        say!("Revoked {id}: nobody can connect anything through it any more. What was connected through it stays.");
        return Ok(());
    }
    if let Some(name) = &platform {
        ensure_connectable(&config.load(environment)?, name)?;
    }
    let desk = config.desk(environment)?;
    let wanted = NewLink {
        profile_id: profile.map(|id| id.to_string()),
        platforms: platform.map(|name| vec![name]),
        ..NewLink::default()
    };
    let of_project = if project == DEFAULT_PROJECT { String::new() } else { format!(" --project {project}") };
    let (link, url, caller) = desk.run(|broker| async move {
        let caller = operator(&broker, &project).await?;
        let (link, url) = broker.create_link(&caller, wanted).await?;
        Ok::<_, broker::Error>((link, url, caller))
    })?;
    say!(
        "Send this link to the person, or open it yourself: the page connects {}. It works until {}, any number of times, \
         and for whoever has it; `postpeer connect --revoke {}{of_project}` ends it before. It is shown only this once:",
        link.platforms.join(", "),
        link.expires_at,
        link.id
    );
    output::only_once(url.expose_secret()).map_err(|failure| {
        let (caller, id) = (caller.clone(), link.id.to_string());
        match desk.run(|broker| async move { broker.revoke_link(&caller, &id).await }) {
            Ok(()) => failure.and("Nobody has seen the link, so it was revoked: make another one"),
            Err(_) => failure.and("Nobody has seen the link, which ends by itself"),
        }
    })?;
    if !wait {
        return Ok(());
    }
    say!("Waiting until an account is connected. Ctrl-C stops waiting; the link goes on to work.");
    let ended = desk.run(|broker| async move { wait_for(&broker, &caller, link.id).await })?;
    for account in &ended.integrations {
        say!("Connected: {} at {} ({}).", account.account.label(), account.platform, account.id);
    }
    match ended.status {
        LinkStatus::Open | LinkStatus::Used => Ok(()),
        _ if !ended.integrations.is_empty() => Ok(()),
        status => {
            let status: &str = status.into();
            let message = format!("the link is {status}, and nothing was connected through it: make another one");
            Err(Failure::new(Exit::Unavailable, message))
        }
    }
}

/// Fails where a platform is unknown, switched off or not set up, and says what is missing.
fn ensure_connectable(config: &Config, name: &str) -> Result<(), Failure> {
    let listing = platforms::find(config, name).map_err(|unknown| {
        if presets::names().any(|preset| preset == name) {
            let missing =
                format!("there is no section [platforms.{name}]: add it, as `postpeer platforms show {name}` says");
            return Failure::new(Exit::Usage, missing);
        }
        unknown
    })?;
    let missing = match (listing.enabled, listing.availability) {
        (false, _) => "is switched off: set enabled = true",
        (true, Availability::Prod) => return Ok(()),
        (true, _) => "has no credentials: set client_id and client_secret",
    };
    Err(Failure::new(Exit::Usage, format!("{name} {missing} in [platforms.{name}]")))
}

/// The link as soon as something was connected through it, or it has ended.
async fn wait_for(broker: &Broker, caller: &Caller, id: LinkId) -> Result<LinkState, broker::Error> {
    loop {
        let state = broker.get_link(caller, &id.to_string()).await?;
        if state.status != LinkStatus::Open {
            return Ok(state);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
