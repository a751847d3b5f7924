//! Files that hold keys: written durably with mode 0600, read only when no other user can.
//!
//! Invariant: at every instant such a file is the old one or the new one, completely.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use zeroize::Zeroizing;

use super::keyring::KeyringError;
use crate::domain::shell::quoted;

/// Maximum size of such a file, in bytes.
const LARGEST: u64 = 64 * 1024;

/// Writes a new file with mode 0600, durably. Never overwrites.
pub(super) fn write_new(path: &Path, text: &str) -> Result<(), KeyringError> {
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyringError::AlreadyExists { path: path.to_owned() },
        _ => KeyringError::Io { path: path.to_owned(), source },
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| sync_directory(path))
        .inspect_err(|_| {
            // A partial file would block the next attempt. If it cannot be removed, that attempt reports it.
            let _ = fs::remove_file(path);
        })
        .map_err(io)
}

/// Durably replaces the content of a file that exists. Owner, group and mode stay; a link stays a link.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), KeyringError> {
    let io = |source| KeyringError::Io { path: path.to_owned(), source };
    let file = fs::canonicalize(path).map_err(io)?;
    let before = fs::metadata(&file).map_err(io)?;
    let new = unfinished(&file);
    let replaced = (|| {
        remove_if_any(&new)?;
        let mut written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        let ours = written.metadata()?;
        if (ours.uid(), ours.gid()) != (before.uid(), before.gid()) {
            fchown(&written, Some(before.uid()), Some(before.gid()))?;
        }
        written.set_permissions(Permissions::from_mode(before.mode() & 0o7777))?;
        written.write_all(text.as_bytes())?;
        written.sync_all()?;
        fs::rename(&new, &file)?;
        sync_directory(&file)
    })();
    replaced.map_err(|source| {
        let _ = fs::remove_file(&new);
        io(source)
    })
}

/// Durably writes the file under another name beside its own, which must be free. [`publish`] gives it its own.
pub(super) fn write_unpublished(path: &Path, text: &str) -> Result<(), KeyringError> {
    if path.symlink_metadata().is_ok() {
        return Err(KeyringError::AlreadyExists { path: path.to_owned() });
    }
    let new = unfinished(path);
    remove_if_any(&new).map_err(|source| KeyringError::Io { path: new.clone(), source })?;
    write_new(&new, text)
}

/// Durably gives a file its own name, which must be free.
pub(super) fn publish(path: &Path) -> Result<(), KeyringError> {
    let new = unfinished(path);
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyringError::AlreadyExists { path: path.to_owned() },
        _ => KeyringError::Io { path: path.to_owned(), source },
    };
    // Unlike a rename, a link never replaces a file.
    match fs::hard_link(&new, path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
            fs::rename(&new, path).map_err(io)?;
        }
        linked => linked.and_then(|()| fs::remove_file(&new)).map_err(io)?,
    }
    sync_directory(path).map_err(io)
}

/// Reads a file that no other user can read. `missing` is the error when there is none.
pub(super) fn read(path: &Path, missing: KeyringError) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    let io = |source| KeyringError::Io { path: path.to_owned(), source };
    // To open a pipe would wait for whoever writes to it.
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return Err(io(io::Error::other("it is a pipe or a device, and no file")));
    }
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing),
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied && access(path, Access::READ_OK).is_ok() => {
            return Err(KeyringError::ShutOut { path: path.to_owned(), source });
        }
        opened => opened.map_err(io)?,
    };
    let metadata = file.metadata().map_err(io)?;
    let mode = metadata.permissions().mode() & 0o7777;
    let (owner, us) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if let Err(why) = check_access(mode, owner, us, owner_of_folder(path)) {
        return Err(KeyringError::Exposed { path: path.to_owned(), mode, why, remedy: remedy(path, owner, us) });
    }
    if metadata.len() > LARGEST {
        let why = "the file is too large to be a keyring";
        return Err(KeyringError::Malformed { path: path.to_owned(), line: 1, why });
    }
    // Allocated once: a buffer that grows leaves copies of its content behind.
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1));
    file.take(LARGEST).read_to_end(&mut text).map_err(io)?;
    Ok(text)
}

/// Checks who can use a file of this mode and owner, for a process of the user `us`. `folder`: the owner of the folder
/// that it is in. The error is why it is refused.
///
/// A group may read the file if root or this user gave it to that group. Kubernetes mounts a secret in this way: the
/// owner is root, the group is the pod's `fsGroup`, the mode is 0440. Root's commands take the file that the broker's
/// own user gave to a group: that user owns the folder as well, and could put any other file in its place.
fn check_access(mode: u32, owner: u32, us: u32, folder: Option<u32>) -> Result<(), &'static str> {
    let is_trusted = owner == 0 || owner == us || (us == 0 && folder == Some(owner));
    if mode & 0o007 != 0 {
        Err("is open to all users")
    } else if mode & 0o020 != 0 {
        Err("can be changed by its group")
    } else if mode & 0o070 != 0 && !is_trusted {
        Err("is open to its group and belongs to neither root nor this user")
    } else {
        Ok(())
    }
}

/// The owner of the folder that holds the file itself, not a link to it.
fn owner_of_folder(path: &Path) -> Option<u32> {
    let file = fs::canonicalize(path).ok()?;
    Some(fs::metadata(file.parent()?).ok()?.uid())
}

/// The command after which the file is accepted, and still readable for this user.
fn remedy(path: &Path, owner: u32, us: u32) -> String {
    let path = quoted(path);
    if owner == us || us == 0 {
        format!("chmod 600 {path}")
    } else if owner == 0 {
        format!("chmod 640 {path}")
    } else {
        format!("chown {us} {path} && chmod 600 {path}")
    }
}

