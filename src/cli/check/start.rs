//! All that can keep `serve` from starting, looked at without a lock and without a change: keyring, database, folders,
//! addresses, permissions.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

use rustix::fs::{Access, access};

use crate::app::{self, Ports};
use crate::cli::failure::{Exit, Failure};
use crate::cli::files::{existing, folder_of, permissions};
use crate::cli::finding::Finding;
use crate::cli::listening::{is_broker, refusal};
use crate::cli::settings::{ConfigFile, database_finding, holder, keyring_finding};
use crate::config::{Config, Environment};
use crate::server;
use crate::store::survey::Survey;
use crate::store::{self, Holder, inspect_briefly, schema_version};
use crate::vault::KeyringFile;

pub(super) fn examine(config: &Config, source: &ConfigFile, environment: &Environment) -> Vec<Finding> {
    let mut findings = Vec::new();
    match source.check_set_up(config) {
        Err(failure) => findings.push(Finding::failure("database", config.database.display(), failure)),
        Ok(()) => findings.extend(keyring_and_database(config)),
    }
    findings.push(writable("database", &folder_of(&config.database), "the database"));
    if let Some(backup) = &config.backup {
        findings.push(match in_the_way(&backup.dir) {
            Some(path) => Finding::error(Exit::Io, "backups", path.display(), "this is not a folder, so backups fail")
                .remedy("mount or create what the link leads to, or correct backup.dir"),
            None => writable("backups", &backup.dir, "backups"),
        });
    }
    let holder = holder(config, &mut findings);
    findings.push(address("server.listen", config.server.listen, holder));
    findings.extend(config.server.metrics_listen.map(|listen| address("server.metrics_listen", listen, holder)));
    let console = config.console.as_ref().and_then(|console| console.listen);
    findings.extend(console.map(|listen| address("console.listen", listen, holder)));
    findings.extend(permissions(config, source.file(environment).as_deref()));
    findings
}

fn keyring_and_database(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let keyring =
        KeyringFile::load(&config.keyring).map_err(|error| findings.push(keyring_finding(config, error))).ok();
    let database = config.database.display();
    let inspection = match inspect_briefly(&config.database) {
        Ok(inspection) => inspection,
        Err(error) => {
            findings.push(database_finding(config, "database", error));
            return findings;
        }
    };
    if let Some(warning) = store::warn_of_names(&config.database) {
        findings.push(Finding::warning("database", config.database.display(), warning));
    }
    if !can(&config.database, Access::READ_OK | Access::WRITE_OK) {
        let finding = Finding::error(Exit::Io, "database", &database, "this user may not write to it");
        findings.push(finding.remedy("run check and serve as the user that owns it, or chown it"));
    }
    let (found, current) = (inspection.schema_version, schema_version());
    findings.push(if found == current {
        Finding::ok("database", &database, format!("it has the schema of this program, {current}"))
    } else {
        let message = format!("it has schema {found}: `postpeer serve` brings it to {current}, after a copy");
        Finding::note("database", &database, message).remedy("postpeer backup FILE before that is safer still")
    });
    findings.extend(stranded(config));
    let Some(keyring) = keyring else { return findings };
    findings.push(match app::unlock(config, &keyring, &inspection, &Ports::system()) {
        Ok(_) => Finding::ok("keyring", config.keyring.display(), "it opens this database"),
        Err(error) => Finding::failure("keyring", config.keyring.display(), Failure::from(error)),
    });
    findings
}

/// Accounts whose platform is not configured, or was connected under another client id than the configured one.
fn stranded(config: &Config) -> Vec<Finding> {
    let survey = match Survey::open(&config.database) {
        Ok(survey) => survey,
        Err(error) => return vec![database_finding(config, "database", error)],
    };
    match without_platform(config, &survey) {
        Ok(found) => found.into_iter().chain(other_clients(config, &survey)).collect(),
        Err(error) => vec![Finding::failure("database", config.database.display(), app::Error::from(error).into())],
    }
}

/// Accounts of platforms that were renamed, removed or disabled.
fn without_platform(config: &Config, survey: &Survey) -> Result<Vec<Finding>, store::Error> {
    let mut findings = Vec::new();
    let listings = config.platforms.listings();
    let is_there = |name: &String| listings.iter().any(|listing| listing.enabled && listing.name == name.as_str());
    for name in survey.list_platforms()?.into_iter().filter(|name| !is_there(name)) {
        let count = survey.count_of_platform(&name)?;
        if count > 0 {
            let is_disabled = listings.iter().any(|listing| listing.name == name.as_str());
            let (how, remedy) = if is_disabled { ("disabled", "enable it") } else { ("not configured", "put it back") };
            let message =
                format!("it is {how} and has {count} connections, whose tokens are neither refreshed nor revoked");
            let finding = Finding::warning("platform", format!("platforms.{name}"), message);
            findings.push(finding.remedy(format!("{remedy}, or disconnect the accounts")));
        }
    }
    Ok(findings)
}

