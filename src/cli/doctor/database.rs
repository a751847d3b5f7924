//! The keyring and everything in the database: structure, schema, sealed values, kept counts, search indexes.

use std::collections::BTreeMap;
use std::fs;

use uuid::Uuid;

use super::Progress;
use crate::app::{self, Ports};
use crate::broker::backups::open_one;
use crate::broker::connection_rows::count_forged;
use crate::broker::key_rows::list_forged;
use crate::cli::failure::{Exit, Failure};
use crate::cli::finding::Finding;
use crate::cli::settings::{ConfigFile, database_finding, keyring_finding};
use crate::config::Config;
use crate::domain::time::Timestamp;
use crate::store::sealed::Stored;
use crate::store::survey::Survey;
use crate::store::{self, Inspection, schema_version};
use crate::vault::{self, KeyringFile, Vault};

/// Most kinds of damage that are listed.
const LISTED: usize = 5;

/// Most rows of a column that are listed: somebody must be told of each.
const LISTED_ROWS: usize = 100;

/// The findings, and what the other checks need of the database.
pub(super) struct Found {
    pub(super) findings: Vec<Finding>,
    pub(super) keyring: Option<KeyringFile>,
    pub(super) db_id: Option<Uuid>,
    /// When the newest row was made.
    pub(super) newest: Option<Timestamp>,
}

pub(super) fn examine(config: &Config, source: &ConfigFile, progress: &Progress) -> Found {
    let mut found = Found { findings: Vec::new(), keyring: None, db_id: None, newest: None };
    if let Err(failure) = source.check_set_up(config) {
        found.findings.push(Finding::failure("database", config.database.display(), failure));
        return found;
    }
    match KeyringFile::load(&config.keyring) {
        Ok(keyring) => found.keyring = Some(keyring),
        Err(error) => found.findings.push(keyring_finding(config, error)),
    }
    let survey = match Survey::open(&config.database) {
        Ok(survey) => survey,
        Err(error) => {
            found.findings.push(database_finding(config, "database", error));
            return found;
        }
    };
    if let Some(warning) = store::warn_of_names(&config.database) {
        found.findings.push(Finding::warning("database", config.database.display(), warning));
    }
    let of_keyring = found.findings.len();
    survey_all(config, &survey, progress, &mut found);
    if survey.was_disturbed() {
        // A broker that started: its writes were read without its locks.
        found.findings.truncate(of_keyring);
        match Survey::open(&config.database) {
            Ok(survey) => survey_all(config, &survey, progress, &mut found),
            Err(error) => found.findings.push(database_finding(config, "database", error)),
        }
    }
    found
}

fn survey_all(config: &Config, survey: &Survey, progress: &Progress, found: &mut Found) {
    let inspection = match survey.inspect() {
        Ok(inspection) => inspection,
        Err(error) => return found.findings.push(database_finding(config, "database", error)),
    };
    found.db_id = Some(inspection.db_id);
    found.findings.push(schema(config, &inspection));
    found.findings.extend(damage(config, survey, progress));
    if let Some(keyring) = &found.keyring {
        match app::unlock(config, keyring, &inspection, &Ports::system()) {
            Ok(vault) => {
                let message = format!("it opens all data keys of the database, {}", inspection.wrapped_keys.len());
                found.findings.push(Finding::ok("keyring", config.keyring.display(), message));
                found.findings.extend(sealed_values(config, survey, &vault, progress));
                found.findings.extend(access_keys(config, survey, &vault));
                found.findings.extend(connections(config, survey, &vault));
            }
            Err(error) => {
                let failure = Failure::from(error);
                found.findings.push(Finding::failure("keyring", config.keyring.display(), failure));
            }
        }
    }
    if inspection.schema_version == schema_version() {
        found.findings.extend(kept_counts(config, survey, progress));
        found.findings.extend(search(config, survey, progress));
    }
    match survey.find_newest_time() {
        Ok(newest) => found.newest = newest,
        Err(error) => found.findings.push(store_finding(config, "clock", error)),
    }
}