/// The name of a file that is not in its place yet.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    name.into()
}

fn remove_if_any(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_read_what_root_or_this_user_gave_it() {
        let [root, us, other] = [0, 1000, 1001];
        let ours = [(root, us), (us, us), (root, root)];
        let foreign = [(other, us), (other, root)];
        let check_access = |mode, owner, us| check_access(mode, owner, us, Some(root));
        for mode in [0o600, 0o400, 0o700, 0o4600, 0o1600] {
            for (owner, us) in ours.into_iter().chain(foreign) {
                assert_eq!(check_access(mode, owner, us), Ok(()), "{mode:o} {owner} {us}");
            }
        }
        for mode in [0o440, 0o640, 0o550, 0o750, 0o2640, 0o610] {
            for (owner, us) in ours {
                assert_eq!(check_access(mode, owner, us), Ok(()), "{mode:o} {owner} {us}");
            }
            for (owner, us) in foreign {
                let why = check_access(mode, owner, us).unwrap_err();
                assert_eq!(why, "is open to its group and belongs to neither root nor this user", "{mode:o}");
            }
        }
        for (modes, why) in [
            (&[0o604, 0o606, 0o644, 0o444, 0o601, 0o666, 0o777][..], "is open to all users"),
            (&[0o660, 0o620, 0o770], "can be changed by its group"),
        ] {
            for mode in modes {
                for (owner, us) in ours.into_iter().chain(foreign) {
                    assert_eq!(check_access(*mode, owner, us), Err(why), "{mode:o} {owner} {us}");
                }
            }
        }
        for (owner, us, command) in [
            (us, us, "chmod 600 k"),
            (root, root, "chmod 600 k"),
            (other, root, "chmod 600 k"),
            (root, us, "chmod 640 k"),
            (other, us, "chown 1000 k && chmod 600 k"),
        ] {
            assert_eq!(remedy(Path::new("k"), owner, us), command);
        }
    }

    #[test]
    fn root_takes_what_the_owner_of_the_folder_gave_to_a_group() {
        let [root, broker, other] = [0, 1000, 1001];
        assert_eq!(check_access(0o640, broker, root, Some(broker)), Ok(()));
        for (mode, owner, us, folder) in [
            (0o640, other, root, Some(broker)),
            (0o640, broker, root, None),
            (0o640, other, broker, Some(other)),
            (0o660, broker, root, Some(broker)),
            (0o644, broker, root, Some(broker)),
        ] {
            assert!(check_access(mode, owner, us, folder).is_err(), "{mode:o} {owner} {us} {folder:?}");
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyring");
        write_new(&path, "text").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        // Root alone can give files away.
        let gives = |path: &Path| std::os::unix::fs::chown(path, Some(12_345), None).is_ok();
        if !gives(&path) {
            return;
        }
        let elsewhere = tempfile::tempdir().unwrap();
        let link = elsewhere.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for path in [&path, &link] {
            let missing = || KeyringError::Missing { path: path.clone() };
            assert!(matches!(read(path, missing()), Err(KeyringError::Exposed { .. })));
        }
        assert!(gives(directory.path()));
        for path in [&path, &link] {
            assert_eq!(&**read(path, KeyringError::Missing { path: path.clone() }).unwrap(), b"text");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_only_this_process_may_not_read_is_told_apart() {
        use landlock::{AccessFs, Ruleset, RulesetAttr as _, RulesetStatus};

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyring");
        write_new(&path, "text").unwrap();
        let missing = || KeyringError::Missing { path: path.clone() };
        read(&path, missing()).unwrap();
        std::thread::scope(|scope| {
            let confined = scope.spawn(|| {
                let rules = Ruleset::default().handle_access(AccessFs::ReadFile).unwrap().create().unwrap();
                let is_confined = rules.restrict_self().unwrap().ruleset != RulesetStatus::NotEnforced;
                (is_confined, read(&path, missing()))
            });
            let (is_confined, read) = confined.join().unwrap();
            assert_eq!(matches!(read, Err(KeyringError::ShutOut { .. })), is_confined, "{read:?}");
        });
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_a_link_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("keyring"), directory.path().join("link"));
        write_new(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("keyring", &link).unwrap();
        // What an earlier attempt left.
        fs::write(unfinished(&path), "half").unwrap();
        replace(&link, "new").unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert!(!unfinished(&path).exists());
        // Root alone can give a file away.
        if std::os::unix::fs::chown(&path, Some(12_345), Some(12_345)).is_ok() {
            replace(&link, "newer").unwrap();
            let replaced = fs::metadata(&path).unwrap();
            assert_eq!((replaced.uid(), replaced.gid(), replaced.mode() & 0o7777), (12_345, 12_345, 0o640));
        }
        let missing = replace(&directory.path().join("none"), "new");
        assert!(matches!(missing, Err(KeyringError::Io { .. })), "{missing:?}");
    }

    #[test]
    fn a_published_file_never_replaces_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyring");
        write_unpublished(&path, "first").unwrap();
        write_unpublished(&path, "second").unwrap();
        assert!(!path.exists());
        publish(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let again = write_unpublished(&path, "third");
        assert!(matches!(again, Err(KeyringError::AlreadyExists { .. })), "{again:?}");
        // Another file came to be there in between.
        fs::write(unfinished(&path), "third").unwrap();
        assert!(matches!(publish(&path), Err(KeyringError::AlreadyExists { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
    }
}
