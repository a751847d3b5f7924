//! Confines a running broker to the folders that it needs, where the kernel can do that (Landlock).
//!
//! # Motivation
//!
//! The broker reads requests and answers of strangers. If one of them took the process over, it would otherwise have
//! every file that the broker's user has, and could leave programs behind.
//!
//! # Theory of operation
//!
//! Landlock binds the thread that asks for it and the threads which that one starts later, so [`Confinement::begin`]
//! comes before the first thread, and before the log; only the demo's thread that obeys signals is older.
//! [`Confinement::report`] tells the log later. From then on, the process reads, writes and makes files below its
//! [`Folders`] only, and runs no program. A rule holds for a folder and what is below it, not for a path: a file may be
//! replaced in its folder, as editors and Kubernetes do. What was open before stays open. The network, and commands that
//! run beside the broker, are not confined.
//!
//! A reload may need other folders. Then it is refused: what a process gave up is not given back.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::files::folder_of;
use crate::config::{Config, Environment};

/// Read by the libraries that the broker is made of: how names are resolved, which certificate authorities the machine
/// trusts, and how many processors the process may use. A folder, because these files are replaced while they are in
/// use.
const OF_THE_SYSTEM: [&str; 8] = [
    "/dev/random",
    "/dev/urandom",
    "/etc",
    "/proc/self",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/usr/local/share/ca-certificates",
    "/usr/share/ca-certificates",
];

/// Folders that are not opened as a whole for one file that is in them.
const BROAD: [&str; 4] = ["/", "/dev", "/proc", "/sys"];

/// Files and folders that a process may open, with all that is below them.
#[derive(Debug, Default)]
pub(super) struct Folders {
    read: BTreeSet<PathBuf>,
    /// Read, too.
    written: BTreeSet<PathBuf>,
    /// Folders in which nothing but an empty folder may be removed.
    emptied: BTreeSet<PathBuf>,
}

impl Folders {
    /// The folders of a broker. `file`: its configuration.
    pub(super) fn of(config: &Config, file: Option<&Path>, environment: &Environment) -> Self {
        let mut folders = Self::of_data(&folder_of(&config.database));
        // SQLite puts its log beside the file that a link leads to.
        folders.written.extend(fs::canonicalize(&config.database).ok().map(|file| folder_of(&file)));
        folders.written.extend(config.backup.as_ref().map(|backup| backup.dir.clone()));
        for file in file.into_iter().chain([config.keyring.as_path()]) {
            folders.read_around(file);
        }
        for file in config.files.secrets.iter().chain(&config.files.logos) {
            folders.read_around(file);
        }
        // The TLS stack looks where these say.
        if let Some(file) = environment.get("SSL_CERT_FILE") {
            folders.read_around(Path::new(file));
        }
        folders.read.extend(environment.get("SSL_CERT_DIR").into_iter().flat_map(std::env::split_paths));
        folders
    }

    /// The folders of a broker whose configuration is in memory, and whose data is in one folder.
    pub(super) fn of_data(dir: &Path) -> Self {
        let mut folders = Self::default();
        folders.written.insert(dir.to_owned());
        folders.read.extend(OF_THE_SYSTEM.map(PathBuf::from));
        // Often a link to a file that a service of the machine writes.
        folders.read_around(Path::new("/etc/resolv.conf"));
        folders.read_around(Path::new("/etc/ssl/certs/ca-certificates.crt"));
        folders
    }

    /// Lets the process remove this folder once it is empty.
    pub(super) fn with_removal_of(mut self, dir: &Path) -> Self {
        self.emptied.insert(folder_of(dir));
        self
    }

    /// Adds the folder of a file, and of what it is a link to.
    fn read_around(&mut self, file: &Path) {
        for file in [Some(file.to_owned()), fs::canonicalize(file).ok()].into_iter().flatten() {
            let folder = folder_of(&file);
            let real = fs::canonicalize(&folder).unwrap_or_else(|_| folder.clone());
            let is_broad = BROAD.iter().any(|broad| real == Path::new(broad)) || real.starts_with("/proc");
            self.read.insert(if is_broad { file } else { folder });
        }
    }
}

