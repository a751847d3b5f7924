//! Generates the OpenAPI document from the handlers' annotations and the table of routes, and holds it against the
//! file.
//!
//! A program that generated it would carry its text as code, several times the size. So only the tests do.
//!
//! Invariant: access rules, and the errors that can occur before every handler, come from the table that enforces them,
//! so the document cannot contradict it.

use actix_web::http::Method;
use serde_json::json;
use utoipa::OpenApi as _;
use utoipa::openapi::example::{Example, ExampleBuilder};
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::schema::{AdditionalProperties, Object, Schema, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder, SecurityRequirement};

use super::codes::{self, ANY, BODY, CHANGE, KEY, QUERY};
use crate::domain::access_key::Scope;
use crate::http::api::{
    apps, audit, bluesky, completion, connect, health, integrations, links, platforms, profiles, selection, tokens,
};
use crate::http::error::{Code, ErrorBody};
use crate::http::pages;
use crate::http::routes::{Access, ROUTES, Route, Surface};

/// The name of the security scheme.
const ACCESS_KEY: &str = "accessKey";

/// The operation that takes a path and query of any length.
const CALLBACK: &str = "finishConnection";

/// The request id in examples.
const REQUEST_ID: &str = "req_019a1b2c3d4e7f809a1b2c3d4e5f6071";

/// Request bodies without additional members: their readers refuse unknown ones.
const CLOSED: [&str; 5] = ["AppChanges", "BlueskyCredentials", "Move", "NewLink", "SelectedAccounts"];

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "postpeer",
        description = "Connect social accounts by OAuth: send a person to a platform, get them back with an account \
            that you can use. Requests carry an access key in the header `x-access-key`. Every answer has an \
            `x-request-id`; every error is `{\"error\", \"code\", \"requestId\"}`, and the code never changes.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        apps::create, apps::delete, apps::get, apps::list, apps::update,
        audit::list,
        bluesky::connect,
        completion::complete,
        connect::begin,
        health::alive, health::check, health::check_key, health::ready,
        integrations::disconnect, integrations::get, integrations::list, integrations::relocate,
        links::create, links::get, links::revoke,
        pages::assets::get, pages::callback::finish, pages::confirmation::show, pages::confirmation::submit,
        pages::documentation::json, pages::documentation::page, pages::ending::result, pages::ending::retry, pages::link::show, pages::link::submit,
        pages::selection::show, pages::selection::submit,
        platforms::list,
        profiles::create, profiles::delete, profiles::get, profiles::list, profiles::update,
        selection::facebook::get, selection::facebook::submit,
        selection::googlebusiness::get, selection::googlebusiness::submit,
        selection::linkedin::get, selection::linkedin::submit,
        tokens::get,
    ),
    components(schemas(ErrorBody)),
    tags(
        (name = "Connect", description = "Connect accounts, and look after those that are connected."),
        (name = "Profiles", description = "Group connected accounts under a label."),
        (name = "Apps", description = "Connect under OAuth apps of your own instead of the operator's."),
        (name = "Platforms", description = "What can be connected here."),
        (name = "Audit", description = "See who changed what, and who was handed which token."),
        (name = "Health", description = "Whether it works."),
        (name = "Documentation", description = "This description."),
    ),
)]
struct Annotations;

fn document() -> OpenApi {
    let mut document = Annotations::openapi();
    if let Some(components) = &mut document.components {
        let description = "Made by `postpeer access-key create`; it belongs to one project and carries scopes. It may expire, work from some \
             networks only, or be bound to a profile: then it sees and changes nothing of other profiles, and no apps.";
        let key = ApiKeyValue::with_description("x-access-key", description);
        components.examples =
            Code::ALL.iter().map(|code| (code.as_str().to_owned(), RefOr::T(example(*code)))).collect();
        components.add_security_scheme(ACCESS_KEY, SecurityScheme::ApiKey(ApiKey::Header(key)));
        for name in CLOSED {
            if let Some(RefOr::T(Schema::Object(body))) = components.schemas.get_mut(name) {
                body.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
            }
        }
    }
    for route in ROUTES {
        let item = route.paths.first().and_then(|path| document.paths.paths.get_mut(*path));
        let operation = item.and_then(|item| match route.method {
            Method::DELETE => item.delete.as_mut(),
            Method::GET => item.get.as_mut(),
            Method::PATCH => item.patch.as_mut(),
            Method::POST => item.post.as_mut(),
            _ => None,
        });
        // A test compares the table with the document, so none is missing.
        if let Some(operation) = operation {
            describe_access(operation, route);
            describe_errors(operation, route);
            describe_codes(operation, route);
        }
    }
    document
}

