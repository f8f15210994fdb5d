//! The record of a run: JSON lines in a file, in the order in which they were seen.
//!
//! Whoever sees something writes it down at once and judges nothing.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::sync::Notify;

use crate::eventually::PATIENCE;

/// Where histories are kept, so that one can be judged again.
pub(super) fn directory() -> PathBuf {
    crate::process::repository().join("target/chaos")
}

struct Inner {
    start: Instant,
    path: PathBuf,
    file: Mutex<BufWriter<File>>,
    /// The kinds of each job's announced events, in order.
    heard: Mutex<HashMap<String, Vec<String>>>,
    /// What the last announced event of an own job was: the phase that a fault falls into.
    phase: Mutex<String>,
    news: Notify,
}

/// A history that is being written; a cheap handle.
#[derive(Clone)]
pub struct History(Arc<Inner>);

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("History").field(&self.0.path).finish()
    }
}

impl History {
    /// Begins one. Its name tells the run; two runs of one name at a time need different ones.
    pub(super) fn begin(name: &str) -> Self {
        let directory = directory();
        std::fs::create_dir_all(&directory).expect("target/ is ours");
        let path = directory.join(format!("{name}.jsonl"));
        // Whoever still writes to one of that name keeps the old file.
        drop(std::fs::remove_file(&path));
        let file = File::create(&path).expect("target/chaos is ours");
        Self(Arc::new(Inner {
            start: Instant::now(),
            path,
            file: Mutex::new(BufWriter::new(file)),
            heard: Mutex::default(),
            phase: Mutex::default(),
            news: Notify::new(),
        }))
    }

    /// Milliseconds since it began.
    pub fn now(&self) -> f64 {
        (self.0.start.elapsed().as_secs_f64() * 1e6).round() / 1e3
    }

    /// Writes something down.
    pub fn note(&self, what: &str, fields: Value) {
        let mut record = Map::new();
        let Value::Object(fields) = fields else {
            panic!("a record is an object")
        };
        let mut file = self.0.file.lock();
        // Under the lock, so that times rise.
        record.insert("at".to_owned(), self.now().into());
        record.insert("what".to_owned(), what.into());
        record.extend(fields);
        serde_json::to_writer(&mut *file, &record).expect("the disk has room");
        file.write_all(b"\n").expect("the disk has room");
    }

    /// An event of an own job was announced.
    pub(super) fn hear(&self, job: &str, kind: &str) {
        kind.clone_into(&mut self.0.phase.lock());
        let mut heard = self.0.heard.lock();
        heard
            .entry(job.to_owned())
            .or_default()
            .push(kind.to_owned());
        drop(heard);
        self.0.news.notify_waiters();
    }

    /// Waits until the kinds of a job's announced events are such.
    ///
    /// # Panics
    /// When they aren't in time.
    pub async fn until(&self, what: &str, job: &str, fits: impl Fn(&[String]) -> bool) {
        let wait = async {
            loop {
                let news = self.0.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                if fits(self.heard(job).as_slice()) {
                    return;
                }
                news.await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, wait).await;
        assert!(
            in_time.is_ok(),
            "waited in vain: {what}: {:?}",
            self.heard(job)
        );
    }

    /// The kinds of a job's announced events so far.
    pub fn heard(&self, job: &str) -> Vec<String> {
        let heard = self.0.heard.lock();
        heard.get(job).cloned().unwrap_or_default()
    }

    pub(super) fn phase(&self) -> String {
        self.0.phase.lock().clone()
    }

    /// Where it stands.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Everything so far.
    pub(super) fn records(&self) -> Vec<Value> {
        // Held while it is read: the last line must be whole.
        let mut file = self.0.file.lock();
        file.flush().expect("the disk has room");
        // By its descriptor: a later run of the same name may have the path by now.
        read_file(format!("/proc/self/fd/{}", file.get_ref().as_raw_fd()).as_ref())
    }
}

/// Reads a history.
///
/// # Panics
/// When it can't be read or isn't one.
pub fn read_file(path: &Path) -> Vec<Value> {
    let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    BufReader::new(file)
        .lines()
        .map(|line| {
            let line = line.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            serde_json::from_str(&line)
                .unwrap_or_else(|e| panic!("{}: {e}: {line}", path.display()))
        })
        .collect()
}