/// The state of a process that may have been confined.
#[derive(Debug)]
pub(super) struct Confinement {
    folders: Folders,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    /// The version of Landlock.
    InForce(String),
    /// The reason why the process is not confined.
    Unsupported(&'static str),
    Failed(String),
}

impl Confinement {
    /// Confines this thread, and those that it starts from now on. Threads that run already stay as they are.
    pub(super) fn begin(folders: Folders) -> Self {
        for folder in &folders.written {
            // A folder for backups may be missing, and no rule can name it then. What makes backups says what is wrong.
            let _ = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        }
        let outcome = landlock::restrict(&folders);
        Self { folders, outcome }
    }

    /// Tells the log.
    pub(super) fn report(&self) {
        let Folders { read, written, .. } = &self.folders;
        let is_told = |path: &Path| {
            written.contains(path) || read.iter().any(|folder| folder != path && path.starts_with(folder))
        };
        match &self.outcome {
            Outcome::InForce(abi) => tracing::info!(
                landlock.abi = %abi, writes = shown(written), reads = shown(read.iter().filter(|path| !is_told(path))),
                "this process can open files below these folders only"
            ),
            Outcome::Unsupported(why) => tracing::info!("this process is not confined to its folders: {why}"),
            Outcome::Failed(why) => tracing::warn!("this process could not be confined to its folders: {why}"),
        }
    }

    /// The first of these files that could be read, were the process not confined.
    pub(super) fn shut_out<'a>(&self, files: impl IntoIterator<Item = &'a Path>) -> Option<&'a Path> {
        files.into_iter().find(|file| self.is_in_force() && is_closed_to_this_process(file))
    }

    /// A file or folder that this configuration needs and that the process cannot use.
    pub(super) fn out_of_reach<'a>(&self, config: &'a Config) -> Option<&'a Path> {
        let backup = config.backup.as_ref().map(|backup| backup.dir.as_path());
        // A folder that was made again or mounted since the start is another one under the same name.
        let is_shut = |dir: &&Path| !self.may_write(dir) || is_closed_to_this_process(dir);
        let backup = backup.filter(|dir| self.is_in_force() && is_shut(dir));
        self.shut_out([config.keyring.as_path()]).or(backup)
    }

    fn is_in_force(&self) -> bool {
        matches!(self.outcome, Outcome::InForce(_))
    }

    fn may_write(&self, dir: &Path) -> bool {
        let dir = real(dir);
        self.folders.written.iter().any(|folder| dir.starts_with(real(folder)))
    }
}

fn shown<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> String {
    paths.into_iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
}

/// True for a file or folder that its permissions open to this process, but that it cannot open.
fn is_closed_to_this_process(file: &Path) -> bool {
    access(file, Access::READ_OK).is_ok()
        && File::open(file).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// The path without links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    match (fs::canonicalize(path), path.file_name()) {
        (Ok(real), _) => real,
        (Err(_), Some(name)) => real(&folder_of(path)).join(name),
        (Err(_), None) => path.to_owned(),
    }
}

#[cfg(target_os = "linux")]
mod landlock {
    use landlock::{
        ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, LandlockStatus, RestrictionStatus, Ruleset,
        RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, make_bitflags, path_beneath_rules,
    };

    use super::{Folders, Outcome};
    use crate::domain::error_chain::chain;

    /// The rights over files that are given up. An older kernel knows fewer.
    const ABI_OF_FILES: ABI = ABI::V5;

    pub(super) fn restrict(folders: &Folders) -> Outcome {
        match enforce(folders) {
            Ok(RestrictionStatus { ruleset: RulesetStatus::NotEnforced, landlock, .. }) => match landlock {
                LandlockStatus::NotEnabled => Outcome::Unsupported("Landlock is off in this kernel"),
                _ => Outcome::Unsupported("this kernel has no Landlock (it needs Linux 5.13)"),
            },
            Ok(RestrictionStatus { landlock: LandlockStatus::Available { effective_abi, kernel_abi }, .. }) => {
                Outcome::InForce(kernel_abi.map_or_else(|| effective_abi.to_string(), |abi| abi.to_string()))
            }
            Ok(_) => Outcome::Unsupported("Landlock is not available"),
            Err(error) => Outcome::Failed(chain(&error)),
        }
    }

