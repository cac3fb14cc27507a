//! An answer that is sent piece by piece.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::Place;
use crate::Result;

/// The size of the pieces in which an answer is sent. The connection takes the next piece when the
/// last is on its way, so the memory of an answer is freed piece by piece.
pub(super) const PIECE: usize = 32 * 1_024;

/// An answer in pieces, so that it grows without copying and its memory is freed while it is sent.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    full: VecDeque<Bytes>,
    last: Vec<u8>,
    bytes: u64,
}

impl Pieces {
    /// How many bytes of it still take up memory.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    fn next(&mut self) -> Option<Bytes> {
        let last = |pieces: &mut Self| {
            let last = std::mem::take(&mut pieces.last);
            (!last.is_empty()).then(|| Bytes::from(last))
        };
        let piece = self.full.pop_front().or_else(|| last(self))?;
        self.bytes -= piece.len() as u64;
        Some(piece)
    }
}

impl io::Write for Pieces {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        let written = bytes.len();
        self.bytes += written as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.last.len()));
            if self.last.capacity() == 0 && self.full.back().is_some() {
                self.last.reserve_exact(PIECE);
            }
            self.last.extend_from_slice(now);
            if self.last.len() == PIECE {
                self.full.push_back(std::mem::take(&mut self.last).into());
            }
            bytes = later;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A body that holds a place.
pub(super) struct PiecewiseBody {
    pub(super) pieces: Pieces,
    pub(super) place: Place,
}

impl HttpBody for PiecewiseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.next();
        // A piece that is on its way no longer counts. Shrinking always succeeds.
        let left = self.pieces.bytes();
        let _ = self.place.resize(left);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.bytes)
    }
}
