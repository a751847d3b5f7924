//! Where the files are that a configuration names.

use super::read;

#[test]
fn a_link_to_a_database_is_that_database() {
    let dir = tempfile::tempdir().unwrap();
    let (target, link) = (dir.path().canonicalize().unwrap().join("real.db"), dir.path().join("link.db"));
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let read = || read(&format!("[database]\npath = {link:?}")).unwrap();
    assert_eq!(read().database, link, "there is no target yet");
    std::fs::write(&target, "").unwrap();
    std::fs::set_permissions(&target, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(read().database, target);
}
