//! `postpeer init` in a place that lacks something, and what it says to do next.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
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

/// A part of the path would be replaced, and the broker be another one.
#[test]
fn a_path_in_the_environment_that_is_not_text_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join(OsStr::from_bytes(b"non\xffutf"));
    let init = postpeer(&["init", "--dir"]).arg(&dir).output().unwrap();
    succeeded(&init);
    let told = format!(r"postpeer serve --config $'{}/non\xffutf/postpeer.toml'", root.path().display());
    assert!(text(&init.stderr).contains(&told), "{}", text(&init.stderr));
    for command in ["check", "init"] {
        let output = postpeer(&[command]).env("POSTPEER_CONFIG", dir.join("postpeer.toml")).output().unwrap();
        let said = refused(&output, 78);
        assert!(said.contains("POSTPEER_CONFIG is not UTF-8"), "{command}: {said}");
    }
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "no second broker");
    fs::write(dir.join("postpeer.toml"), b"[log]\nlevel = \"\xff\"\n").unwrap();
    let said = refused(&postpeer(&["check", "--config"]).arg(dir.join("postpeer.toml")).output().unwrap(), 78);
    assert!(said.contains("is not UTF-8: save it in that encoding"), "{said}");
}

#[test]
fn a_public_url_that_init_cannot_write_is_set_in_the_environment() {
    let root = tempfile::tempdir().unwrap();
    for (variable, value) in [("POSTPEER_LOG__LEVEL", "debug"), ("POSTPEER_SERVER__LISTEN", "0.0.0.0:8080")] {
        let mut init = postpeer(&["init", "--public-url", "https://connect.example.com"]);
        let said = refused(&init.current_dir(root.path()).env(variable, value).output().unwrap(), 73);
        assert!(said.contains("POSTPEER_SERVER__PUBLIC_URL=https://connect.example.com"), "{said}");
    }
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    let mut platforms = postpeer(&["platforms", "list"]);
    let output = platforms.current_dir(root.path()).env("POSTPEER_LOG__LEVEL", "debug").output().unwrap();
    succeeded(&output);
    assert!(text(&output.stderr).contains("defaults, and the settings of the environment"), "{}", text(&output.stderr));
}

#[test]
fn a_public_url_that_the_environment_overrules_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let init = |public_url: &str| {
        let mut init = postpeer(&["init", "--dir", "new", "--public-url", public_url]);
        init.env("POSTPEER_SERVER__PUBLIC_URL", "https://env.example/").current_dir(root.path()).output().unwrap()
    };
    let said = refused(&init("https://flag.example"), 64);
    assert!(said.contains("POSTPEER_SERVER__PUBLIC_URL is https://env.example, and wins"), "{said}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    succeeded(&init("https://env.example"));
}

#[test]
fn what_init_suggests_is_for_the_same_broker_and_a_key_that_was_missing_is_told() {
    let root = tempfile::tempdir().unwrap();
    let init = || postpeer(&["init", "--dir", root.path().to_str().unwrap()]).output().unwrap();
    let config = root.path().join("postpeer.toml");
    let said = text(&init().stderr).to_owned();
    let create = format!("--scope read,connect,manage,tokens --config {}`", config.display());
    assert!(said.contains(&create), "{said}");
    assert!(text(&init().stderr).contains("Nothing is missing"));
    let db = rusqlite::Connection::open(root.path().join("postpeer.db")).unwrap();
    db.execute_batch("DELETE FROM access_keys").unwrap();
    db.close().unwrap();
    let output = init();
    assert!(succeeded(&output).starts_with("ppk_"));
    let said = text(&output.stderr);
    assert!(said.contains("Only an access key was missing.") && !said.contains("nothing was changed"), "{said}");
}
