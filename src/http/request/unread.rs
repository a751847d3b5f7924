//! Request bodies that nobody reads to their end.
//!
//! Actix closes the connection after such a request, but for a chunked body whose receiver is gone: that it reads on, for
//! as long as the client cares to send, without any deadline. So the receiver of a chunked body lives here, as long as
//! the answer does. Invariant: whoever does not finish a body within the answer's time loses the connection.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::HttpMessage as _;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::header;
use actix_web::web::Bytes;
use futures_util::Stream;

/// A body's receiver, shared between whoever reads the body and the answer.
#[derive(Clone)]
pub(crate) struct Receiver(Rc<RefCell<Payload>>);

/// Keeps the receiver of a chunked body; to be called before anything reads it.
pub(crate) fn keep(req: &mut ServiceRequest) -> Option<Receiver> {
    if !req.headers().contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    let receiver = Receiver(Rc::new(RefCell::new(req.take_payload())));
    req.set_payload(Payload::Stream { payload: Box::pin(receiver.clone()) });
    Some(receiver)
}

/// The answer, with the receiver for as long as it lives.
pub(crate) fn keep_beside(res: ServiceResponse<BoxBody>, receiver: Option<Receiver>) -> ServiceResponse<BoxBody> {
    match receiver {
        Some(receiver) => res.map_body(|_, body| BoxBody::new(Beside { body, _receiver: receiver })),
        None => res,
    }
}

impl Stream for Receiver {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(context)
    }
}

/// An answer's body that keeps the request's.
struct Beside {
    body: BoxBody,
    _receiver: Receiver,
}

impl MessageBody for Beside {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