fn schema(config: &Config, inspection: &Inspection) -> Finding {
    let (found, current) = (inspection.schema_version, schema_version());
    if found == current {
        return Finding::ok("schema", config.database.display(), format!("version {found}, which is this program's"));
    }
    Finding::note(
        "schema",
        config.database.display(),
        format!(
            "version {found}: `postpeer serve` brings it to {current}, after a copy. Kept counts and search indexes were \
             not looked at"
        ),
    )
}

fn damage(config: &Config, survey: &Survey, progress: &Progress) -> Vec<Finding> {
    let (check, database) = ("integrity", config.database.display());
    let size = fs::metadata(&config.database).map_or(0, |found| found.len());
    progress.tell(&format!("Reading every page of {} MiB", size.div_ceil(1024 * 1024)));
    match survey.list_damage(u32::try_from(LISTED).unwrap_or(u32::MAX)) {
        Ok(damage) if damage.is_empty() => {
            vec![Finding::ok(check, database, "every page, index and reference is undamaged")]
        }
        Ok(damage) => damage
            .into_iter()
            .map(|why| Finding::error(Exit::Data, check, &database, format!("it is damaged: {why}")).remedy(RESTORE))
            .collect(),
        Err(error) => vec![database_finding(config, check, error)],
    }
}

const RESTORE: &str = "postpeer restore FILE";

/// The values of a column that do not open.
struct Unopened {
    number: u64,
    rows: Vec<Stored>,
    first: vault::Error,
}

fn sealed_values(config: &Config, survey: &Survey, vault: &Vault, progress: &Progress) -> Vec<Finding> {
    let check = "sealed_values";
    let mut values = 0;
    let mut unopened: BTreeMap<(&str, &str), Unopened> = BTreeMap::new();
    let walked = survey.for_each_sealed(|value| {
        values += 1;
        progress.count("Opening sealed values", values);
        if let Err(first) = open_one(&value, vault) {
            let of_column = unopened.entry((value.column.table, value.column.column)).or_insert_with(|| Unopened {
                number: 0,
                rows: Vec::new(),
                first,
            });
            of_column.number += 1;
            if of_column.rows.len() < LISTED_ROWS {
                of_column.rows.push(value);
            }
        }
    });
    if let Err(error) = walked {
        return vec![database_finding(config, check, error)];
    }
    if unopened.is_empty() {
        return vec![Finding::ok(check, config.database.display(), format!("all {values} open with the keyring"))];
    }
    let findings = unopened.into_iter().map(|((table, column), Unopened { number, rows, first })| {
        let more = if number > rows.len() as u64 { ", …" } else { "" };
        let name = |value: &Stored| survey.name_row(value).unwrap_or_else(|_| value.row.clone());
        let named: Vec<String> = rows.iter().map(name).collect();
        let message = format!("{number} do not open, in rows {}{more}: {first}", named.join(", "));
        Finding::error(Exit::Data, check, format!("{table}.{column}"), message).remedy(remedy_of_values(table))
    });
    findings.collect()
}

/// The way out where values of a table do not open.
fn remedy_of_values(table: &str) -> &'static str {
    match table {
        "discovered" => "start the broker: it asks that server again",
        "flows" | "selections" => "nothing: these connections expire, and their people begin again",
        "oauth_apps" => "postpeer restore FILE, or set the client secrets of these apps again",
        "recovery" => "postpeer keyring rewrap --recovery-key FILE",
        "registrations" => "postpeer restore FILE, or reconnect the accounts at that server",
        _ => "postpeer restore FILE, or let the owners of these accounts reconnect them",
    }
}

/// Access keys whose rows the broker did not write. Before the first start after an upgrade, none are authenticated
/// yet.
fn access_keys(config: &Config, survey: &Survey, vault: &Vault) -> Vec<Finding> {
    let check = "access_keys";
    let keeps_old = vault.takes_first_version();
    match survey.look_if_current(|db| if keeps_old { Ok(Vec::new()) } else { list_forged(db, vault) }) {
        Ok(forged) if forged.is_empty() => Vec::new(),
        Ok(forged) => forged
            .iter()
            .take(LISTED)
            .map(|key| {
                let message = format!(
                    "the broker did not write the row of {} (\"{}\") like this, and refuses it: somebody added or changed it \
                     in the database ({} such keys)",
                    key.id, key.name, forged.len()
                );
                let remedy = format!("postpeer access-key revoke {}, then make a new key; find out who can write the file", key.id);
                Finding::error(Exit::Data, check, config.database.display(), message).remedy(remedy)
            })
            .collect(),
        Err(error) => vec![store_finding(config, check, error)],
    }
}

