//! Request bodies that the handler does not read to the end.
//!
//! Actix closes the connection after such a request, with one exception: when the receiver of a chunked body is
//! dropped, it keeps reading for as long as the client sends, without a deadline. So the receiver is kept alive as long
//! as the response. Invariant: a client that has not finished its body when the response ends loses the connection.

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

/// The receiver of a body, shared by the response and the code that reads the body.
#[derive(Clone)]
pub(crate) struct Receiver(Rc<RefCell<Payload>>);

/// Takes a handle to the receiver of a chunked body. Call it before anything reads the body.
pub(crate) fn keep(req: &mut ServiceRequest) -> Option<Receiver> {
    if !req.headers().contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    let receiver = Receiver(Rc::new(RefCell::new(req.take_payload())));
    req.set_payload(Payload::Stream { payload: Box::pin(receiver.clone()) });
    Some(receiver)
}

/// Keeps the receiver alive as long as the response.
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

/// A response body that owns the receiver of the request body.
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
