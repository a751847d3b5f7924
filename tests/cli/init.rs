//! `postpeer init` in a place that lacks something, and what it says to do next.

use std::fs;
use std::os::unix::fs::symlink;

use super::{postpeer, refused, succeeded, text};

#[test]
fn init_names_the_folder_or_the_link_that_leads_nowhere() {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("postpeer.toml");
    let init = || postpeer(&["init", "--config", config.to_str().unwrap()]).output().unwrap();
    symlink("/nonexistent/elsewhere.toml", &config).unwrap();
    let said = refused(&init(), 78);
    assert!(said.contains("/nonexistent/elsewhere.toml") && !said.contains("postpeer init"), "{said}");
    fs::remove_file(&config).unwrap();
    for (section, key) in [("database", "database.path"), ("keyring", "keyring.path")] {
        fs::write(&config, format!("[{section}]\npath = \"missing/file\"\n")).unwrap();
        let said = refused(&init(), 78);
        let folder = format!("no folder {}", root.path().join("missing").display());
        assert!(said.contains(&folder) && said.contains(key), "{said}");
        assert!(!said.contains("postpeer init"), "{said}");
    }
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn a_path_that_a_shell_would_split_is_quoted() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("it's a place");
    let output = postpeer(&["init", "--dir", dir.to_str().unwrap()]).output().unwrap();
    succeeded(&output);
    let quoted = format!(r"postpeer serve --config '{}/it'\''s a place/postpeer.toml'", root.path().display());
    assert!(text(&output.stderr).contains(&quoted), "{}", text(&output.stderr));
}
