//! Frames as one chunk of HTTP/1.1: as many as fit, with the chunk's size before and its end behind them.
//!
//! Never a copy of frames that are large: they go to the socket from where they are.

use std::io::{self, IoSlice, Write as _};

use bytes::Bytes;
use tokio::net::TcpStream;

/// Frames in one chunk at most, which take one vectored write with the chunk's two ends. An event may be
/// two of them.
pub(super) const MAX_FRAMES: usize = 126;
/// Bytes in one chunk at most, unless a single frame is longer.
const MAX_CHUNK: usize = 64 * 1024;
/// Up to this a chunk is copied together on the stack.
const SMALL_CHUNK: usize = 2048;

/// As many frames as one chunk takes, at least one, and their length.
pub(super) fn first_chunk(batch: &[Bytes]) -> (&[Bytes], usize) {
    let mut length = 0;
    let mut count = 0;
    for frame in batch.iter().take(MAX_FRAMES) {
        if count > 0 && length + frame.len() > MAX_CHUNK {
            break;
        }
        length += frame.len();
        count += 1;
    }
    (&batch[..count], length)
}

/// Frames with what stands before and after them.
pub(super) struct Chunk<'a> {
    frames: &'a [Bytes],
    length: usize,
    size: [u8; 18],
    size_length: usize,
    end: &'static [u8],
}

impl<'a> Chunk<'a> {
    pub(super) fn new(frames: &'a [Bytes], length: usize, chunked: bool) -> Self {
        let mut size = [0; 18];
        let mut size_length = 0;
        if chunked {
            let mut rest = &mut size[..];
            write!(rest, "{length:x}\r\n").expect("16 digits and a line end fit");
            size_length = 18 - rest.len();
        }
        Self {
            frames,
            length,
            size,
            size_length,
            end: if chunked { b"\r\n" } else { b"" },
        }
    }

    pub(super) fn length(&self) -> usize {
        self.size_length + self.length + self.end.len()
    }

    fn size(&self) -> &[u8] {
        &self.size[..self.size_length]
    }

    pub(super) fn write(&self, socket: &TcpStream) -> io::Result<usize> {
        if self.length() <= SMALL_CHUNK {
            let mut buffer = [0; SMALL_CHUNK];
            let mut rest = &mut buffer[..];
            for part in [self.size()]
                .into_iter()
                .chain(self.frames.iter().map(|frame| &frame[..]))
                .chain([self.end])
            {
                rest.write_all(part)?;
            }
            return socket.try_write(&buffer[..self.length()]);
        }
        let mut slices = [IoSlice::new(&[]); MAX_FRAMES + 2];
        slices[0] = IoSlice::new(self.size());
        for (slice, frame) in slices[1..].iter_mut().zip(self.frames) {
            *slice = IoSlice::new(frame);
        }
        slices[self.frames.len() + 1] = IoSlice::new(self.end);
        socket.try_write_vectored(&slices[..self.frames.len() + 2])
    }

    /// The same bytes, to be kept.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Bytes> {
        [Bytes::copy_from_slice(self.size())]
            .into_iter()
            .chain(self.frames.iter().cloned())
            .chain([Bytes::from_static(self.end)])
            .filter(|piece| !piece.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_takes_at_least_one_frame_and_no_more_than_fit() {
        let check = |lengths: &[usize], count, length| {
            let batch: Vec<_> = lengths
                .iter()
                .map(|n| Bytes::from(vec![b'x'; *n]))
                .collect();
            let (frames, total) = first_chunk(&batch);
            assert_eq!((frames.len(), total), (count, length), "{lengths:?}");
        };
        check(&[0], 1, 0);
        check(&[MAX_CHUNK + 1, 1], 1, MAX_CHUNK + 1);
        check(&[MAX_CHUNK - 1, 1, 1], 2, MAX_CHUNK);
        check(&[1; MAX_FRAMES + 1], MAX_FRAMES, MAX_FRAMES);
    }
}