    fn enforce(folders: &Folders) -> Result<RestrictionStatus, RulesetError> {
        let read: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
        let write = make_bitflags!(AccessFs::{
            ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir
        });
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI_OF_FILES))?
            .create()?
            .add_rules(path_beneath_rules(&folders.read, read))?
            .add_rules(path_beneath_rules(&folders.written, write))?
            .add_rules(path_beneath_rules(&folders.emptied, AccessFs::RemoveDir))?
            .restrict_self()
    }
}

#[cfg(not(target_os = "linux"))]
mod landlock {
    use super::{Folders, Outcome};

    pub(super) fn restrict(_: &Folders) -> Outcome {
        Outcome::Unsupported("only Linux can do that")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config;

    fn folders(base: &Path, toml: &str, environment: &Environment) -> Folders {
        let config = config::from_str("postpeer.toml", toml, base, environment).unwrap();
        Folders::of(&config, Some(&base.join("postpeer.toml")), environment)
    }

    #[test]
    fn only_the_folders_of_database_and_backups_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(dir.path()).unwrap();
        for folder in ["data", "real", "keys", "run", "logos", "authorities"] {
            fs::create_dir(base.join(folder)).unwrap();
        }
        fs::write(base.join("real/broker.db"), "").unwrap();
        symlink(base.join("real/broker.db"), base.join("data/broker.db")).unwrap();
        fs::write(base.join("run/secret"), "s").unwrap();
        fs::write(base.join("logos/logo.svg"), "<svg xmlns='http://www.w3.org/2000/svg'/>").unwrap();
        let toml = r#"
            [database]
            path = "data/broker.db"
            [keyring]
            path = "keys/broker.keyring"
            [backup]
            dir = "backups"
            [pages]
            logo_file = "logos/logo.svg"
            [platforms.twitter]
            client_id = "i"
            client_secret_file = "run/secret"
        "#;
        let authorities = base.join("authorities").display().to_string();
        let folders = folders(&base, toml, &[("SSL_CERT_DIR", authorities.as_str())].into());
        assert_eq!(folders.written, ["backups", "real"].map(|name| base.join(name)).into(), "data has a link only");
        for read in ["", "authorities", "keys", "logos", "run"].map(|name| base.join(name)) {
            assert!(folders.read.iter().any(|folder| real(folder) == real(&read)), "{read:?}: {folders:?}");
        }
        assert!(folders.read.contains(Path::new("/etc")) && !folders.read.contains(Path::new("/")), "{folders:?}");
        assert!(folders.emptied.is_empty());
    }

    #[test]
    fn a_file_in_a_folder_of_everything_does_not_open_that_folder() {
        let mut folders = Folders::default();
        for file in ["/broker.toml", "/dev/stdin", "/proc/self/fd/0"] {
            folders.read_around(Path::new(file));
        }
        assert!(folders.read.iter().all(|path| !BROAD.contains(&path.to_str().unwrap())), "{folders:?}");
        assert!(folders.read.contains(Path::new("/broker.toml")), "{folders:?}");
    }

    #[test]
    fn a_folder_that_is_made_later_is_compared_without_its_links() {
        let dir = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir(base.join("data")).unwrap();
        symlink(base.join("data"), base.join("link")).unwrap();
        let confinement = Confinement {
            folders: Folders { written: [base.join("link")].into(), ..Folders::default() },
            outcome: Outcome::InForce("1".to_owned()),
        };
        assert!(confinement.may_write(&base.join("data/new/backups")));
        assert!(confinement.may_write(&base.join("link")));
        assert!(!confinement.may_write(&base.join("other")));
        assert!(!confinement.may_write(&base.join("data2")));
    }
}
