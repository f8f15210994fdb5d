//! A history, sorted by who saw it.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

/// What was agreed on before the run.
#[derive(Debug, Clone, Default)]
pub(super) struct Terms {
    /// `none`, `everysec` or `always`.
    pub(super) class: String,
    /// Milliseconds within which, after the last fault heals, every stream has ended: lease, position
    /// check and backoff cap.
    pub(super) t_ms: f64,
    /// Events that a log keeps.
    pub(super) history_limit: u64,
    /// Milliseconds that a log lives after its end.
    pub(super) history_ttl_ms: f64,
    /// In calm, how long an event may take to a watcher; none: not judged.
    pub(super) prompt_ms: Option<f64>,
    /// How long after a fault heals it isn't calm yet.
    pub(super) settle_ms: f64,
    /// Whether results still have to be in the cache when the store is looked at.
    pub(super) results_live: bool,
    /// Whether a run is expected to end with every job's end.
    pub(super) ends: bool,
}

impl Terms {
    /// Whether an acknowledged write survives the faults of this run.
    pub(super) fn durable(&self) -> bool {
        self.class != "none"
    }
}

/// Something that came on a stream.
#[derive(Debug, Clone)]
pub(super) enum Item<'a> {
    Event { id: &'a str, data: &'a str },
    Comment(&'a str),
    Retry,
    Violation(&'a str),
}

/// One connection of a watcher.
#[derive(Debug, Clone)]
pub(super) struct Visit<'a> {
    pub(super) at: f64,
    pub(super) cursor: Option<&'a str>,
    /// 0 while there was no head.
    pub(super) status: u64,
    pub(super) items: Vec<(f64, Item<'a>)>,
    /// When it ended; none: it was still open when the run was over.
    pub(super) ended: Option<f64>,
    /// It was the watcher who ended it.
    pub(super) left: bool,
}

/// A watcher of one job, or of many.
#[derive(Debug, Clone, Default)]
pub(super) struct Watcher<'a> {
    pub(super) name: &'a str,
    pub(super) job: &'a str,
    /// What a stream over many jobs is about.
    pub(super) selects: Option<Selects<'a>>,
    pub(super) visits: Vec<Visit<'a>>,
}

/// The jobs that are named, of the clients that are named; an empty list doesn't restrict.
#[derive(Debug, Clone, Default)]
pub(super) struct Selects<'a> {
    pub(super) jobs: Vec<&'a str>,
    pub(super) clients: Vec<&'a str>,
}

impl Watcher<'_> {
    /// When it came back last before that, after it had left by itself; 0 if it never had.
    pub(super) fn came_back(&self, at: f64) -> f64 {
        let pairs = self.visits.windows(2);
        let back = pairs.filter(|pair| pair[0].left && pair[1].at <= at);
        back.map(|pair| pair[1].at).fold(0.0, f64::max)
    }
}

/// A fault, and for how long.
#[derive(Debug, Clone, Default)]
pub(super) struct Fault {
    pub(super) what: String,
    pub(super) target: String,
    pub(super) phase: String,
    pub(super) from: f64,
    /// Infinite while it lasts.
    pub(super) until: f64,
}

/// All that was recorded.
#[derive(Debug, Default)]
pub(super) struct History<'a> {
    pub(super) terms: Terms,
    pub(super) watchers: Vec<Watcher<'a>>,
    /// Watchers of many jobs on one stream.
    pub(super) many: Vec<Watcher<'a>>,
    pub(super) faults: Vec<Fault>,
    /// When the last fault had healed for good.
    pub(super) calm: f64,
    pub(super) records: &'a [Value],
    /// Lines that nobody honest published.
    pub(super) forged: HashSet<&'a str>,
    /// When the recording ended.
    pub(super) over: f64,
}

pub(super) fn text<'a>(record: &'a Value, field: &str) -> &'a str {
    record[field].as_str().unwrap_or("")
}

pub(super) fn at(record: &Value) -> f64 {
    record["at"].as_f64().unwrap_or(0.0)
}

