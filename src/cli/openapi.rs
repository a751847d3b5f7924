//! `postpeer openapi`: prints the description of the API.

use clap::Args;

use super::failure::{Exit, Failure};
use super::output;
use crate::http;

/// Print the OpenAPI document
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  postpeer openapi > postpeer.json")]
pub(super) struct Arguments {}

pub(super) fn run(_: &Arguments) -> Result<(), Failure> {
    let document = serde_json::to_string_pretty(&http::openapi::document())
        .map_err(|error| Failure::caused(Exit::Software, &error))?;
    output::result(&document)
}
