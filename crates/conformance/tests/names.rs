//! The laws are known under the same names in the suite, in the documentation, and in the ports' own docs.

use std::collections::BTreeSet;

use conch_conformance::laws;

fn names(port: &str) -> BTreeSet<&'static str> {
    let of_port = laws().filter(|(of, _)| *of == port);
    of_port.map(|(_, name)| name).collect()
}

fn ports() -> BTreeSet<&'static str> {
    laws().map(|(port, _)| port).collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_guides_list_every_law() {
    let guides = [
        include_str!("../../../docs/adding-a-store.md"),
        include_str!("../../../docs/adding-a-bus.md"),
    ];
    let mut listed = BTreeSet::new();
    for guide in guides {
        let (_, section) = guide.split_once("## The laws, by name").expect("the list");
        let (section, _) = section.split_once("\n## ").expect("another section");
        let lists = section
            .lines()
            .filter_map(|line| line.strip_prefix("- `")?.split_once("`: `"));
        for (port, laws) in lists {
            let laws = format!("`{laws}");
            let quoted: Vec<_> = quoted(&laws).collect();
            assert_eq!(
                quoted.iter().copied().collect::<BTreeSet<_>>(),
                names(port),
                "{port}"
            );
            assert_eq!(quoted.len(), names(port).len(), "{port}: twice");
            assert!(listed.insert(port), "{port}: in two lists");
        }
    }
    assert_eq!(listed, ports());
}

#[test]
fn the_docs_of_a_port_state_every_law() {
    let docs = [
        ("job_log", include_str!("../../ports/src/job_log.rs")),
        ("event_bus", include_str!("../../ports/src/event_bus.rs")),
        (
            "result_cache",
            include_str!("../../ports/src/result_cache.rs"),
        ),
        ("job_queue", include_str!("../../ports/src/job_queue.rs")),
        ("catalogue", include_str!("../../ports/src/catalogue.rs")),
        (
            "ticket_store",
            include_str!("../../ports/src/ticket_store.rs"),
        ),
    ];
    assert_eq!(BTreeSet::from(docs.map(|(port, _)| port)), ports());
    for (port, docs) in docs {
        let stated: BTreeSet<_> = docs
            .lines()
            .filter_map(|line| line.trim().strip_prefix("/// - **"))
            .filter_map(|law| law.split_once("**: "))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(stated, names(port), "{port}");
    }
}
