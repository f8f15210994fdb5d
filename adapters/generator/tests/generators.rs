//! Both generators against the port's laws: the composer on any text, the command with real programs.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashSet;
use std::error::Error as _;
use std::time::{Duration, Instant};

use conch_domain::{Client, Metadata, PLAN, TemplateDraft, Timestamp, ValueProposition};
use conch_generator::{builtin, command};
use conch_ports::{Brief, ErrorKind};
use metrics_exporter_prometheus::PrometheusBuilder;
use proptest::prelude::*;

const TEXT: &str = "We cut 30-day readmissions by 18% within 12 months and save $2.4 million. \
    Prior authorization takes 6 hours. Medication adherence rises 25 percent.";

fn brief(name: &str, industry: Option<&str>, content: &str, index: usize) -> Brief {
    let now = Timestamp::from_micros(0);
    let client_id: conch_domain::ClientId = "c1".parse().unwrap();
    Brief {
        job_id: "j1".parse().unwrap(),
        client: Client {
            id: client_id.clone(),
            name: name.to_owned(),
            industry: industry.map(str::to_owned),
            meta_data: Metadata::default(),
            created_at: now,
            updated_at: now,
        },
        value_proposition: ValueProposition {
            id: "v1".parse().unwrap(),
            client_id,
            content: content.to_owned(),
            is_active: true,
            meta_data: Metadata::default(),
            created_at: now,
            updated_at: now,
        },
        item: PLAN[index],
        index: index as u32 + 1,
        total: 7,
        attempt: 1,
        try_number: 1,
        last_failure: None,
        names: Vec::new(),
    }
}

async fn compose(brief: &Brief) -> TemplateDraft {
    builtin::Settings::default()
        .build()
        .generate(brief)
        .await
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn drafts_are_valid(name in "\\PC{1,200}|.{1,200}", industry in proptest::option::of(".{1,200}"),
        content in "(?s).{10,400}|([$€]?[0-9]{1,30}[%xkM.,]? ?){5,80}")
    {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for (index, item) in PLAN.iter().enumerate() {
                let draft = compose(&brief(&name, industry.as_deref(), &content, index)).await;
                draft.check().unwrap();
                assert_eq!((draft.category, draft.target_audience), (item.category, item.audience));
                for widget in &draft.widgets {
                    serde_json::from_str::<serde_json::Map<_, _>>(widget.data.as_json()).unwrap();
                }
            }
        });
    }
}

#[tokio::test]
async fn the_same_input_gives_the_same_dashboard_and_another_another() {
    let first = compose(&brief("Acme", Some("Health"), TEXT, 0)).await;
    assert_eq!(
        first,
        compose(&brief("Acme", Some("Health"), TEXT, 0)).await
    );
    let bakery = "Fresh bread delivered before six, with fewer errors and happier customers.";
    let other = compose(&brief("Acme", Some("Bakery"), bakery, 0)).await;
    let titles = |d: &TemplateDraft| {
        d.widgets
            .iter()
            .map(|w| w.title.clone())
            .collect::<HashSet<_>>()
    };
    assert!(titles(&first).intersection(&titles(&other)).count() <= 4);
    let metrics: Vec<_> = other.widgets.iter().flat_map(|w| &w.metrics).collect();
    for health in ["readmissions", "a1c", "pmpm", "prior_auth"] {
        assert!(
            !metrics.iter().any(|m| *m == health),
            "{health} in a bakery: {metrics:?}"
        );
    }
}

