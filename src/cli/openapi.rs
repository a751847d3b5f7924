//! `postpeer openapi`: prints the description of the API.

use clap::Args;

use super::failure::Failure;
use super::output;
use crate::http;

/// Print the OpenAPI document
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  postpeer openapi > postpeer.json")]
pub(super) struct Arguments {}

pub(super) fn run(_: &Arguments) -> Result<(), Failure> {
    output::result(http::openapi::DOCUMENT.trim_end())
}
