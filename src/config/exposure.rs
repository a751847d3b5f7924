//! Files that every user of this machine can read or change.
//!
//! Groups are left alone: Kubernetes and others give a process its files through one.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What every user can do with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exposure {
    Changeable,
    Readable,
}

/// Returns what every user can do with the file that a path names, whatever its directory allows. `None` for nothing,
/// and for a file that is missing.
pub(super) fn of(path: &Path) -> Option<Exposure> {
    let mode = fs::metadata(path).ok()?.mode();
    match (mode & 0o002, mode & 0o004) {
        (0, 0) => None,
        (0, _) => Some(Exposure::Readable),
        _ => Some(Exposure::Changeable),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_bits_of_others_count() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (mode, exposure) in [
            (0o600, None),
            (0o660, None),
            (0o640, None),
            (0o644, Some(Exposure::Readable)),
            (0o604, Some(Exposure::Readable)),
            (0o602, Some(Exposure::Changeable)),
            (0o666, Some(Exposure::Changeable)),
        ] {
            file.as_file().set_permissions(fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(of(file.path()), exposure, "{mode:o}");
        }
        assert_eq!(of(Path::new("/nothing/here")), None);
    }
}
