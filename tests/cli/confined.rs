//! The folders that a running broker may open. Where the kernel lacks Landlock, the log must say that it is not confined.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use rustix::process::Signal;

use super::{Instance, Running, ask, mode};

const IN_FORCE: &str = "this process can open files below these folders only";
const NOT_IN_FORCE: &str = "this process is not confined to its folders";

/// True when the broker says that it is confined. Where Landlock is missing, it must say so.
#[track_caller]
fn is_confined(broker: &Running) -> bool {
    let (in_force, not) = (broker.said.contains(IN_FORCE), broker.said.contains(NOT_IN_FORCE));
    assert!(in_force != not, "{}", broker.said);
    assert_eq!(in_force, has_landlock(), "{}", broker.said);
    in_force
}

/// Asks the kernel, by a thread that confines itself and ends.
#[cfg(target_os = "linux")]
fn has_landlock() -> bool {
    use landlock::{AccessFs, Ruleset, RulesetAttr as _, RulesetStatus};

    let restricted = std::thread::spawn(|| {
        Ruleset::default().handle_access(AccessFs::MakeSock).unwrap().create().unwrap().restrict_self().unwrap().ruleset
    });
    restricted.join().unwrap() != RulesetStatus::NotEnforced
}

#[cfg(not(target_os = "linux"))]
fn has_landlock() -> bool {
    false
}

fn secret(path: &Path) {
    fs::write(path, "s3cret").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The test's user may read these files, and so may the broker's, which is the same. Only Landlock keeps it out.
#[test]
fn a_broker_opens_no_file_outside_of_its_folders() {
    let (instance, outside) = (Instance::new(), tempfile::tempdir().unwrap());
    let config = instance.path("postpeer.toml");
    let written = "database.path = \"postpeer.db\"\nkeyring.path = \"postpeer.keyring\"\n\
                   server.public_url = \"http://127.0.0.1:8080\"\n";
    let twitter = |file: &Path| {
        format!("{written}\n[platforms.twitter]\nclient_id = \"c0\"\nclient_secret_file = \"{}\"\n", file.display())
    };
    let keyring = outside.path().join("postpeer.keyring");
    fs::copy(instance.path("postpeer.keyring"), &keyring).unwrap();
    assert_eq!(mode(&keyring), 0o600);
    let [inside, far, link] = [instance.path("secret"), outside.path().join("secret"), instance.path("link")];
    secret(&inside);
    secret(&far);
    symlink(&far, &link).unwrap();
    let logo = outside.path().join("logo.svg");
    fs::write(&logo, "<svg xmlns='http://www.w3.org/2000/svg'/>").unwrap();

    let mut broker = Running::start(&mut instance.command(&["serve"]), "listening");
    let confined = is_confined(&broker);
    let url = broker.url();
    let offers_twitter = |url: &str| ask(url, "GET", "/v1/connect/twitter", &instance.key).contains("client_id=c0");
    for (what, toml, path) in [
        ("a secret", twitter(&far), &far),
        ("a link to a secret", twitter(&link), &link),
        ("a logo", format!("{written}\n[pages]\nlogo_file = \"{}\"\n", logo.display()), &logo),
        ("a keyring", written.replace("postpeer.keyring", keyring.to_str().unwrap()), &keyring),
        (
            "backups",
            format!("{written}\n[backup]\ndir = \"{}\"\n", outside.path().join("backups").display()),
            &outside.path().join("backups"),
        ),
    ] {
        fs::write(&config, toml).unwrap();
        if !confined {
            broker.hang_up("reloaded configuration");
            continue;
        }
        let said = broker.hang_up("the broker goes on as before");
        let named = format!("{} is outside the folders", path.display());
        assert!(said.contains(&named) && said.contains("restart the broker"), "{what}: {said}");
        assert!(!offers_twitter(&url), "{what} was read");
    }
    fs::remove_file(&config).unwrap();
    symlink(outside.path().join("other.toml"), &config).unwrap();
    fs::write(&config, written).unwrap();
    if confined {
        let said = broker.hang_up("the broker goes on as before");
        assert!(said.contains("postpeer.toml is outside the folders"), "{said}");
    }
    fs::remove_file(&config).unwrap();

    // A file inside can be changed, or replaced as an editor does.
    fs::write(instance.path("new"), twitter(&inside)).unwrap();
    fs::rename(instance.path("new"), &config).unwrap();
    broker.hang_up("reloaded configuration");
    assert!(offers_twitter(&url));
    assert_eq!(broker.stop(Signal::TERM).0, Some(0));

    // A start opens what is named then.
    fs::write(&config, twitter(&link)).unwrap();
    let mut broker = Running::start(&mut instance.command(&["serve"]), "listening");
    assert!(offers_twitter(&broker.url()));
    broker.hang_up("reloaded configuration");
    assert_eq!(broker.stop(Signal::TERM).0, Some(0));
}

/// The kernel's rule is for the folder that was there at the start, not for its name.
#[test]
fn a_folder_that_is_made_again_needs_a_restart() {
    let (instance, outside) = (Instance::new(), tempfile::tempdir().unwrap());
    let [backups, away] = ["backups", "away"].map(|name| outside.path().join(name));
    let toml = format!(
        "database.path = \"postpeer.db\"\nkeyring.path = \"postpeer.keyring\"\n\
         server.public_url = \"http://127.0.0.1:8080\"\nbackup.dir = \"{}\"\n",
        backups.display()
    );
    fs::write(instance.path("postpeer.toml"), toml).unwrap();
    let mut broker = Running::start(&mut instance.command(&["serve"]), "listening");
    let confined = is_confined(&broker);
    broker.hang_up("reloaded configuration");
    fs::rename(&backups, &away).unwrap();
    fs::create_dir(&backups).unwrap();
    if confined {
        let said = broker.hang_up("the broker goes on as before");
        assert!(said.contains("backups is outside the folders") && said.contains("restart the broker"), "{said}");
    }
    fs::remove_dir(&backups).unwrap();
    fs::rename(&away, &backups).unwrap();
    broker.hang_up("reloaded configuration");
    assert_eq!(broker.stop(Signal::TERM).0, Some(0));
}

/// The threads that serve, refresh and write the log were all started by the one that gave its rights up.
#[test]
fn every_thread_of_a_broker_is_confined() {
    let instance = Instance::new();
    let broker = Running::start(&mut instance.command(&["serve"]), "listening");
    if !is_confined(&broker) {
        return;
    }
    let threads = fs::read_dir(format!("/proc/{}/task", broker.child.id())).unwrap();
    let statuses: Vec<String> =
        threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).unwrap()).collect();
    assert!(statuses.len() > 3, "{statuses:?}");
    // Landlock has no entry there. Its thread gives up new privileges right before, for itself and its children alone.
    for status in statuses {
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    }
}

#[test]
fn a_demo_is_confined_and_leaves_nothing_behind() {
    let temp = tempfile::tempdir().unwrap();
    let mut demo = super::postpeer(&["demo", "--listen", "127.0.0.1:0"]);
    let demo = Running::start(demo.env("TMPDIR", temp.path()), "sign in there");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    assert!(!demo.said.contains("could not be confined"), "{}", demo.said);
    assert_eq!(demo.stop(Signal::TERM).0, Some(0));
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
}
