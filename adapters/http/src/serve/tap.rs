//! The socket as hyper sees it. It counts what hyper doesn't tell of (lengths, bytes of unfinished heads),
//! and puts a problem in words where hyper refuses a head with a bare status.
//!
//! Never in here: what a request means. A head is only measured.

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::hand_off::HandOff;
use super::head::{self, Ends, LengthLines};
use crate::problem::{Code, Problem};

pub(super) struct Tap {
    socket: TcpStream,
    lines: LengthLines,
    ends: Ends,
    hand_off: Arc<HandOff>,
    max_head: usize,
    /// What is left of a problem that takes the place of hyper's own answer.
    refusal: Option<Bytes>,
    overloaded: bool,
    /// Whether bytes of an answer were written and not yet all: hyper flushes when they are.
    unflushed: bool,
    /// Whether a read waits for that.
    read_waits: bool,
}

impl Tap {
    pub(super) fn new(socket: TcpStream, hand_off: Arc<HandOff>, max_head: usize) -> Self {
        Self {
            socket,
            lines: LengthLines::default(),
            ends: Ends::default(),
            hand_off,
            max_head,
            refusal: None,
            overloaded: false,
            unflushed: false,
            read_waits: false,
        }
    }

    pub(super) fn into_socket(self) -> TcpStream {
        self.socket
    }

    /// Whether reading ended because all unfinished heads together were too many bytes.
    pub(super) fn is_overloaded(&self) -> bool {
        self.overloaded
    }

    /// Ends reading for good, but not in the middle of an answer: hyper may read on while it still writes
    /// one, and what is said of the overload must follow it.
    fn poll_overload(&mut self) -> Poll<io::Result<()>> {
        if self.unflushed {
            // `poll_flush` wakes the task.
            self.read_waits = true;
            return Poll::Pending;
        }
        self.hand_off.unfinished.set(0);
        let error = io::Error::other("all unfinished heads together are too many bytes");
        Poll::Ready(Err(error))
    }

    /// Sends the problem in the place of `bare`, an answer of hyper's.
    fn poll_refuse(&mut self, cx: &mut Context<'_>, bare: &[u8]) -> Poll<io::Result<usize>> {
        let problem = self.refusal.get_or_insert_with(|| {
            head::whole(refusal(!bare.starts_with(BAD_REQUEST), self.max_head))
        });
        while problem.has_remaining() {
            let sent = ready!(Pin::new(&mut self.socket).poll_write(cx, problem))?;
            problem.advance(sent);
        }
        Poll::Ready(Ok(bare.len()))
    }
}

const BARE: &[u8] = b"HTTP/1.1";
const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 ";
/// What hyper answers a head that it refuses (1.12, `proto/h1/role.rs`, `on_error`).
const REFUSALS: [&[u8]; 3] = [BAD_REQUEST, b"HTTP/1.1 414 ", b"HTTP/1.1 431 "];

fn refusal(is_long: bool, max_head: usize) -> Problem {
    if is_long {
        let words = format!(
            "the request's head is too long: its target and headers may have {max_head} bytes and 100 lines"
        );
        Problem::new(Code::HeadTooLarge, words)
    } else {
        let words = "the request's head breaks the grammar of HTTP/1.1";
        Problem::new(Code::MalformedRequest, words)
    }
}

/// The answer where all unfinished heads together are too many bytes.
pub(super) fn overloaded() -> Bytes {
    head::whole(Problem::new(
        Code::Overloaded,
        "too many unfinished requests at once: send this one again later",
    ))
}

/// Where an answer of hyper's own begins that ends what is to be written. It has no body, so it ends with
/// its head; the answers of handlers that end so have another status or other headers.
fn bare(buffer: &[u8]) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    // Longer than any of them.
    const MOST: usize = 256;
    if !buffer.ends_with(END) {
        return None;
    }
    let from = buffer.len().saturating_sub(MOST);
    let tail = &buffer[from..];
    let at = tail.windows(BARE.len()).rposition(|part| part == BARE)?;
    let (answer, mut length) = (&tail[at..], false);
    if !REFUSALS.iter().any(|refusal| answer.starts_with(refusal)) {
        return None;
    }
    for line in answer.split(|byte| *byte == b'\n').skip(1) {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        match name.to_ascii_lowercase().as_slice() {
            b"content-length" => length = line.ends_with(b" 0\r"),
            b"connection" | b"date" | b"\r" | b"" => {}
            _ => return None,
        }
    }
    length.then_some(from + at)
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.overloaded {
            return self.poll_overload();
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(cx, buf);
        let read = &buf.filled()[before..];
        let found = self.lines.count(read);
        self.hand_off.count_lengths(found);
        if !read.is_empty() && self.hand_off.reads_head() {
            let rest = self.ends.find(read);
            if !self.hand_off.unfinished.add(read.len(), rest) {
                self.overloaded = true;
                return self.poll_overload();
            }
        }
        polled
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.unflushed = true;
        match bare(buf) {
            Some(0) => self.poll_refuse(cx, buf),
            Some(at) => Pin::new(&mut self.socket).poll_write(cx, &buf[..at]),
            None => Pin::new(&mut self.socket).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unflushed = true;
        let last = bufs.iter().rposition(|buf| !buf.is_empty());
        let refused = last.filter(|last| bare(&bufs[*last]).is_some());
        match refused {
            // What stands before it first, if anything does.
            Some(last) if bufs[..last].iter().any(|buf| !buf.is_empty()) => {
                Pin::new(&mut self.socket).poll_write_vectored(cx, &bufs[..last])
            }
            Some(last) => self.poll_write(cx, &bufs[last]),
            None => Pin::new(&mut self.socket).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.hand_off.flushed();
        self.unflushed = false;
        if mem::take(&mut self.read_waits) {
            cx.waker().wake_by_ref();
        }
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hypers_own_answers_are_told_from_those_of_handlers() {
        let of_hyper = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
                        content-length: 0\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";
        let before = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let of_handler = "HTTP/1.1 400 Bad Request\r\nx-content-type-options: nosniff\r\n\
                          content-length: 0\r\n\r\n";
        for (text, at) in [
            (of_hyper.to_owned(), Some(0)),
            (format!("{before}{of_hyper}"), Some(before.len())),
            (of_hyper.replace("431", "400"), Some(0)),
            (of_hyper.replace("431", "204"), None),
            (before.to_owned(), None),
            (of_handler.to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(bare(text.as_bytes()), at, "{text}");
        }
    }
}
