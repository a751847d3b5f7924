//! The command line: one file per command.
//!
//! Invariants: standard output carries a command's result only, messages for people go to standard error, and exit
//! codes follow sysexits ([`failure::Exit`]).

/// Writes a line for people to standard error. That it cannot be written is no failure.
macro_rules! say {
    ($($line:tt)*) => {
        crate::telemetry::say(&format!($($line)*))
    };
}

mod access_key;
mod accounts;
mod audit;
mod backup;
mod check;
mod confine;
mod connect;
mod demo;
mod doctor;
mod failure;
mod files;
mod finding;
mod healthcheck;
mod init;
mod keyring;
mod listening;
mod notify;
mod openapi;
mod output;
mod owner;
mod platforms;
mod process;
mod project;
mod reload;
mod serve;
mod settings;
mod started;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::Environment;
use crate::{failpoint, telemetry};
use failure::{Exit, Failure};

pub use reload::http_settings;

/// A self-hosted OAuth broker for social accounts.
#[derive(Debug, Parser)]
#[command(
    name = "postpeer",
    version,
    after_help = "To try it out without any account:\n  postpeer demo\n\nTo set up and run:\n  postpeer init --public-url https://connect.example.com\n  postpeer check\n  postpeer serve",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// In the order in which an operator needs them.
#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Init(init::Arguments),
    Serve(serve::Arguments),
    Check(check::Arguments),
    Doctor(doctor::Arguments),
    #[command(subcommand)]
    AccessKey(access_key::Command),
    #[command(subcommand)]
    Accounts(accounts::Command),
    Connect(connect::Arguments),
    #[command(subcommand)]
    Project(project::Command),
    Backup(backup::Backup),
    Restore(backup::Restore),
    #[command(subcommand)]
    Keyring(keyring::Command),
    #[command(subcommand)]
    Platforms(platforms::Command),
    Audit(audit::Arguments),
    Openapi(openapi::Arguments),
    Healthcheck(healthcheck::Arguments),
}

/// The commands and options, for manual pages and completions.
pub fn arguments() -> clap::Command {
    Arguments::command()
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    telemetry::hide_panic_messages();
    process::survive_size_limit();
    let environment = Environment::of_process();
    if let Some(place) = environment.get("FAILPOINT") {
        failpoint::arm(place);
    }
    // The panic was reported where it happened.
    let ended = catch_unwind(AssertUnwindSafe(|| run(std::env::args_os(), &environment)));
    ended.unwrap_or_else(|_| {
        telemetry::flush();
        Exit::Software.into()
    })
}

/// Runs the command in `arguments`, which begin with the program's name.
fn run(arguments: impl IntoIterator<Item = OsString>, environment: &Environment) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(answer) => {
            // Help and version come here too. A closed output is not a failure.
            let _ = answer.print();
            return if answer.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    let result = environment.check().map_err(Failure::from).and_then(|()| run_command(arguments.command, environment));
    let exit = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { exit, message }) => {
            telemetry::say_last(&message);
            exit.into()
        }
    };
    telemetry::flush();
    exit
}

fn run_command(command: Command, environment: &Environment) -> Result<(), Failure> {
    match command {
        Command::AccessKey(command) => access_key::run(command, environment),
        Command::Accounts(command) => accounts::run(command, environment),
        Command::Audit(arguments) => audit::run(&arguments, environment),
        Command::Backup(arguments) => backup::back_up(&arguments, environment),
        Command::Check(arguments) => check::run(&arguments, environment),
        Command::Connect(arguments) => connect::run(arguments, environment),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments, environment),
        Command::Healthcheck(arguments) => healthcheck::run(&arguments, environment),
        Command::Init(arguments) => init::run(arguments, environment),
        Command::Keyring(command) => keyring::run(command, environment),
        Command::Openapi(arguments) => openapi::run(&arguments),
        Command::Platforms(command) => platforms::run(command, environment),
        Command::Project(command) => project::run(command, environment),
        Command::Restore(arguments) => backup::restore(&arguments, environment),
        Command::Serve(arguments) => serve::run(&arguments, environment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_consistent_and_has_an_example() {
        let mut program = Arguments::command();
        program.build();
        program.clone().debug_assert();
        let mut waiting: Vec<clap::Command> = program.get_subcommands().cloned().collect();
        while let Some(mut command) = waiting.pop() {
            waiting.extend(command.get_subcommands().cloned());
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{}", command.get_name());
            assert!(help.contains("\n  postpeer ") || help.contains("| postpeer "), "{}", command.get_name());
        }
    }

    /// The words of a command line, up to a comment, a pipe or a redirection. Quotation marks group words.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut is_quoted) = (vec![String::new()], false);
        for c in line.chars() {
            match c {
                '"' => is_quoted = !is_quoted,
                '#' | '|' | '>' if !is_quoted => break,
                ' ' if !is_quoted => words.push(String::new()),
                c => words.last_mut().unwrap().push(c),
            }
        }
        words.into_iter().filter(|word| !word.is_empty()).collect()
    }

    #[test]
    fn every_example_is_accepted() {
        let mut program = Arguments::command();
        program.build();
        let (mut waiting, mut tried) = (vec![program], 0);
        while let Some(command) = waiting.pop() {
            waiting.extend(command.get_subcommands().cloned());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.lines().filter_map(|line| line.find("postpeer ").map(|at| &line[at..]));
            for example in examples {
                Arguments::try_parse_from(words(example)).unwrap_or_else(|error| panic!("{example}: {error}"));
                tried += 1;
            }
        }
        assert!(tried > 40, "{tried} examples");
    }
}
