//! `deploy/setup` on machines where something is missing: directories are hidden in a mount namespace of the test's own.
//! Needs root for that, and says so when it is not; nothing is installed, because the script itself runs without root.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

struct Case {
    hidden: &'static str,
    /// The version of the Postgres found there instead, if any.
    instead: Option<&'static str>,
    code: i32,
    says: &'static str,
}

const CASES: [Case; 3] = [
    Case { hidden: "/usr/lib/postgresql", instead: None, code: 3, says: "postgresql is missing: the server" },
    Case {
        hidden: "/usr/include/postgresql",
        instead: None,
        code: 3,
        says: "the server's headers, to build the gate",
    },
    Case {
        hidden: "/usr/lib/postgresql",
        instead: Some("11"),
        code: 1,
        says: "PostgreSQL 11 is too old: 13 or newer",
    },
];

#[test]
fn what_is_missing_is_named_with_the_command_that_installs_it() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: {} needs root, to hide directories", env!("CARGO_CRATE_NAME"));
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    // The script is read by a user who may not look into the checkout.
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(dir.path().join("deploy")).unwrap();
    fs::copy(root.join("deploy/setup"), dir.path().join("deploy/setup")).unwrap();
    program(&dir.path().join("bin"), "cargo");
    for Case { hidden, instead, code, says } in CASES {
        let shown = dir.path().join(format!("instead-{}", instead.unwrap_or("of-all")));
        fs::create_dir_all(&shown).unwrap();
        if let Some(version) = instead {
            program(&shown.join(version).join("bin"), "postgres");
        }
        let script = "mount --bind \"$1\" \"$2\" && cd \"$3\" && PATH=$3/bin:/usr/bin:/bin \
                      exec setpriv --reuid=nobody --clear-groups -- deploy/setup 2>&1";
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .args([&shown, Path::new(hidden), dir.path()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{hidden}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(said.contains(says), "{hidden}: expected {says:?}, got {said}");
        assert!(code != 3 || said.contains("apt-get install -y postgresql"), "{said}");
    }
}

/// A program that does nothing, where the script looks for one.
fn program(dir: &Path, name: &str) {
    fs::create_dir_all(dir).unwrap();
    let file = dir.join(name);
    fs::write(&file, "#!/bin/sh\necho 1.88.0\n").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
}
