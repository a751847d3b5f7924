//! Whose the broker's files are: root may run any command for a broker that runs as another user.

use std::error::Error;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::Path;
use std::{fs, io, iter};

use rustix::process::geteuid;

use super::failure::Failure;

/// Gives a new file to the owner of its directory if root made it. Otherwise the broker could not open it.
pub(super) fn give(file: &Path) -> Result<(), Failure> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let given = fs::metadata(directory).and_then(|owner| lchown(file, Some(owner.uid()), Some(owner.gid())));
    given.map_err(|error| {
        Failure::io(
            &format!("cannot give {} to the owner of its directory, as whom the broker runs", file.display()),
            &error,
        )
    })
}

/// What to do about an error that says that this user may not use a file.
pub(super) fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    let denied = iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::PermissionDenied);
    denied.then(|| {
        format!(
            "This process runs as user {}: run it as the user to whom the file belongs (a command may also run as root), or \
             give the file to this user",
            geteuid().as_raw()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn only_an_error_about_permissions_has_the_hint() {
        let unreadable = |kind: io::ErrorKind| config::Error::Unreadable { path: "x".into(), source: kind.into() };
        assert!(hint(&unreadable(io::ErrorKind::PermissionDenied)).unwrap().starts_with("This process runs as user "));
        assert_eq!(hint(&unreadable(io::ErrorKind::IsADirectory)), None);
    }
}