fn describe_access(operation: &mut Operation, route: &Route) {
    let scopes = match route.access {
        Access::AnyKey => Vec::new(),
        Access::Key(scope) => vec![scope.into_str()],
        // The console is not part of the API.
        Access::Public | Access::Session(_) => return,
    };
    operation.security = Some(vec![SecurityRequirement::new(ACCESS_KEY, scopes)]);
}

/// Adds the errors of the middleware and the broker; the handler's own annotations take precedence.
fn describe_errors(operation: &mut Operation, route: &Route) {
    let own = codes::own(operation.operation_id.as_deref().unwrap_or_default());
    let is_for_whole_project = own.contains(&Code::KeyBoundToProfile);
    let mut add = |status: &str, description: &str| {
        let error = || match route.surface {
            Surface::Json => error(description),
            Surface::Console | Surface::Page => error_page(description),
        };
        operation.responses.responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(error()));
    };
    if let Access::Key(scope) = route.access {
        let bound = if is_for_whole_project { ", or is bound to a profile" } else { "" };
        let lacks = format!("The access key lacks the scope `{scope}`, or does not work from this address");
        add("403", &format!("{lacks}{bound}."));
    }
    if route.access != Access::Public {
        add("429", "Too many wrong keys from this address, or more than `[limits]` allows. See `Retry-After`.");
        add("403", "The access key does not work from this address.");
        add("401", "No access key, or one that is not valid or has expired.");
        add("500", "The broker failed.");
        add("503", "The broker has too much to do right now.");
        if stores(route) {
            add("507", "The broker's disk is full.");
        }
    }
    if operation.request_body.is_some() {
        add("408", "The body did not arrive in time.");
        add("413", "The body is larger than 64 KiB.");
        add("415", "The body is not announced as JSON.");
    }
    if operation.operation_id.as_deref() != Some(CALLBACK) {
        add("414", "The path and query are longer than 8 KiB.");
    }
}

/// Names the codes of each error: its examples.
fn describe_codes(operation: &mut Operation, route: &Route) {
    let own = codes::own(operation.operation_id.as_deref().unwrap_or_default());
    let codes: Vec<Code> = own.iter().copied().chain(common(operation, route)).collect();
    for code in codes {
        let response = operation.responses.responses.get_mut(code.status().as_str());
        let Some(RefOr::T(response)) = response else { continue };
        let Some(RefOr::T(content)) = response.content.get_mut("application/json") else { continue };
        let example = Ref::new(format!("#/components/examples/{}", code.as_str()));
        content.examples.insert(code.as_str().to_owned(), RefOr::Ref(example));
    }
}

/// The codes that can precede every handler of this kind, where the operation describes their status.
fn common(operation: &Operation, route: &Route) -> impl Iterator<Item = Code> {
    let parameters = operation.parameters.as_deref().unwrap_or_default();
    let is_query = |it: &RefOr<Parameter>| matches!(it, RefOr::T(it) if it.parameter_in == ParameterIn::Query);
    let asks_database = operation.responses.responses.contains_key("500");
    let groups = [
        parameters.iter().any(is_query).then_some(QUERY),
        operation.request_body.is_some().then_some(BODY),
        (route.access != Access::Public).then_some(KEY),
        Some(ANY),
        stores(route).then_some(CHANGE),
    ];
    // A route for any key asks for no scope, and one that asks nothing of the database has no 500 and is never busy.
    let has_scope = matches!(route.access, Access::Key(_));
    let is_given = move |code: &Code| match code {
        Code::InsufficientScope => has_scope,
        Code::Overloaded | Code::StorageUnavailable => asks_database,
        _ => true,
    };
    groups.into_iter().flatten().flat_map(|group| group.codes).copied().filter(is_given)
}

/// True for a route that writes before it answers.
fn stores(route: &Route) -> bool {
    route.method != Method::GET || (route.changes() && route.access == Access::Key(Scope::Connect))
}

/// An error with this code, and what the caller does about it.
fn example(code: Code) -> Example {
    let body = json!({"error": code.sentence(), "code": code.as_str(), "requestId": REQUEST_ID});
    ExampleBuilder::new().summary(code.advice()).value(Some(body)).build()
}

fn error(description: &str) -> Response {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("Error"))).build();
    ResponseBuilder::new().description(description).content("application/json", body).build()
}

