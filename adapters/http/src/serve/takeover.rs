//! How a handler says that its answer is a stream which leaves hyper behind.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::response::{IntoResponseParts, ResponseParts};
use bytes::Bytes;

/// Whether a stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// More can follow.
    More,
    /// What was pushed is the last of it.
    End,
}

/// What a taken-over connection sends. Knows nothing of sockets.
pub trait Frames: Send + 'static {
    /// Pushes what is due onto `out` and says whether more can follow. Each `Bytes` is sent whole
    /// and in order; empty ones are passed over.
    ///
    /// When pending, nothing was pushed and the waker will be called. After `End` it is not called
    /// again. It is not called either while the peer takes nothing: bounding what piles up
    /// meanwhile is the implementation's part.
    fn poll_frames(&mut self, cx: &mut Context<'_>, out: &mut Vec<Bytes>) -> Poll<Next>;
}

/// A response extension (and response part): the response's status and headers are sent as they
/// are once all layers have run, its body is dropped, and the frames follow in its place.
///
/// In an answer to `HEAD` the frames are dropped unused.
#[derive(Clone)]
pub struct Takeover(Arc<Mutex<Option<Box<dyn Frames>>>>);

impl Takeover {
    /// Sends `frames`.
    pub fn new(frames: impl Frames) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(frames)))))
    }

    /// The frames; none if a clone of this has given them away.
    pub(super) fn take(&self) -> Option<Box<dyn Frames>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Takeover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Takeover")
    }
}

impl IntoResponseParts for Takeover {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        parts.extensions_mut().insert(self);
        Ok(parts)
    }
}