#[tokio::test]
async fn the_dashboards_of_a_plan_differ_and_quote_the_promises() {
    let mut names = HashSet::new();
    let mut kinds = HashSet::new();
    let mut all_titles = String::new();
    for index in 0..PLAN.len() {
        let draft = compose(&brief("Acme Care", None, TEXT, index)).await;
        assert!(
            draft.key_features.iter().any(|f| f.contains("18%")),
            "{:?}",
            draft.key_features
        );
        kinds.extend(draft.widgets.iter().map(|w| w.widget_type.clone()));
        all_titles.extend(draft.widgets.iter().map(|w| w.title.clone() + "\n"));
        assert!(names.insert(draft.name), "two dashboards have one name");
    }
    assert!(kinds.len() >= 7, "{kinds:?}");
    assert!(
        all_titles.contains("18%") && all_titles.contains("Acme Care"),
        "{all_titles}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_pace_is_kept() {
    let settings = builtin::Settings {
        pace: Duration::from_millis(800),
    };
    let start = tokio::time::Instant::now();
    settings
        .build()
        .generate(&brief("Acme", None, TEXT, 0))
        .await
        .unwrap();
    assert_eq!(start.elapsed().as_millis(), 800);
}

fn program(script: &str) -> command::Settings {
    let mut settings = command::Settings::new(shlex::try_join(["sh", "-c", script]).unwrap());
    settings.timeout = Duration::from_secs(20);
    settings
}

/// A valid template for place 1 as a program prints it.
fn printed(category: &str) -> String {
    let widgets: Vec<_> = (1..=6)
        .map(|i| {
            serde_json::json!({
                "id": format!("w{i}"), "type": "kpi-card", "title": "A title",
                "position": {"row": i, "col": 1, "rowSpan": 1, "colSpan": 12},
                "data_requirements": {"query_type": "aggregate", "metrics": ["m"]},
            })
        })
        .collect();
    serde_json::json!({
        "name": "Mine", "category": category, "target_audience": "Health Plan",
        "key_features": ["a", "b", "c"], "widgets": widgets,
        "visual_style": {"primaryColor": "#000000", "secondaryColor": "#000000", "accentColor": "#000000",
            "backgroundColor": "#000000", "textColor": "#000000", "fontFamily": "x", "layout": "dense"},
    }).to_string()
}

/// Everybody is `told` the kind of failure; the operator alone knows `cause` as well.
async fn fails(settings: command::Settings, kind: ErrorKind, told: &str, cause: &str) {
    let program = settings.command_line.clone();
    let program = program.split(' ').next().unwrap();
    let error = settings
        .build()
        .unwrap()
        .generate(&brief("Acme", None, TEXT, 0))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.message(), format!("the generator {told}"));
    let source = error.source().unwrap().to_string();
    assert!(
        source.contains(program) && source.contains(cause),
        "{source}"
    );
    assert!(!source.contains(char::is_control), "{source}");
}

#[tokio::test]
async fn a_program_makes_a_template_from_its_request() {
    let folder = tempfile::tempdir().unwrap();
    let (request, answer) = (folder.path().join("request"), folder.path().join("answer"));
    std::fs::write(&answer, printed("roi-focused")).unwrap();
    let script = format!("cat > '{}'; cat '{}'", request.display(), answer.display());
    let draft = program(&script)
        .build()
        .unwrap()
        .generate(&brief("Acme", None, TEXT, 0))
        .await
        .unwrap();
    assert_eq!(draft.name, "Mine");
    let request: serde_json::Value =
        serde_json::from_slice(&std::fs::read(request).unwrap()).unwrap();
    assert_eq!(request["client"]["name"], "Acme");
    assert_eq!(request["category"], "roi-focused");

    // One that never reads its stdin, with a request larger than a pipe.
    let script = format!("cat '{}'", answer.display());
    let long = brief("Acme", None, &"word ".repeat(40_000), 0);
    assert!(
        program(&script)
            .build()
            .unwrap()
            .generate(&long)
            .await
            .is_ok()
    );

    std::fs::write(&answer, printed("comprehensive")).unwrap();
    let told = "printed a template of another category or audience";
    fails(program(&script), ErrorKind::BadResponse, told, "").await;
}

