//! The arrows of docs/ARCHITECTURE.md, enforced: who may import whom, and who may name a technology.
//!
//! Only normal and build dependencies count. What a crate's tests use is its own business, except that
//! `tests/` stands at the end of all arrows anyway.

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use serde_json::{Value, json};

/// Every crate of ours with the crates of ours that it may import. A crate that is not here is a
/// violation, so a new one has to find its place first.
const ARROWS: [(&str, &[&str]); 19] = [
    ("conch-domain", &[]),
    ("conch-wire", &["conch-domain"]),
    ("conch-ports", &["conch-domain"]),
    (
        "conch-services",
        &["conch-domain", "conch-wire", "conch-ports"],
    ),
    (
        "conch-conformance",
        &["conch-domain", "conch-wire", "conch-ports"],
    ),
    (
        "conch-bus-kit",
        &["conch-domain", "conch-wire", "conch-ports"],
    ),
    ("conch-memory", INSIDE),
    ("conch-redis", A_BUS),
    ("conch-nats", A_BUS),
    ("conch-triton", INSIDE),
    ("conch-generator", INSIDE),
    (
        "conch-http",
        &[
            "conch-domain",
            "conch-wire",
            "conch-ports",
            "conch-services",
        ],
    ),
    (
        "conch",
        &[
            "conch-domain",
            "conch-wire",
            "conch-ports",
            "conch-services",
            "conch-memory",
            "conch-nats",
            "conch-redis",
            "conch-triton",
            "conch-generator",
            "conch-http",
        ],
    ),
    ("conch-tests", &[]),
    // The inside of the system without its rim: no adapter but the store in memory.
    (
        "conch-sim",
        &[
            "conch-domain",
            "conch-wire",
            "conch-ports",
            "conch-services",
            "conch-conformance",
            "conch-memory",
        ],
    ),
    // The product's own worker with another generator in it.
    (
        "conch-bench",
        &["conch", "conch-domain", "conch-ports", "conch-generator"],
    ),
    // The programs once more, with bugs in them.
    (
        "conch-sabotage",
        &[
            "conch-domain",
            "conch-wire",
            "conch-ports",
            "conch-services",
            "conch-http",
            "conch",
            "conch-tests",
        ],
    ),
    // Counts instructions of the inside of the system, on the store in memory.
    (
        "conch-guard",
        &[
            "conch-domain",
            "conch-wire",
            "conch-ports",
            "conch-services",
            "conch-conformance",
            "conch-memory",
            "conch-redis",
            "conch-doubles",
        ],
    ),
    // Tests and the guard alone depend on it, so no other crate has it among what it may import.
    (
        "conch-doubles",
        &["conch-domain", "conch-wire", "conch-ports", "conch-memory"],
    ),
];

/// What a driven adapter may import: no other adapter, and no use case.
const INSIDE: &[&str] = &["conch-domain", "conch-wire", "conch-ports"];

/// The same for one with a bus that a server stands behind.
const A_BUS: &[&str] = &["conch-domain", "conch-wire", "conch-ports", "conch-bus-kit"];

/// A technology, and who alone may name it. The tests and the benches stand outside of the system.
const TECHNOLOGIES: [(&[&str], &[&str]); 8] = [
    (&["redis", "deadpool-redis"], &["conch-redis"]),
    (
        &["axum", "tower-http", "utoipa", "utoipa-axum"],
        &["conch-http", "conch-bench"],
    ),
    (&["reqwest"], &["conch-triton", "conch-tests"]),
    // What a token is, and what checks its signature.
    (&["jsonwebtoken", "ring", "signature"], &["conch-http"]),
    // What reqwest is made of: its errors are told apart by it.
    (
        &["hyper", "hyper-util"],
        &["conch-http", "conch-triton", "conch-bench"],
    ),
    (
        &["clap", "anyhow", "tracing-subscriber"],
        &["conch", "conch-bench", "conch-guard"],
    ),
    (&["async-nats"], &["conch-nats"]),
    (&["tonic", "rdkafka", "lapin"], &[]),
];

/// What makes a crate misbehave, and which crates may have it built in. The programs' dependencies are not
/// among them, and neither may any of them enable it by default.
const FAULTS: (&str, &[&str]) = ("faults", &["conch-doubles", "conch-sim"]);

/// All that the domain may depend on: no IO, no async, no serde.
const DOMAIN: &[&str] = &["thiserror", "uuid", "rand"];

/// Runtimes and encodings that stay out of the ports: they are promises, not programs.
const NOT_IN_PORTS: &[&str] = &["tokio", "serde", "serde_json"];

