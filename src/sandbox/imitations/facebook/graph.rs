//! The nodes and edges of Facebook's Graph API that lead to Pages.
//!
//! Lists come in parts with a cursor, and `paging.next` is a whole URL with the access token in it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::super::select;
use super::pages::{self, BUSINESSES, Page, Place};
use super::token::{self, caller, of_a_person};
use super::visible;
use crate::sandbox::answer::{Reply, without_nulls};
use crate::sandbox::call::{Call, Fields};
use crate::sandbox::desk::Desk;
use crate::sandbox::problem::Problem;
use crate::sandbox::world::{Grant, Token};

/// Entries of a list without a `limit`.
const USUAL: usize = 25;
/// Most entries of a list, whatever `limit` says.
const MOST: usize = 100;

const PERSON: [&str; 4] = ["email", "id", "name", "picture"];
const PAGE: [&str; 10] =
    ["about", "access_token", "category", "fan_count", "id", "link", "name", "picture", "tasks", "username"];

/// The names in `fields`, without their modifiers (`picture.type(large)`, `picture{url}`).
fn names<'a>(fields: Fields<'a>, known: &[&str], otherwise: &'static str) -> Result<Vec<&'a str>, Problem> {
    let text: &'a str = fields.find("fields").unwrap_or(otherwise);
    let mut depth = 0_i32;
    let mut names = Vec::new();
    for part in text.split(|c| {
        match c {
            '(' | '{' => depth += 1,
            ')' | '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    }) {
        let name = part.split(['.', '{', '(']).next().unwrap_or_default();
        if !known.contains(&name) {
            return Err(Problem::Parameter(format!("Tried accessing nonexisting field ({name})")));
        }
        names.push(name);
    }
    names.push("id");
    Ok(names)
}

/// The person, or the Page with a Page's token.
pub(super) fn me(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let fields = call.query(&[], &["access_token", "fields"])?;
    let (_, token, grant) = caller(desk, call)?;
    if let Some(id) = &token.page {
        let page = find(&grant, id)?;
        let names = names(fields, &PAGE, "id,name")?;
        return Ok(Reply::json(200, &node(desk, &token, &grant, &page, &names, true)));
    }
    let names = names(fields, &PERSON, "id,name")?;
    let person = json!({
        "id": grant.persona.user_id,
        "name": grant.persona.name,
        "picture": picture(&desk.picture(&grant)),
        "email": grant.has("email").then(|| grant.persona.email()),
    });
    Ok(Reply::json(200, &select(&person, &names)))
}

pub(super) fn accounts(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    listed(desk, call, "accounts", |page| page.place == Place::Own)
}

pub(super) fn owned(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let business = business(desk, call)?;
    listed(desk, call, "owned_pages", |page| page.place == Place::Owned(business))
}

pub(super) fn clients(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let business = business(desk, call)?;
    listed(desk, call, "client_pages", |page| page.place == Place::Client(business))
}

pub(super) fn businesses(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let fields = call.query(&[], &["access_token", "after", "fields", "limit"])?;
    let (value, token, grant) = caller(desk, call)?;
    of_a_person(&token, "businesses")?;
    of_businesses(&grant)?;
    let names = names(fields, &["id", "name"], "id,name")?;
    let all: Vec<Value> =
        of_person(&grant).map(|(id, name)| select(&json!({"id": id, "name": name}), &names)).collect();
    let window = Window::new(desk, call, fields, &value, all.len())?;
    let data: Vec<Value> = window.of(&all).cloned().collect();
    Ok(window.answer(&data))
}

/// A Page by its id.
pub(super) fn page(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let fields = call.query(&[], &["access_token", "fields"])?;
    let (_, token, grant) = caller(desk, call)?;
    let page = find(&grant, segment(call, 2))?;
    if token.page.as_ref().is_some_and(|own| *own != page.id) {
        return Err(Problem::Scope("pages_read_engagement or Page Public Content Access".to_owned()));
    }
    let names = names(fields, &PAGE, "id,name")?;
    Ok(Reply::json(200, &node(desk, &token, &grant, &page, &names, true)))
}

fn segment(call: &Call, at: usize) -> &str {
    call.path.split('/').nth(at).unwrap_or_default()
}

fn no_such(id: &str) -> Problem {
    Problem::Parameter(format!(
        "Unsupported get request. Object with ID '{id}' does not exist, cannot be loaded due to missing permissions, or does not support this operation"
    ))
}

fn find(grant: &Grant, id: &str) -> Result<Page, Problem> {
    visible(grant).into_iter().find(|page| page.id == id).ok_or_else(|| no_such(id))
}

fn of_businesses(grant: &Grant) -> Result<(), Problem> {
    if grant.has("business_management") { Ok(()) } else { Err(Problem::Scope("business_management".to_owned())) }
}

/// A person's businesses: those in which they have Pages.
fn of_person(grant: &Grant) -> impl Iterator<Item = (&'static str, &'static str)> {
    let has = pages::of(grant.persona).iter().any(|page| page.place != Place::Own);
    BUSINESSES.iter().copied().filter(move |_| has)
}

fn business(desk: &Desk<'_>, call: &Call) -> Result<&'static str, Problem> {
    let (_, _, grant) = caller(desk, call)?;
    of_businesses(&grant)?;
    let id = segment(call, 2);
    of_person(&grant).map(|(known, _)| known).find(|known| *known == id).ok_or_else(|| no_such(id))
}

/// An edge that lists Pages.
fn listed(desk: &mut Desk<'_>, call: &Call, edge: &str, here: impl Fn(&Page) -> bool) -> Result<Reply, Problem> {
    let fields = call.query(&[], &["access_token", "after", "fields", "limit"])?;
    let (value, token, grant) = caller(desk, call)?;
    of_a_person(&token, edge)?;
    let names = names(fields, &PAGE, "access_token,category,name,id,tasks")?;
    // Without the permission the list is empty, and nothing says why.
    let may = grant.has("pages_show_list");
    let pages: Vec<Page> = visible(&grant).into_iter().filter(|page| may && here(page)).collect();
    let window = Window::new(desk, call, fields, &value, pages.len())?;
    let data: Vec<Value> = window.of(&pages).map(|page| node(desk, &token, &grant, page, &names, false)).collect();
    Ok(window.answer(&data))
}

/// The requested part of a list.
struct Window {
    from: usize,
    limit: usize,
    /// The members `cursors` and `next`.
    paging: Value,
}

impl Window {
    fn new(desk: &Desk<'_>, call: &Call, fields: Fields<'_>, token: &str, total: usize) -> Result<Self, Problem> {
        let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number > 0);
        let limit = match fields.find("limit") {
            Some(text) => number(text).ok_or_else(|| Problem::Parameter(format!("limit is no number: {text}")))?,
            None => USUAL,
        };
        let limit = limit.min(MOST);
        let from = match fields.find("after") {
            Some(cursor) => position(cursor).ok_or_else(|| Problem::Parameter(format!("Invalid cursor: {cursor}")))?,
            None => 0,
        };
        let end = (from + limit).min(total);
        let next = (end < total).then(|| {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("access_token", token);
            query.extend_pairs(fields.find("fields").map(|names| ("fields", names)));
            query.append_pair("limit", &limit.to_string()).append_pair("after", &cursor(end));
            format!("{}/facebook{}?{}", desk.world.base_url, call.path, query.finish())
        });
        let paging = json!({"cursors": {"before": cursor(from), "after": cursor(end)}, "next": next});
        Ok(Self { from, limit, paging: without_nulls(paging) })
    }

    fn of<'a, T>(&self, all: &'a [T]) -> impl Iterator<Item = &'a T> + use<'a, T> {
        all.iter().skip(self.from).take(self.limit)
    }

    fn answer(&self, data: &[Value]) -> Reply {
        if data.is_empty() {
            return Reply::json(200, &json!({"data": []}));
        }
        Reply::json(200, &json!({"data": data, "paging": self.paging}))
    }
}

fn cursor(position: usize) -> String {
    URL_SAFE_NO_PAD.encode(format!("QVFIU:{position}"))
}

fn position(cursor: &str) -> Option<usize> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    text.strip_prefix("QVFIU:")?.parse().ok()
}

fn picture(url: &str) -> Value {
    json!({"data": {"height": 96, "is_silhouette": false, "url": url, "width": 96}})
}

/// A Page with the requested fields; `asked_alone`: not in a list.
fn node(desk: &mut Desk<'_>, by: &Token, grant: &Grant, page: &Page, names: &[&str], asked_alone: bool) -> Value {
    let gives = match page.token {
        pages::Token::Listed => true,
        pages::Token::Never => false,
        pages::Token::OnRequest => asked_alone,
    };
    let is_asked = gives && names.contains(&"access_token");
    let node = json!({
        "about": "",
        "access_token": is_asked.then(|| token::of_page(desk, by, grant, page)),
        "category": "Brand",
        "fan_count": 3,
        "id": page.id,
        "link": format!("https://www.facebook.com/{}", page.id),
        "name": page.name,
        "picture": page.has_picture.then(|| picture(&desk.picture(grant))),
        "tasks": page.tasks,
        "username": page.username,
    });
    select(&node, names)
}