#[tokio::test]
async fn programs_that_fail_are_told_apart() {
    use ErrorKind::{BadResponse, Refused, Timeout, Unavailable};
    let no_template = "printed no valid template";
    let html = "echo '<html>'; echo its words >&2";
    for (script, kind, told, cause) in [
        (
            "echo no luck >&2; exit 3",
            Unavailable,
            "failed (exit status: 3)",
            "it said: no luck",
        ),
        ("exit 78", Refused, "failed (exit status: 78)", ""),
        (
            "kill -9 $$",
            Unavailable,
            "failed (signal: 9 (SIGKILL))",
            "",
        ),
        (html, BadResponse, no_template, "not JSON"),
        (html, BadResponse, no_template, "its words"),
        ("echo '{}'", BadResponse, no_template, ""),
        ("yes", BadResponse, "printed more than 1048576 bytes", ""),
    ] {
        fails(program(script), kind, told, cause).await;
    }
    let missing = command::Settings::new("/no/such/program");
    fails(missing, Refused, "could not be started", "No such file").await;
    let mut slow = program("echo still at it >&2; exec sleep 600");
    slow.timeout = Duration::from_millis(300);
    let told = "did not end within 300 ms and was killed";
    fails(slow, Timeout, told, "still at it").await;
    let long = "i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1";
    let error = program(long)
        .build()
        .unwrap()
        .generate(&brief("A", None, TEXT, 0))
        .await
        .unwrap_err();
    let source = error.source().unwrap().to_string();
    assert!(source.len() < 4400 && source.contains("line 2999"));
    for bad in ["", "  ", "sh -c 'open", "''"] {
        assert!(command::Settings::new(bad).build().is_err(), "{bad:?}");
    }
}

#[tokio::test]
async fn a_program_has_so_much_time_and_prints_so_much() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let counted = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let mut settings = program("echo 12345");
    settings.output_limit = 6;
    // What it prints is all there, and no template.
    let told = "printed no valid template";
    fails(settings.clone(), ErrorKind::BadResponse, told, "").await;
    assert!(!counted.render().contains("conch_limits_hit_total"));
    settings.output_limit = 5;
    fails(
        settings,
        ErrorKind::BadResponse,
        "printed more than 5 bytes",
        "",
    )
    .await;
    let mut slow = program("exec sleep 600");
    slow.timeout = Duration::from_millis(100);
    let told = "did not end within 100 ms and was killed";
    fails(slow, ErrorKind::Timeout, told, "").await;
    for limit in ["generator_output_bytes", "generator_timeout_seconds"] {
        let line = format!("conch_limits_hit_total{{limit=\"{limit}\"}} 1");
        let counted = counted.render();
        assert!(counted.contains(&line), "{counted}");
    }
}

#[tokio::test]
async fn what_is_withheld_is_not_handed_down() {
    // Cargo sets it for every test.
    let script = "echo \"<$CARGO_MANIFEST_DIR>\" >&2; exit 1";
    let told = "failed (exit status: 1)";
    fails(program(script), ErrorKind::Unavailable, told, "</").await;
    let mut settings = program(script);
    settings.withheld = vec!["CARGO_MANIFEST_DIR".to_owned()];
    fails(settings, ErrorKind::Unavailable, told, "<>").await;
}

/// Alive and not a zombie that only waits to be reaped.
fn runs(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .trim_start()
            .starts_with('Z')
    })
}

#[tokio::test]
async fn dropping_stops() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let script = format!(
        "sleep 600 & echo $$ $! > '{0}.new'; mv '{0}.new' '{0}'; wait",
        pids.display()
    );
    let generator = program(&script).build().unwrap();
    let brief = brief("Acme", None, TEXT, 0);
    let work = tokio::spawn(async move { generator.generate(&brief).await });
    let until = Instant::now() + Duration::from_secs(10);
    while !pids.exists() {
        assert!(Instant::now() < until, "the program never began");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let text = std::fs::read_to_string(&pids).unwrap();
    let pids: Vec<&str> = text.split_whitespace().collect();
    assert!(
        pids.len() == 2 && pids.iter().all(|pid| runs(pid)),
        "{text}"
    );
    work.abort();
    while pids.iter().any(|pid| runs(pid)) {
        assert!(
            Instant::now() < until,
            "child or grandchild outlived the future"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
