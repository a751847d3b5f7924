//! Fields of the console's forms, under the rules of the API.

use super::view::View;
use crate::domain::secret::SecretString;
use crate::http::error::ApiError;
use crate::http::request::fields::{self, Rule};
use crate::http::request::{Form, FromQuery, Query};

/// A text that must be there.
pub(super) fn required(form: &Form, name: &'static str, rule: Rule) -> Result<String, ApiError> {
    let text = form.fields().text(name)?.unwrap_or_default();
    let text = text.trim().to_owned();
    rule(&text).map_err(|what| fields::invalid(name, &what))?;
    Ok(text)
}

/// A text in one line that may be left empty.
pub(super) fn given(form: &Form, name: &'static str) -> Result<Option<String>, ApiError> {
    let text = form.fields().text(name)?.map(|text| text.trim().to_owned());
    Ok(text.filter(|text| !text.is_empty()))
}

/// The profile that is named by its id, or else chosen from the list.
pub(super) fn profile(form: &Form) -> Result<Option<String>, ApiError> {
    Ok(given(form, "other")?.or(given(form, "profile")?))
}

/// A text of several lines that may be left empty, exactly as it was typed.
pub(super) fn optional(form: &Form, name: &'static str, rule: Rule) -> Result<Option<String>, ApiError> {
    let text = form.fields().text(name)?.unwrap_or_default();
    if text.trim().is_empty() {
        return Ok(None);
    }
    // Browsers send a line break as two characters.
    let text = text.replace("\r\n", "\n");
    rule(&text).map_err(|what| fields::invalid(name, &what))?;
    Ok(Some(text))
}

/// A client secret.
pub(super) fn secret(form: &Form, name: &'static str) -> Result<SecretString, ApiError> {
    required(form, name, fields::credential).map(SecretString::from)
}

/// A page of a list that can be narrowed by name.
#[derive(Debug)]
pub(crate) struct Paged {
    pub(crate) name: String,
    /// From 1.
    pub(crate) page: u64,
}

/// Rows on a page of a list.
pub(super) const ROWS: u32 = 25;

impl Default for Paged {
    fn default() -> Self {
        Self { name: String::new(), page: 1 }
    }
}

impl FromQuery for Paged {
    fn from_query(query: &Query) -> Result<Self, ApiError> {
        let name = query.text_if_readable("name").unwrap_or_default();
        let page = query.text_if_readable("page").and_then(|page| page.parse().ok()).unwrap_or(1);
        Ok(Self { name: name.trim().chars().take(200).collect(), page: page.clamp(1, u64::from(u32::MAX)) })
    }
}

impl Paged {
    pub(super) fn name(&self) -> Option<String> {
        Some(self.name.clone()).filter(|name| !name.is_empty())
    }

    pub(super) fn window(&self) -> crate::domain::paging::Window {
        crate::domain::paging::Window { limit: ROWS, offset: (self.page - 1) * u64::from(ROWS) }
    }

    /// The address of the next page; `None` on the last one.
    pub(super) fn next(&self, at: &View<'_>, path: &str, total: u64) -> Option<String> {
        let next = (self.page + 1).to_string();
        let has_more = self.page * u64::from(ROWS) < total;
        has_more.then(|| at.with(path, &[("name", &self.name), ("page", &next)]))
    }
}