/// What breaks the arrows, in words.
fn violations(metadata: &Metadata) -> Vec<String> {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let mut found = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let Some(may_import) = arrows.get(name) else {
            found.push(format!("{name} has no place among the arrows: give it one"));
            continue;
        };
        let (faults, may_have_faults) = FAULTS;
        let default = package.features.get("default");
        if default.is_some_and(|default| default.iter().any(|feature| feature == faults)) {
            found.push(format!("{name} must not have {faults} by default"));
        }
        for dependency in &package.dependencies {
            if dependency.kind == DependencyKind::Development {
                continue;
            }
            let imported = dependency.name.as_str();
            let enables_faults = dependency.features.iter().any(|feature| feature == faults);
            if enables_faults && !may_have_faults.contains(&name) {
                found.push(format!("{name} must not enable {faults} of {imported}"));
            }
            if arrows.contains_key(imported) && !may_import.contains(&imported) {
                found.push(format!("{name} must not import {imported}"));
            }
            for (technologies, owners) in TECHNOLOGIES {
                if technologies.contains(&imported) && !owners.contains(&name) {
                    found.push(format!("{name} must not name the technology {imported}"));
                }
            }
            if name == "conch-domain" && !DOMAIN.contains(&imported) {
                found.push(format!("conch-domain must stay pure, without {imported}"));
            }
            if name == "conch-ports" && NOT_IN_PORTS.contains(&imported) {
                found.push(format!("conch-ports must not need {imported}"));
            }
        }
    }
    found
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo describes the workspace")
}

/// The workspace, with a change to one of its packages.
fn changed(package: &str, change: impl FnOnce(&mut Value)) -> Metadata {
    let mut value = serde_json::to_value(metadata()).expect("cargo says so");
    let packages = value["packages"].as_array_mut().expect("cargo says so");
    let package = packages.iter_mut().find(|p| p["name"] == package);
    change(package.expect("cargo says so"));
    serde_json::from_value(value).expect("cargo says so")
}

/// The workspace, with one more dependency than it has.
fn planted(package: &str, dependency: &str, kind: &str) -> Metadata {
    changed(package, |package| {
        let dependencies = package["dependencies"].as_array_mut();
        let dependencies = dependencies.expect("cargo says so");
        let mut plant = dependencies.first().expect("cargo says so").clone();
        plant["name"] = dependency.into();
        plant["kind"] = kind.into();
        dependencies.push(plant);
    })
}

#[test]
fn every_import_follows_the_arrows() {
    let found = violations(&metadata());
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_planted_import_against_the_arrows_is_found() {
    for (package, dependency) in [
        ("conch-domain", "conch-wire"),
        ("conch-domain", "serde"),
        ("conch-domain", "tokio"),
        ("conch-ports", "tokio"),
        ("conch-ports", "conch-wire"),
        ("conch-services", "conch-memory"),
        ("conch-services", "redis"),
        ("conch-services", "axum"),
        ("conch-services", "hyper"),
        ("conch-services", "reqwest"),
        ("conch-memory", "conch-redis"),
        ("conch-memory", "conch-bus-kit"),
        ("conch-bus-kit", "conch-services"),
        ("conch-bus-kit", "redis"),
        ("conch-nats", "conch-redis"),
        ("conch-redis", "async-nats"),
        ("conch-redis", "conch-services"),
        ("conch-redis", "axum"),
        ("conch-triton", "deadpool-redis"),
        ("conch-http", "reqwest"),
        ("conch-http", "conch-memory"),
        ("conch", "redis"),
        ("conch", "conch-tests"),
        ("conch", "conch-doubles"),
        ("conch", "conch-sabotage"),
        ("conch-services", "conch-doubles"),
        ("conch-services", "async-nats"),
        ("conch-services", "jsonwebtoken"),
        ("conch", "jsonwebtoken"),
        ("conch-triton", "jsonwebtoken"),
    ] {
        let found = violations(&planted(package, dependency, "normal"));
        assert!(
            found
                .iter()
                .any(|v| v.starts_with(package) && v.contains(dependency)),
            "{package} -> {dependency} gave {found:?}"
        );
    }
}

#[test]
fn planted_faults_in_a_program_are_found() {
    let enabled = |package: &str, kind: &str| {
        let metadata = changed(package, |package| {
            let dependencies = package["dependencies"].as_array_mut();
            let memory = dependencies
                .into_iter()
                .flatten()
                .find(|dependency| dependency["name"] == "conch-memory");
            let memory = memory.expect("it depends on the store");
            memory["features"] = json!(["faults"]);
            memory["kind"] = kind.into();
        });
        violations(&metadata)
    };
    let found = enabled("conch", "normal");
    let said = "conch must not enable faults of conch-memory";
    assert_eq!(found, [said], "{found:?}");
    assert_eq!(enabled("conch", "dev"), [""; 0]);
    let by_default = changed("conch-memory", |package| {
        package["features"]["default"] = json!(["faults"]);
    });
    let found = violations(&by_default);
    assert_eq!(found, ["conch-memory must not have faults by default"]);
}

#[test]
fn a_crate_without_a_place_is_found() {
    let text = serde_json::to_string(&metadata()).expect("cargo says so");
    let renamed = text.replace(r#""name":"conch-memory""#, r#""name":"conch-new""#);
    let found = violations(&serde_json::from_str(&renamed).expect("cargo says so"));
    assert!(
        found.iter().any(|v| v.starts_with("conch-new")),
        "{found:?}"
    );
}

#[test]
fn what_a_test_uses_is_no_import() {
    let found = violations(&planted("conch-services", "conch-memory", "dev"));
    assert!(found.is_empty(), "{found:?}");
}