fn other_clients(config: &Config, survey: &Survey) -> Vec<Finding> {
    // Where people name their server, the broker registers itself, and keeps what it got.
    let platforms = config.platforms.iter().filter(|one| !one.has_servers());
    let found = platforms.filter_map(|one| {
        let client_id = one.credentials.as_ref().map_or("", |credentials| &credentials.client_id);
        let name = &one.platform().name;
        match survey.count_under_other_client(name, client_id) {
            Ok(0) => None,
            Ok(count) => {
                let message = format!(
                    "it is not that of {count} connections that were made before, whose tokens are neither refreshed nor \
                     revoked without it"
                );
                let finding = Finding::warning("client_id", format!("platforms.{name}.client_id"), message);
                Some(finding.remedy("put the former client id and its secret back, or let the accounts' owners connect again"))
            }
            Err(error) => {
                let failure = Failure::from(app::Error::from(error));
                Some(Finding::failure("database", config.database.display(), failure))
            }
        }
    });
    found.collect()
}

/// A folder that is missing is made when it is needed.
fn writable(check: &'static str, folder: &Path, what: &str) -> Finding {
    let (place, there) = (existing(folder), folder.display());
    if can(&place, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        let may = if place == folder { "" } else { "make this folder, and " };
        return Finding::ok(check, there, format!("this user may {may}write {what} there"));
    }
    let message = format!("this user may not write {what} there");
    let remedy =
        "run check and serve as the user that owns the folder, or chown it; a read-only disk must be remounted";
    Finding::error(Exit::Io, check, folder.display(), message).remedy(remedy)
}

/// The file, or the link that leads nowhere, in whose place the folder or one above it should be.
fn in_the_way(folder: &Path) -> Option<&Path> {
    folder.ancestors().find(|path| path.symlink_metadata().is_ok()).filter(|path| !path.is_dir())
}

fn can(path: &Path, how: Access) -> bool {
    access(path, how).is_ok()
}

/// `holder`: the process that uses the database.
fn address(key: &'static str, listen: SocketAddr, holder: Option<Holder>) -> Finding {
    let check = "listen";
    let Err(error) = server::bind(listen) else { return Finding::ok(check, key, format!("{listen} is free")) };
    let of_broker = holder.filter(|_| error.kind() == ErrorKind::AddrInUse && is_broker(key, listen));
    if let Some(Holder { pid }) = of_broker {
        let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        return Finding::ok(check, key, format!("the running broker of this database{pid} listens on {listen}"));
    }
    let (message, remedy) = refusal(key, listen, &error);
    Finding::error(Exit::Unavailable, check, key, message).remedy(remedy)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpListener;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::cli::finding::Severity;

    #[test]
    fn what_is_no_folder_is_in_the_way_of_one() {
        let root = tempfile::tempdir().unwrap();
        let [link, file] = ["link", "file"].map(|name| root.path().join(name));
        symlink("/nonexistent/backups", &link).unwrap();
        fs::write(&file, "").unwrap();
        for path in [&link, &file] {
            assert_eq!(in_the_way(path), Some(path.as_path()));
            assert_eq!(in_the_way(&path.join("below")), Some(path.as_path()));
        }
        assert_eq!(in_the_way(&root.path().join("new/backups")), None);
    }

    #[test]
    fn an_address_is_free_taken_or_not_this_machines() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = taken.local_addr().unwrap();
        // It answers nothing that a broker would.
        std::thread::spawn(move || taken.incoming().take(2).for_each(drop));
        let finding = address("server.listen", listen, None);
        assert_eq!(finding.severity, Severity::Error(Exit::Unavailable));
        assert!(finding.message.starts_with("another program listens"), "{}", finding.message);
        assert_eq!(address("server.listen", "127.0.0.1:0".parse().unwrap(), None).severity, Severity::Ok);
        let foreign = address("server.listen", "192.0.2.1:8080".parse().unwrap(), None);
        assert!(foreign.message.contains("no address 192.0.2.1"), "{}", foreign.message);
    }
}
