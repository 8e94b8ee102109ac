//! The layers of design section 8, checked: who may depend on whom, and which words may stand where.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("chaos/ is inside the workspace").to_owned()
}

/// The crates of the workspace, as cargo understands the manifests.
fn packages() -> Vec<serde_json::Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let out = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&out.stdout).expect("cargo prints JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

/// Each crate of the workspace with its normal dependencies.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let normal = |package: &serde_json::Value| -> BTreeSet<String> {
        let all = package["dependencies"].as_array().expect("dependencies").iter();
        all.filter(|d| d["kind"].is_null()).map(|d| d["name"].as_str().expect("name").to_owned()).collect()
    };
    packages().iter().map(|p| (p["name"].as_str().expect("name").to_owned(), normal(p))).collect()
}

#[test]
fn the_core_depends_on_serde_and_thiserror_alone() {
    let expected: BTreeSet<String> = ["serde", "thiserror"].map(str::to_owned).into();
    assert_eq!(dependencies()["regent-core"], expected);
}

#[test]
fn crates_depend_downwards_only() {
    let allowed: [(&str, &[&str]); 8] = [
        ("regent-core", &[]),
        ("regent-proto", &["regent-core"]),
        ("regent-coordinator", &["regent-core", "regent-proto"]),
        ("regent-client", &["regent-core", "regent-proto"]),
        ("regent-world", &["regent-core"]),
        ("regent-model", &["regent-core"]),
        ("regent-mutants", &["regent-core", "regent-world", "regent-model"]),
        (
            "regent-chaos",
            &[
                "regent-core",
                "regent-proto",
                "regent-coordinator",
                "regent-client",
                "regent-world",
                "regent-model",
            ],
        ),
    ];
    let all = dependencies();
    assert_eq!(all.len(), allowed.len(), "a crate without a layer: {:?}", all.keys());
    for (name, may) in allowed {
        let ours: Vec<_> = all[name].iter().filter(|d| d.starts_with("regent-")).collect();
        let bad: Vec<_> = ours.into_iter().filter(|d| !may.contains(&d.as_str())).collect();
        assert!(bad.is_empty(), "{name} must not depend on {bad:?}");
    }
}

/// Rules can be switched off in builds for tests alone: by a feature of two programs for tests that is off unless it is asked for,
/// and by nothing else.
#[test]
fn no_shipped_crate_can_switch_a_rule_off() {
    for package in packages() {
        let name = package["name"].as_str().expect("name");
        let depends = package["dependencies"].as_array().expect("dependencies").iter();
        let mut asked = depends.flat_map(|d| d["features"].as_array().expect("features"));
        assert!(asked.all(|feature| feature != "mutants"), "{name} always has the mutants in it");
        let features = package["features"].as_object().expect("features").iter();
        let turns_on = |(_, on): &(&String, &serde_json::Value)| on.to_string().contains("mutants");
        let turn_on: Vec<&String> = features.filter(turns_on).map(|(feature, _)| feature).collect();
        let for_tests = ["regent-chaos", "regent-mutants"].contains(&name);
        let allowed: &[&str] = if for_tests { &["mutants"] } else { &[] };
        assert_eq!(turn_on, allowed, "features of {name} that turn the mutants on");
    }
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a source directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The lines of code (no comments) under `dir` that hold one of `words`, outside of `except`.
fn lines_with(dir: &str, words: &[&str], except: &[&str]) -> Vec<String> {
    let mut files = Vec::new();
    sources(&root().join(dir), &mut files);
    assert!(!files.is_empty(), "no sources under {dir}");
    let mut hits = Vec::new();
    for file in files {
        let name = file.strip_prefix(root()).expect("under the root").display().to_string();
        if except.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a source file");
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            if words.iter().any(|word| code.contains(word)) {
                hits.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    hits
}

#[test]
fn openraft_and_sled_are_named_in_one_room() {
    let hits = lines_with("coordinator/src", &["openraft", "sled::"], &["coordinator/src/raft/"]);
    assert!(hits.is_empty(), "only coordinator/src/raft may name them:\n{}", hits.join("\n"));
    for dir in ["coordinator/core/src", "client/src", "proto/src", "chaos/src"] {
        let hits = lines_with(dir, &["openraft", "sled::"], &[]);
        assert!(hits.is_empty(), "{}", hits.join("\n"));
    }
}

/// A wire type may be *received and sent* where a gRPC service or client stands; it becomes a core type in
/// `proto/src/convert` and goes no further.
#[test]
fn wire_types_stay_at_the_edges() {
    let edges = [
        "coordinator/src/rpc/",
        "coordinator/src/raft/transport",
        "coordinator/src/raft/tests/",
        "client/src/wire",
        "client/src/agent/link.rs",
        "chaos/src/hostile/wire.rs",
    ];
    for dir in ["coordinator/src", "client/src", "chaos/src", "coordinator/core/src"] {
        let hits = lines_with(dir, &["regent_proto::v1", "regent_proto::raft", "v1::"], &edges);
        assert!(hits.is_empty(), "wire types belong to {edges:?}:\n{}", hits.join("\n"));
    }
}

#[test]
fn the_core_knows_no_clock_no_chance_and_no_hash_order() {
    let words = [
        "Instant::",
        "SystemTime",
        "HashMap",
        "HashSet",
        "rand::",
        "tokio",
        "std::env",
        "std::fs",
        "std::net",
    ];
    for dir in ["coordinator/core/src", "chaos/world/src"] {
        let hits = lines_with(dir, &words, &[]);
        assert!(hits.is_empty(), "{}", hits.join("\n"));
    }
}
