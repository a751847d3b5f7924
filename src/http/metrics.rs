//! The Prometheus endpoint: one path on a separate listener, so that the broker's reverse proxy cannot expose it.
//!
//! Knows nothing of the broker. Invariant: every response has the security headers of [`envelope`], and repeats nothing
//! that a client sent. Requests to this endpoint are not counted, because only Prometheus makes them.

use std::future::ready;
use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, ContentType, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse};

use super::error::Code;
use super::request::unread;
use super::{envelope, refusal};

/// The text format; 0.0.4 is its only version.
const TEXT_FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Renders the metrics in Prometheus' text format.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// Builds the application.
pub fn app(
    render: Render,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    App::new()
        .app_data(Data::new(render))
        .service(
            web::resource("/metrics")
                .route(web::get().to(show))
                .route(web::head().to(show))
                .default_service(web::to(|| ready(refuse_method()))),
        )
        .default_service(web::to(|| ready(not_found())))
        .wrap(from_fn(dress))
}

async fn show(render: Data<Render>) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, TEXT_FORMAT)).body(render())
}

fn refuse_method() -> HttpResponse {
    HttpResponse::MethodNotAllowed()
        .insert_header((header::ALLOW, "GET, HEAD"))
        .insert_header(ContentType::plaintext())
        .body("The metrics are read with GET.\n")
}

fn not_found() -> HttpResponse {
    HttpResponse::NotFound().insert_header(ContentType::plaintext()).body("There is nothing here but /metrics.\n")
}

/// Writes the answer to a request that is not read.
#[must_use]
pub fn refusal(code: Code) -> Vec<u8> {
    refusal::write(code.status(), None, "text/plain; charset=utf-8", &format!("{}\n", code.sentence()), false)
}

async fn dress(
    mut req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let receiver = unread::keep(&mut req);
    let is_head = req.method() == Method::HEAD;
    let mut res = next.call(req).await?.map_into_boxed_body();
    envelope::dress(res.headers_mut(), false);
    if is_head {
        res = envelope::without_body(res);
    }
    Ok(unread::keep_beside(res, receiver))
}
