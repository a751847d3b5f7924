//! Hands long answers to actix in slices, so that it does not copy all of one into its buffer at once: a client that
//! does not read then holds no more than a slice, and what the answers share.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody as _};
use actix_web::web::Bytes;

/// Longest slice, in bytes. Actix stops when its buffer has twice as much.
const SLICE: usize = 16 * 1024;

struct Slices(Bytes);

/// Cuts a body that is long and in memory; leaves others as they are.
pub(super) fn cut(body: BoxBody) -> BoxBody {
    match body.size() {
        BodySize::Sized(length) if length > SLICE as u64 => match body.try_into_bytes() {
            Ok(bytes) => BoxBody::new(Slices(bytes)),
            Err(body) => body,
        },
        _ => body,
    }
}

impl actix_web::body::MessageBody for Slices {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let length = self.0.len().min(SLICE);
        Poll::Ready((length > 0).then(|| Ok(self.0.split_to(length))))
    }
}
