//! `postpeer project`: the tenants.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::{Args, Subcommand};

use super::failure::{Exit, Failure};
use super::settings::ConfigFile;
use super::{output, process};
use crate::broker::projects::Disconnected;
use crate::config::Environment;
use crate::domain::project::Holdings;

/// Create, list and delete projects (tenants); works while the broker runs
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  postpeer project create staging", disable_help_subcommand = true)]
pub(super) enum Command {
    Create(Create),
    List(List),
    Delete(Delete),
}

/// Create a project; then create keys for it with `postpeer access-key create --project NAME`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  postpeer project create staging")]
pub(super) struct Create {
    /// Name of the project
    name: String,
    #[command(flatten)]
    config: ConfigFile,
}

/// List all projects
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  postpeer project list")]
pub(super) struct List {
    #[command(flatten)]
    config: ConfigFile,
}

/// Delete a project with all that it holds: its keys stop at once, its accounts are disconnected
///
/// Consents are revoked where the platform takes that. Only the audit trail stays. Interrupted at any moment, the same
/// command goes on. The project `default` is part of every broker and is not deleted.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  postpeer project delete staging\n  postpeer project delete staging --confirm staging"
)]
pub(super) struct Delete {
    /// Name of the project
    name: String,
    /// The project's name once more: deletes without asking, for scripts
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(command: Command, environment: &Environment) -> Result<(), Failure> {
    match command {
        Command::Create(arguments) => create(&arguments, environment),
        Command::List(arguments) => list(&arguments, environment),
        Command::Delete(arguments) => delete(arguments, environment),
    }
}

fn create(arguments: &Create, environment: &Environment) -> Result<(), Failure> {
    let desk = arguments.config.desk(environment)?;
    let project = desk.run(|broker| async move { broker.create_project(&arguments.name).await })?;
    say!("Created project {}.", project.name);
    output::result(&project.id.to_string())
        .map_err(|failure| failure.and("The project was created all the same: `postpeer project list` shows its id"))
}

fn list(arguments: &List, environment: &Environment) -> Result<(), Failure> {
    let desk = arguments.config.desk(environment)?;
    let projects = desk.run(|broker| async move { broker.list_projects().await })?;
    let mut rows = vec![["ID", "NAME", "CREATED"].map(str::to_owned)];
    rows.extend(
        projects.into_iter().map(|project| [project.id.to_string(), project.name, project.created_at.to_string()]),
    );
    output::result(&output::table(&rows))
}

fn delete(arguments: Delete, environment: &Environment) -> Result<(), Failure> {
    process::harden_and_log_warnings();
    let Delete { name, confirm, config } = arguments;
    let desk = config.desk(environment)?;
    let (project, holdings) = desk.run(|broker| {
        let name = &name;
        async move { broker.find_deletable_project(name).await }
    })?;
    let Holdings { profiles, accounts, apps, keys, grants, pending } = holdings;
    say!(
        "Project {name} has profiles: {profiles}, connected accounts: {accounts} (consents: {grants}), apps: {apps}, access \
         keys: {keys}, connections that wait for their person: {pending}. All of it is deleted for good."
    );
    confirm_name(&name, confirm)?;
    let tell = |done: u64| say!("Disconnected {done} of {accounts} accounts.");
    let deleted = desk.run(|broker| async move { broker.delete_project(project.id, tell).await });
    let done = deleted.map_err(|error| {
        Failure::from(error).and("The project is not deleted completely: run the same command again to go on")
    })?;
    let Disconnected { revoked, shared, not_confirmed, unsupported } = done;
    say!("Deleted project {name}. Its audit trail stays: see `postpeer audit`.");
    if done.all() > 0 {
        say!(
            "Of its {} accounts, the platforms revoked {revoked}; {shared} were on consents of others of them, or of other \
             projects; the platforms did not confirm {not_confirmed}, and have no way to revoke {unsupported}.",
            done.all()
        );
    }
    if not_confirmed + unsupported > 0 {
        say!("Owners of accounts that were not revoked can remove the app in the settings there.");
    }
    Ok(())
}

/// Asks for the project's name on a terminal, unless an option gives it.
fn confirm_name(name: &str, given: Option<String>) -> Result<(), Failure> {
    let given = match given {
        Some(given) => given,
        None if io::stdin().is_terminal() => {
            // A terminal that is gone gives no answer either.
            let _ = write!(io::stderr(), "Type the project's name to delete it: ");
            let mut line = String::new();
            let read = io::stdin().lock().read_line(&mut line);
            read.map_err(|error| Failure::io("cannot read the answer", &error))?;
            line.trim().to_owned()
        }
        None => {
            return Err(Failure::new(
                Exit::Usage,
                format!("nothing was deleted: without a terminal to ask on, confirm with --confirm '{name}'"),
            ));
        }
    };
    if given == name {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, "nothing was deleted: that is not the project's name"))
}
