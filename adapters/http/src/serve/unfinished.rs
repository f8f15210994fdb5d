//! Bytes of request heads that aren't whole yet, counted over all connections of a server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::{Request, header};

/// Bytes of all unfinished heads of a server together.
#[derive(Debug)]
pub(super) struct Heads {
    bytes: AtomicUsize,
    most: usize,
}

impl Heads {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicUsize::new(0),
            most,
        })
    }
}

/// What one connection has of them. Gives it back when dropped.
#[derive(Debug)]
pub(super) struct Unfinished {
    heads: Arc<Heads>,
    own: AtomicUsize,
}

impl Unfinished {
    pub(super) fn new(heads: &Arc<Heads>) -> Self {
        Self {
            heads: Arc::clone(heads),
            own: AtomicUsize::new(0),
        }
    }

    /// Counts `bytes` that were read, of which `rest` follow the end of a head, if one ended in them;
    /// false when it is too much for the server. Nothing of a head that has ended stays counted, so that
    /// a connection may live for any number of requests.
    pub(super) fn add(&self, bytes: usize, rest: Option<usize>) -> bool {
        let own = self.own.load(Ordering::Relaxed);
        let now = rest.unwrap_or(own + bytes);
        self.set(now);
        now <= own || self.heads.bytes.load(Ordering::Relaxed) <= self.heads.most
    }

    /// A request begins: what was read of its body belongs to no head, where its length is said.
    pub(super) fn begin<B>(&self, request: &Request<B>) {
        let own = self.own.load(Ordering::Relaxed);
        let body = request.headers().get(header::CONTENT_LENGTH);
        let body = body.and_then(|length| length.to_str().ok()?.parse().ok());
        self.set(own.saturating_sub(body.unwrap_or(0)));
    }

    pub(super) fn set(&self, bytes: usize) {
        let own = self.own.swap(bytes, Ordering::Relaxed);
        // Wraps around where it grows, which is to add.
        let gone = own.wrapping_sub(bytes);
        self.heads.bytes.fetch_sub(gone, Ordering::Relaxed);
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_connection_has_of_all_heads_comes_and_goes() {
        let heads = Heads::new(100);
        let one = Unfinished::new(&heads);
        let other = Unfinished::new(&heads);
        let all = || heads.bytes.load(Ordering::Relaxed);
        assert!(one.add(30, None));
        assert!(other.add(60, None));
        assert!(!other.add(60, None), "more than all may have");
        assert!(one.add(20, Some(15)), "less than before is never too much");
        drop(other);
        assert_eq!(all(), 15, "what came after the head");
        let request = Request::post("/").header("content-length", "10");
        one.begin(&request.body(()).expect("one"));
        assert_eq!(all(), 5, "what came after the body");
        assert!(one.add(95, None));
        drop(one);
        assert_eq!(all(), 0);
    }
}