/// Connections in the making and connect links whose rows the broker did not write. Before the first start after an
/// upgrade, none are authenticated yet.
fn connections(config: &Config, survey: &Survey, vault: &Vault) -> Vec<Finding> {
    let check = "connections";
    let keeps_old = vault.takes_old_connections();
    match survey.look_if_current(|db| if keeps_old { Ok((0, 0)) } else { count_forged(db, vault) }) {
        Ok((0, 0)) => Vec::new(),
        Ok((flows, links)) => {
            let message = format!(
                "the broker did not write the rows of {flows} connections in the making and of {links} connect links like \
                 this, and refuses them: somebody added or changed them in the database"
            );
            let remedy = "find out who can write the file; connections expire, and links can be made anew";
            vec![Finding::error(Exit::Data, check, config.database.display(), message).remedy(remedy)]
        }
        Err(error) => vec![store_finding(config, check, error)],
    }
}

fn kept_counts(config: &Config, survey: &Survey, progress: &Progress) -> Vec<Finding> {
    let check = "kept_counts";
    progress.tell("Counting rows");
    match survey.recount() {
        Ok(wrong) if wrong.is_empty() => {
            vec![Finding::ok(check, config.database.display(), "they are the numbers of rows")]
        }
        Ok(wrong) => wrong
            .iter()
            .take(LISTED)
            .map(|one| {
                let of_platform = if one.platform.is_empty() { String::new() } else { format!(" of {}", one.platform) };
                let message = format!(
                    "{}{of_platform} within \"{}\" of project {}: the kept count is {}, and there are {} ({} counts are wrong). \
                     Lists tell a wrong total; no account is concerned",
                    one.kind, one.within, one.project_id, one.kept, one.counted, wrong.len()
                );
                Finding::error(Exit::Data, check, config.database.display(), message).remedy(RESTORE)
            })
            .collect(),
        Err(error) => vec![store_finding(config, check, error)],
    }
}

fn search(config: &Config, survey: &Survey, progress: &Progress) -> Vec<Finding> {
    let check = "search_index";
    match survey.compare_search(|rows| progress.count("Comparing the search indexes with their tables", rows)) {
        Ok(wrong) if wrong.is_empty() => {
            vec![Finding::ok(check, config.database.display(), "the search indexes hold the words of their tables")]
        }
        Ok(wrong) => wrong
            .iter()
            .map(|one| {
                let message = format!(
                    "it holds {} words and should hold {}, or others: searches miss rows or find others. No account is \
                     concerned",
                    one.found, one.expected
                );
                Finding::error(Exit::Data, check, &one.index, message).remedy(RESTORE)
            })
            .collect(),
        Err(error) => vec![store_finding(config, check, error)],
    }
}

fn store_finding(config: &Config, check: &'static str, error: store::Error) -> Finding {
    Finding::failure(check, config.database.display(), Failure::from(app::Error::from(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Desk, Ports, initialise};
    use crate::config::{self, Environment};

    #[test]
    fn a_keyring_that_changed_since_it_was_read_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let config = config::from_str("x", "", directory.path(), &Environment::default()).unwrap();
        let ports = Ports::system();
        initialise(&config, &ports).unwrap();
        let old = KeyringFile::load(&config.keyring).unwrap();
        let desk = Desk::open(&config, &ports).unwrap();
        desk.run(|broker| async move { broker.rewrap_data_keys(true).await }).unwrap();
        drop(desk);
        let mut found = Found { findings: Vec::new(), keyring: Some(old), db_id: None, newest: None };
        survey_all(&config, &Survey::open(&config.database).unwrap(), &Progress::new(), &mut found);
        let told = found.findings.iter().find(|finding| finding.check == "keyring").unwrap();
        assert!(told.message.starts_with("it opens all data keys"), "{}", told.message);
    }
}
