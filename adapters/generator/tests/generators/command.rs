//! The command generator with real programs: its requests, accepted answers and failures.

use std::error::Error as _;
use std::time::{Duration, Instant};

use conch_generator::command;
use conch_ports::ErrorKind;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};

use crate::{TEXT, brief};

fn program(script: &str) -> command::Settings {
    let mut settings = command::Settings::new(shlex::try_join(["sh", "-c", script]).unwrap());
    settings.timeout = Duration::from_secs(20);
    settings
}

/// A valid template for place 1, as a program prints it.
fn printed(category: &str) -> String {
    let widgets: Vec<_> = (1..=6)
        .map(|i| {
            json!({
                "id": format!("w{i}"), "type": "kpi-card", "title": "A title",
                "position": {"row": 2 * i - 1, "col": 1, "rowSpan": 2, "colSpan": 12},
                "analytics_question": "How much?",
                "data_requirements": {"query_type": "aggregate", "metrics": [
                    {"name": "m", "metric_ref": "m", "data_type": "count", "format": "0,0"},
                ]},
                "config": {"icon": "x", "subtitle": "y"},
            })
        })
        .collect();
    json!({
        "name": "Mine, all mine", "description": "What the dashboard is for.",
        "category": category, "targetAudience": "Health Plan", "keyFeatures": ["a", "b", "c"],
        "widgets": widgets,
        "visualStyle": {"primaryColor": "#000000", "accentColor": "#000000", "layout": "dense"},
    })
    .to_string()
}

/// Everyone is `told` the kind of failure; only the operator sees `cause` too.
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
    assert_eq!(draft.name, "Mine, all mine");
    let request: Value = serde_json::from_slice(&std::fs::read(request).unwrap()).unwrap();
    assert_eq!(request["client"]["name"], "Acme");
    assert_eq!(request["value_proposition"]["content"], TEXT);
    let asked = json!({
        "job_id": "j1", "category": "roi-focused", "target_audience": "Health Plan",
        "template_index": 1, "total_templates": 7, "attempt": 1, "try_number": 1,
        "last_failure": null, "names": [],
    });
    for (field, expected) in asked.as_object().unwrap() {
        assert_eq!(&request[field], expected, "{field}");
    }

    // A program that never reads its stdin, with a request larger than a pipe.
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
    let told = "printed no valid template: category: must be roi-focused, as asked";
    fails(program(&script), ErrorKind::BadResponse, told, "").await;
}

/// A fault in the valid template is reported by the first rule that it breaks, without quoting anything.
#[tokio::test]
async fn a_bad_answer_is_told_by_the_first_rule_that_it_breaks() {
    let folder = tempfile::tempdir().unwrap();
    let answer = folder.path().join("answer");
    let mut template: Value = serde_json::from_str(&printed("roi-focused")).unwrap();
    template["widgets"][2]["position"]["row"] = json!(1);
    template["widgets"][3]["type"] = json!("words of the generator");
    template["name"] = json!("words of the generator");
    for (wrapped, told) in [
        (
            format!("```json\n{template}\n```"),
            "widgets[3].type: must be one of kpi-card, ",
        ),
        (
            template.to_string().replace(
                "\"type\":\"words of the generator\"",
                "\"type\":\"kpi-card\"",
            ),
            "widgets[2].position: shares a cell with widgets[0]",
        ),
    ] {
        std::fs::write(&answer, wrapped).unwrap();
        let generator = program(&format!("cat '{}'", answer.display()))
            .build()
            .unwrap();
        let error = generator
            .generate(&brief("Acme", None, TEXT, 0))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadResponse);
        let expected = format!("the generator printed no valid template: {told}");
        assert!(
            error.message().starts_with(&expected),
            "{}",
            error.message()
        );
        assert!(
            !format!("{error} {:?}", error.source()).contains("words of"),
            "{error:?}"
        );
    }
}

/// The program of docs/generators.md, with the installed python3.
#[tokio::test]
async fn the_example_program_in_python_makes_every_template_of_a_plan() {
    let example = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/examples/generator.py"
    );
    let generator = command::Settings::new(shlex::try_join(["python3", example]).unwrap())
        .build()
        .unwrap();
    let mut names = Vec::new();
    for index in 0..conch_domain::PLAN.len() {
        let mut brief = brief("Näme \u{2028} 再入院", Some("Health"), TEXT, index);
        brief.names.clone_from(&names);
        brief.try_number = 2;
        brief.last_failure = Some("name: must have 5 to 100 characters".to_owned());
        let draft = generator.generate(&brief).await.unwrap();
        assert!(!names.contains(&draft.name), "{}", draft.name);
        assert!(draft.meta_data.as_json().contains("reasoning"));
        names.push(draft.name.clone());
    }
}

#[tokio::test]
async fn programs_that_fail_are_told_apart() {
    use ErrorKind::{BadResponse, Refused, Timeout, Unavailable};
    let no_object = "printed no valid template: the answer has no JSON object that is whole and has no key twice";
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
        (html, BadResponse, no_object, "its words"),
        (
            ":",
            BadResponse,
            "printed no valid template: the answer is empty",
            "",
        ),
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
    // Its output is complete, but not a template.
    let told = "printed no valid template: the answer has no JSON object that is whole and has no key twice";
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
    // Cargo sets this variable for every test.
    let script = "echo \"<$CARGO_MANIFEST_DIR>\" >&2; exit 1";
    let told = "failed (exit status: 1)";
    fails(program(script), ErrorKind::Unavailable, told, "</").await;
    let mut settings = program(script);
    settings.withheld = vec!["CARGO_MANIFEST_DIR".to_owned()];
    fails(settings, ErrorKind::Unavailable, told, "<>").await;
}

/// Whether a process is alive, and not a zombie.
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
