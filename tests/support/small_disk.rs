//! A small file system for tests that fill one. Runs a test of this binary in its own process and mount namespace,
//! where even an unprivileged user may mount one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Output};

use rustix::fs::statfs;

/// Runs an ignored test where the current directory, and the folder for temporary files, is a file system of 16 MiB.
fn inside(namespaces: &[&str], directory: &Path, test: &str) -> io::Result<Output> {
    let script = r#"mount -t tmpfs -o size=16m,mode=0700 tmpfs "$1" && cd "$1" && exec "$2" --ignored --exact "$3""#;
    Command::new("unshare")
        .args(namespaces)
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(directory)
        .arg(std::env::current_exe()?)
        .arg(test)
        .env("TMPDIR", directory)
        .output()
}

/// Runs the test there, and passes when it does. Where no file system can be mounted, fails in CI and says on a
/// terminal what to do.
#[expect(clippy::disallowed_methods, reason = "CI skips nothing")]
pub(crate) fn run(test: &str) {
    let directory = tempfile::tempdir().unwrap();
    let mut refused = Vec::new();
    for namespaces in [["--user", "--map-root-user"].as_slice(), &[]] {
        match inside(namespaces, directory.path(), test) {
            Ok(output) if String::from_utf8_lossy(&output.stdout).contains("running 1 test") => {
                let said = String::from_utf8_lossy(&output.stdout);
                assert!(output.status.success() && said.contains("1 passed"), "{said}");
                return;
            }
            Ok(output) => refused.push(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => refused.push(error.to_string()),
        }
    }
    let advice = format!(
        "no file system can be mounted here ({}), so a full disk was NOT tested. Run this as root, or allow unprivileged \
         user namespaces (sysctl kernel.unprivileged_userns_clone=1), or, in an empty directory on a file system of at \
         most 64 MiB: TMPDIR=$PWD {} --ignored --exact {test}",
        refused.join("; "),
        std::env::current_exe().unwrap().display(),
    );
    assert!(std::env::var_os("CI").is_none(), "{advice}");
    // Unlike eprintln!, this is shown for a test that passes.
    io::stderr().write_all(format!("{advice}\n").as_bytes()).unwrap();
}

/// Fails unless `here` is small and empty, before anything fills it.
pub(crate) fn assert_small(here: &Path) {
    let found = statfs(here).unwrap();
    let size = found.f_blocks.saturating_mul(u64::try_from(found.f_bsize).unwrap());
    assert!(size <= 64 << 20, "{} is on a file system of {size} bytes: this would fill it", here.display());
    assert_eq!(fs::read_dir(here).unwrap().count(), 0, "{} is not empty", here.display());
}

/// Takes all free space.
pub(crate) fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [65_536, 4_096, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    file.sync_all().unwrap();
}
