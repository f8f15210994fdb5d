//! Records of one kind: their bytes by id, the row that lists filter by, and the lists' order.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::time::Duration;

use bytes::Bytes;
use conch_domain::Timestamp;
use conch_ports::{Page, Paging, Result};
use tokio::time::Instant;

use crate::expiring::{Expiring, until};

#[derive(Clone)]
struct Record<R> {
    bytes: Bytes,
    created_at: Timestamp,
    row: R,
}

/// `R` is the row: what lists filter by.
#[derive(Clone)]
pub(crate) struct Shelf<K, R> {
    records: Expiring<K, Record<R>>,
    /// By creation and then id; read backwards, so the newest comes first.
    order: BTreeSet<(Timestamp, K)>,
    retention: Option<Duration>,
}

impl<K: Clone + Eq + Hash + Ord, R> Shelf<K, R> {
    pub(crate) fn new(retention: Option<Duration>) -> Self {
        Self {
            records: Expiring::default(),
            order: BTreeSet::new(),
            retention,
        }
    }

    /// Puts a record in the place of the one with its id. Its retention begins at `from`.
    pub(crate) fn put(
        &mut self,
        id: K,
        created_at: Timestamp,
        row: R,
        bytes: Bytes,
        from: Instant,
    ) {
        if let Some(was) = self.records.remove(&id) {
            self.order.remove(&(was.created_at, id.clone()));
        }
        self.order.insert((created_at, id.clone()));
        let record = Record {
            bytes,
            created_at,
            row,
        };
        self.records.insert(id, record, until(from, self.retention));
    }

    pub(crate) fn bytes(&self, id: &K, now: Instant) -> Option<&Bytes> {
        self.records.get(id, now).map(|record| &record.bytes)
    }

    pub(crate) fn contains(&self, id: &K, now: Instant) -> bool {
        self.records.get(id, now).is_some()
    }

    fn all(&self, now: Instant) -> impl Iterator<Item = (&K, &Record<R>)> {
        let newest_first = self.order.iter().rev();
        newest_first.filter_map(move |(_, id)| Some((id, self.records.get(id, now)?)))
    }

    /// Which records there are, and their rows.
    pub(crate) fn rows(&self, now: Instant) -> impl Iterator<Item = (&K, &R)> {
        self.all(now).map(|(id, record)| (id, &record.row))
    }

    /// The records that are wanted by their id and row, newest first.
    pub(crate) fn select(
        &self,
        now: Instant,
        wanted: impl Fn(&K, &R) -> bool,
    ) -> impl Iterator<Item = &Bytes> {
        self.all(now)
            .filter(move |(id, record)| wanted(id, &record.row))
            .map(|(_, record)| &record.bytes)
    }

    /// One page of those that are wanted.
    pub(crate) fn page<T>(
        &self,
        now: Instant,
        paging: Paging,
        wanted: impl Fn(&K, &R) -> bool,
        decode: impl Fn(&Bytes) -> Result<T>,
    ) -> Result<Page<T>> {
        let offset = paging.offset();
        let end = offset.saturating_add(u64::from(paging.page_size));
        let mut total = 0;
        let mut items = Vec::new();
        for bytes in self.select(now, wanted) {
            if (offset..end).contains(&total) {
                items.push(decode(bytes)?);
            }
            total += 1;
        }
        Ok(Page { total, items })
    }

    /// Removes some of what has run out and gives back which.
    pub(crate) fn sweep(&mut self, now: Instant) -> Vec<(K, R)> {
        let mut swept = Vec::new();
        for (id, record) in self.records.sweep(now) {
            self.order.remove(&(record.created_at, id.clone()));
            swept.push((id, record.row));
        }
        swept
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }
}