/// An error for a person, who reads a page.
fn error_page(description: &str) -> Response {
    let body = ContentBuilder::new().schema(Some(Object::with_type(Type::String))).build();
    let description = format!("{}: a page.", description.trim_end_matches('.'));
    ResponseBuilder::new().description(description).content("text/html", body).build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use strum::VariantArray as _;

    use super::*;
    use crate::domain::audit::Action;
    use crate::http::api::links::Wanted as NewLink;
    use crate::http::openapi::DOCUMENT;
    use crate::http::request::{FORM_MAX, FromMembers as _, PASSWORD_FORM_MAX, fields};

    #[test]
    fn the_document_lists_every_route() {
        let document = serde_json::to_value(document()).unwrap();
        let documented: BTreeSet<(String, String)> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| {
                item.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone()))
            })
            .collect();
        let table: BTreeSet<(String, String)> =
            ROUTES.iter().map(|route| (route.method.to_string(), route.paths[0].to_owned())).collect();
        assert_eq!(documented, table);
    }

    /// Those of the whole broker are in no project's trail.
    #[test]
    fn the_document_names_every_action_of_a_projects_trail() {
        let document = serde_json::to_value(document()).unwrap();
        let action = &document["components"]["schemas"]["AuditEntry"]["properties"]["action"]["description"];
        let described: BTreeSet<&str> = action.as_str().unwrap().split('`').skip(1).step_by(2).collect();
        let actions = Action::VARIANTS.iter().map(|action| <&str>::from(*action));
        let of_projects = actions.filter(|name| !name.starts_with("backup.") && !name.starts_with("keyring."));
        assert_eq!(described, of_projects.collect());
    }

    /// Generated clients name their methods after the operation ids.
    #[test]
    fn operations_keep_their_names() {
        let document = serde_json::to_value(document()).unwrap();
        for (method, path, id) in [
            ("delete", "/v1/apps/{id}", "deleteApp"),
            ("delete", "/v1/connect/integrations/{id}", "disconnectIntegration"),
            ("delete", "/v1/profiles/{id}", "deleteProfile"),
            ("get", "/v1/apps/", "listApps"),
            ("get", "/v1/apps/{id}", "getApp"),
            ("get", "/v1/connect/integrations", "listIntegrations"),
            ("get", "/v1/connect/integrations/{id}", "getIntegration"),
            ("get", "/v1/connect/{platform}", "getOAuthUrl"),
            ("get", "/v1/connect/facebook/selection/{token}", "getFacebookSelection"),
            ("get", "/v1/connect/googlebusiness/selection/{token}", "getGoogleBusinessSelection"),
            ("get", "/v1/connect/linkedin/selection/{token}", "getLinkedInSelection"),
            ("get", "/v1/health", "healthCheck"),
            ("get", "/v1/health/auth", "healthCheckAuth"),
            ("get", "/v1/platforms", "listPlatforms"),
            ("get", "/v1/profiles/", "listProfiles"),
            ("get", "/v1/profiles/{id}", "getProfile"),
            ("patch", "/v1/apps/{id}", "updateApp"),
            ("patch", "/v1/connect/integrations/{id}", "moveIntegration"),
            ("patch", "/v1/profiles/{id}", "updateProfile"),
            ("post", "/v1/apps/", "createApp"),
            ("post", "/v1/connect/bluesky/auth", "connectBluesky"),
            ("post", "/v1/connect/facebook/selection/{token}", "submitFacebookSelection"),
            ("post", "/v1/connect/googlebusiness/selection/{token}", "submitGoogleBusinessSelection"),
            ("post", "/v1/connect/linkedin/selection/{token}", "submitLinkedInSelection"),
            ("post", "/v1/profiles/", "createProfile"),
        ] {
            assert_eq!(document["paths"][path][method]["operationId"], id, "{method} {path}");
        }
    }

    #[test]
    fn an_integration_has_the_members_that_callers_models_require() {
        let document = serde_json::to_value(document()).unwrap();
        let required: BTreeSet<&str> = document["components"]["schemas"]["Integration"]["required"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|name| name.as_str())
            .collect();
        let needed = "id platform platformUserId username displayName profileUrl imageUrl profileId appId app byok \
            authStatus authFailureReason createdAt";
        for name in needed.split(' ') {
            assert!(required.contains(name), "{name}");
        }
    }

    #[test]
    fn every_ending_of_a_connection_is_described() {
        let document = document().to_pretty_json().unwrap();
        for failure in crate::domain::failure::Failure::OF_CONNECTION {
            let code = failure.code();
            assert!(document.contains(&format!("`{code}`")), "src/http/api/connect.rs lacks {code}");
            assert!(include_str!("../../../README.md").contains(&format!("| `{code}` |")), "README.md lacks {code}");
        }
    }

    #[test]
    fn an_error_has_the_form_that_its_reader_is_given() {
        let document = serde_json::to_value(document()).unwrap();
        for route in ROUTES {
            let operation = &document["paths"][route.paths[0]][route.method.as_str().to_lowercase()];
            let form = if route.surface == Surface::Json { "application/json" } else { "text/html" };
            for (status, answer) in operation["responses"].as_object().unwrap() {
                let forms: Vec<&String> = answer["content"].as_object().into_iter().flatten().map(|it| it.0).collect();
                assert!(
                    status.as_str() < "400" || forms == [form],
                    "{} {:?}: {status} {forms:?}",
                    route.method,
                    route.paths
                );
            }
            let is_callback = operation["operationId"] == CALLBACK;
            assert_eq!(operation["responses"]["414"].is_object(), !is_callback, "{:?}", route.paths);
        }
        for (path, limit) in [
            ("/connect/confirm/{token}", FORM_MAX),
            ("/connect/link/{token}", PASSWORD_FORM_MAX),
            ("/v1/connect/links", NewLink::BODY_MAX),
            ("/v1/profiles/", 64 * 1024),
        ] {
            let told = document["paths"][path]["post"]["responses"]["413"]["description"].as_str().unwrap();
            assert!(told.contains(&format!("larger than {} KiB", limit / 1024)), "{path}: {told}");
        }
    }

    /// The characters in the first and the second class of a pattern, below U+10000: all but those that it names.
    fn is_in(class: &str, c: char) -> bool {
        let code = |digits: &str| u32::from_str_radix(&digits[..4], 16).unwrap();
        let named = class.split("\\u").skip(1).collect::<Vec<_>>();
        let mut ranges = named.iter().enumerate().map(|(at, text)| match at.checked_sub(1).map(|at| named[at]) {
            Some(first) if first.ends_with('-') => (code(first), code(text)),
            _ => (code(text), code(text)),
        });
        let is_space = class.contains("\\s") && c.is_whitespace();
        !is_space && !ranges.any(|(first, last)| (first..=last).contains(&u32::from(c)))
    }

    #[test]
    fn the_pattern_of_a_name_is_the_rule_for_names() {
        let document = serde_json::to_value(document()).unwrap();
        let pattern = |schema: &str| document["components"]["schemas"][schema]["properties"]["name"]["pattern"].clone();
        let of_app = pattern("NewApp");
        for schema in ["AppChanges", "NewProfile", "ProfileChanges"] {
            assert_eq!(pattern(schema), of_app, "{schema}");
        }
        let classes: Vec<&str> = of_app.as_str().unwrap().split("[^").skip(1).collect();
        let [around, visible, _] = classes[..] else { panic!("{classes:?}") };
        for c in (0..=0xffff).filter_map(char::from_u32) {
            assert_eq!(is_in(visible, c), fields::name(&c.to_string()).is_ok(), "{c:?} alone");
            assert_eq!(is_in(around, c), fields::name(&format!("a{c}")).is_ok(), "{c:?} behind a letter");
        }
    }

    /// Otherwise a caller is told that it can fail, and not how.
    #[test]
    fn every_error_names_its_codes() {
        let document = serde_json::to_value(document()).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                for (status, answer) in operation["responses"].as_object().unwrap() {
                    let content = &answer["content"]["application/json"];
                    if status.as_str() < "400" || content.is_null() {
                        continue;
                    }
                    let codes = content["examples"].as_object();
                    assert!(codes.is_some(), "{method} {path}: {status} has no code: see src/http/openapi/codes.rs");
                    for code in codes.into_iter().flatten().map(|(code, _)| code) {
                        let code = Code::ALL.iter().find(|known| known.as_str() == code).unwrap();
                        assert_eq!(code.status().as_str(), status, "{method} {path}: {}", code.as_str());
                    }
                }
                let id = operation["operationId"].as_str().unwrap();
                for code in codes::own(id) {
                    let answer = &operation["responses"][code.status().as_str()];
                    assert!(answer.is_object(), "{method} {path}: {} is not described", code.status());
                }
            }
        }
    }

    /// Shows every change of the API.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "insta's own switch, which writes this text as well")]
    fn the_file_is_what_the_annotations_say() {
        let generated = document().to_pretty_json().unwrap() + "\n";
        if generated == DOCUMENT {
            return;
        }
        let updates = std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always");
        assert!(
            updates,
            "src/http/openapi/document.json differs from the annotations: `INSTA_UPDATE=always cargo test --lib http::openapi` writes it"
        );
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/openapi/document.json"), generated)
            .unwrap();
    }
}