impl<'a> History<'a> {
    pub(super) fn read(records: &'a [Value]) -> Self {
        let mut history = Self {
            records,
            ..Self::default()
        };
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for record in records {
            history.over = history.over.max(at(record));
            match text(record, "what") {
                "terms" => history.terms = terms(record),
                "forged" => {
                    history.forged.insert(text(record, "line"));
                }
                "fault" => history.faults.push(Fault {
                    what: text(record, "fault").to_owned(),
                    target: text(record, "target").to_owned(),
                    phase: text(record, "phase").to_owned(),
                    from: at(record),
                    until: f64::INFINITY,
                }),
                "healed" => history.heal(record),
                "calm" => history.calm = at(record),
                _ => {}
            }
            let name = text(record, "who");
            if name.is_empty() {
                continue;
            }
            let place = *places.entry(name).or_insert_with(|| {
                history.watchers.push(Watcher {
                    name,
                    job: text(record, "job"),
                    selects: selects(&record["selects"]),
                    visits: Vec::new(),
                });
                history.watchers.len() - 1
            });
            note(&mut history.watchers[place].visits, record);
        }
        let of_many = |watcher: &Watcher<'_>| watcher.selects.is_some();
        let all = std::mem::take(&mut history.watchers).into_iter();
        (history.many, history.watchers) = all.partition(of_many);
        history
    }

    fn heal(&mut self, record: &Value) {
        let (what, target) = (text(record, "fault"), text(record, "target"));
        let open = self
            .faults
            .iter_mut()
            .find(|f| f.until.is_infinite() && f.what == what && f.target == target);
        if let Some(fault) = open {
            fault.until = at(record);
        }
    }

    /// Whether no fault was on from `from` until `until`.
    pub(super) fn is_well(&self, from: f64, until: f64) -> bool {
        self.faults.iter().all(|f| f.until < from || f.from > until)
    }

    /// As [`History::is_well`], for what an API and its store do without a worker.
    pub(super) fn is_edge_well(&self, from: f64, until: f64) -> bool {
        let mut faults = self.faults.iter();
        faults.all(|f| f.until < from || f.from > until || f.target.starts_with("worker"))
    }

    /// The end of the last fault that had ended before `at`; 0 when there was none.
    pub(super) fn healed_before(&self, at: f64) -> f64 {
        let healed = self.faults.iter().map(|f| f.until).filter(|t| *t <= at);
        healed.fold(0.0, f64::max)
    }
}

fn terms(record: &Value) -> Terms {
    let number = |field: &str| record[field].as_f64();
    Terms {
        class: text(record, "class").to_owned(),
        t_ms: number("t_ms").unwrap_or(f64::INFINITY),
        history_limit: record["history_limit"].as_u64().unwrap_or(100),
        history_ttl_ms: number("history_ttl_ms").unwrap_or(f64::INFINITY),
        prompt_ms: number("prompt_ms"),
        settle_ms: number("settle_ms").unwrap_or(0.0),
        results_live: record["results_live"] != false,
        ends: record["ends"] != false,
    }
}

fn selects(value: &Value) -> Option<Selects<'_>> {
    let list = |field: &str| {
        let items = value[field].as_array().into_iter().flatten();
        items.filter_map(Value::as_str).collect()
    };
    value.is_object().then(|| Selects {
        jobs: list("jobs"),
        clients: list("clients"),
    })
}

fn note<'a>(visits: &mut Vec<Visit<'a>>, record: &'a Value) {
    let at = at(record);
    if text(record, "what") == "connect" {
        visits.push(Visit {
            at,
            cursor: record["cursor"].as_str(),
            status: 0,
            items: Vec::new(),
            ended: None,
            left: false,
        });
        return;
    }
    let Some(visit) = visits.last_mut() else {
        return;
    };
    match text(record, "what") {
        "status" => visit.status = record["status"].as_u64().unwrap_or(0),
        "event" => {
            let (id, data) = (text(record, "id"), text(record, "data"));
            visit.items.push((at, Item::Event { id, data }));
        }
        "comment" => visit.items.push((at, Item::Comment(text(record, "text")))),
        "retry" => visit.items.push((at, Item::Retry)),
        "violation" => visit
            .items
            .push((at, Item::Violation(text(record, "text")))),
        "closed" => {
            visit.ended = Some(at);
            visit.left = record["left"] == true;
        }
        _ => {}
    }
}
