//! `postpeer project`: the tenants.

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::output;
use super::settings::ConfigFile;
use crate::config::Environment;

/// Create and list projects (tenants); works while the broker runs
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  postpeer project create staging", disable_help_subcommand = true)]
pub(super) enum Command {
    Create(Create),
    List(List),
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

pub(super) fn run(command: Command, environment: &Environment) -> Result<(), Failure> {
    match command {
        Command::Create(arguments) => create(&arguments, environment),
        Command::List(arguments) => list(&arguments, environment),
    }
}

fn create(arguments: &Create, environment: &Environment) -> Result<(), Failure> {
    let desk = arguments.config.desk(environment)?;
    let project = desk.run(|broker| async move { broker.create_project(&arguments.name).await })?;
    say!("Created project {}.", project.name);
    output::result(&project.id.to_string())
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
