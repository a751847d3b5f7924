//! Keeps the broker's files its user's: root may run any command for a broker that runs as another user.

use std::error::Error;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::Path;
use std::{fs, io, iter, thread};

use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::failure::Failure;
use super::files::folder_of;
use crate::domain::error_chain::sources;

/// Gives a new file to the owner of its directory if root made it. Otherwise the broker could not open it.
pub(super) fn give(file: &Path) -> Result<(), Failure> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let given = fs::metadata(folder_of(file)).and_then(|owner| lchown(file, Some(owner.uid()), Some(owner.gid())));
    given.map_err(|error| {
        Failure::io(
            &format!("cannot give {} to the owner of its directory, as whom the broker runs", file.display()),
            &error,
        )
    })
}

/// What to do about an error that says that this user may not use a file.
pub(super) fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    let denied = iter::once(error)
        .chain(sources(error))
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::PermissionDenied);
    denied.then(|| {
        format!(
            "This process runs as user {}: run it as the user to whom the file and its folder belong (a command may also run \
             as root), or give both to this user",
            geteuid().as_raw()
        )
    })
}

/// The user as whom the broker runs, where root looks at its files: the owner of the database's folder, or of the
/// database in a folder of root's.
pub(super) struct Runner {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Name of what belongs to this user, as findings say it.
    pub(super) owns: &'static str,
    groups: Vec<u32>,
    name: Option<String>,
}

impl Runner {
    /// `None` where this process is not root, or the broker is.
    pub(super) fn of(database: &Path) -> Option<Self> {
        if !geteuid().is_root() {
            return None;
        }
        let places = [(folder_of(database), "the folder of its database"), (database.to_owned(), "its database")];
        let mut owners = places.into_iter().filter_map(|(path, what)| Some((fs::metadata(path).ok()?, what)));
        let (owner, owns) = owners.find(|(owner, _)| owner.uid() != 0)?;
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        Some(Self { owns, ..Self::read((owner.uid(), owner.gid()), &read("/etc/passwd"), &read("/etc/group")) })
    }

    fn read((uid, gid): (u32, u32), passwd: &str, group: &str) -> Self {
        let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
        let user = passwd.lines().map(fields).find(|user| user.get(2).is_some_and(|id| *id == uid.to_string()));
        let name = user.as_ref().and_then(|user| user.first().cloned());
        let primary = user.and_then(|user| user.get(3)?.parse().ok());
        let is_member = |group: &Vec<String>| {
            let members = group.get(3).map(String::as_str).unwrap_or_default();
            name.as_deref().is_some_and(|name| members.split(',').any(|member| member == name))
        };
        let groups = group.lines().map(fields).filter(is_member).filter_map(|group| group.get(2)?.parse().ok());
        Self { uid, gid, owns: "", groups: groups.chain(primary).chain([gid]).collect(), name }
    }

    /// False when this user may not use the file like this. True also when nobody can tell.
    pub(super) fn may(&self, path: &Path, how: Access) -> bool {
        let as_user = || {
            let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
            let groups: Vec<Gid> = self.groups.iter().map(|group| Gid::from_raw(*group)).collect();
            // Of this thread alone, which ends with it. The user comes last: only root may change the groups.
            let changed = set_thread_groups(&groups)
                .and_then(|()| set_thread_res_gid(gid, gid, gid))
                .and_then(|()| set_thread_res_uid(uid, uid, uid));
            changed.is_err() || access(path, how) != Err(Errno::ACCESS)
        };
        thread::scope(|scope| scope.spawn(as_user).join()).unwrap_or(true)
    }

    /// The name, or the number where there is none.
    pub(super) fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.uid.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn a_user_is_in_the_groups_that_the_system_names() {
        let passwd = "root:x:0:0::/root:/bin/sh\npostpeer:x:104:110::/var/lib/postpeer:/usr/sbin/nologin\n";
        let group = "root:x:0:\ncerts:x:50:www,postpeer\npostpeer-old:x:51:\nwww:x:52:www\n";
        let known = Runner::read((104, 111), passwd, group);
        assert_eq!((known.name().as_str(), known.groups.as_slice()), ("postpeer", [50, 110, 111].as_slice()));
        let unknown = Runner::read((4242, 4243), passwd, group);
        assert_eq!((unknown.name().as_str(), unknown.groups.as_slice()), ("4242", [4243].as_slice()));
    }

    #[test]
    fn only_an_error_about_permissions_has_the_hint() {
        let unreadable = |kind: io::ErrorKind| config::Error::Unreadable { path: "x".into(), source: kind.into() };
        assert!(hint(&unreadable(io::ErrorKind::PermissionDenied)).unwrap().starts_with("This process runs as user "));
        assert_eq!(hint(&unreadable(io::ErrorKind::IsADirectory)), None);
    }
}
