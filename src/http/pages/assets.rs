//! `/assets/{file}`: logos and icons of the pages.
//!
//! Invariant: a logo comes from the operator and an SVG may hold script, so each is served as a picture that may do
//! nothing, even when someone opens its address.

use actix_web::HttpResponse;
use actix_web::http::header;

use crate::http::Current;
use crate::http::error::{ApiError, Code};
use crate::http::request::Segment;

/// A page's picture
///
/// The logo that the operator configured, and the icon. The name carries the digest of the content.
#[utoipa::path(get, path = "/assets/{file}", operation_id = "getPagePicture", tag = "Documentation",
    params(("file" = String, Path, description = "The file's name, as the pages have it.")),
    responses(
        (status = 200, description = "The picture. It never changes.", body = Vec<u8>, content_type = "image/svg+xml"),
        (status = 404, description = "There is no such picture.", body = crate::http::error::ErrorBody),
    ))]
pub(crate) async fn get(state: Current, Segment(name): Segment) -> Result<HttpResponse, ApiError> {
    let file = state.looks.file(&name).ok_or_else(|| ApiError::new(Code::NotFound))?;
    Ok(HttpResponse::Ok()
        .content_type(file.content_type)
        .insert_header((header::CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .insert_header((header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; sandbox"))
        .body(file.bytes.clone()))
}
