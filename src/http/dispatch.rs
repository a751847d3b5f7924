//! Finds the route of a request in the table of [`routes`](super::routes), and calls it.
//!
//! Takes the place of actix's router, which tries a regular expression for each resource in turn. Here, a fixed path is
//! one look-up, and a path with a parameter is compared with the text around that parameter. Invariant: a path that is
//! not in the table is answered 404, a method that is not in the table 405.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{Service, ServiceFactory, ServiceRequest, ServiceResponse, always_ready};
use actix_web::http::{Method, header};
use actix_web::{Error, HttpResponse};
use futures_util::future::LocalBoxFuture;

use super::context::Context;
use super::error::{ApiError, Code};
use super::live::Live;
use super::meters::Meters;
use super::pages::{frame, see_other};
use super::routes::{CALLBACK, CONSOLE_FILES, CONSOLE_ROUTES, DEMO_ROUTES, ROUTES, Route, Surface};
use super::{Console, State, access, envelope};

/// Starts of the paths of pages, whose addresses people type.
const PEOPLE: [&str; 3] = ["/connect", CONSOLE, "/documentation"];
const CONSOLE: &str = "/console";

/// The resources of the table.
pub(crate) struct Resources {
    all: Vec<Resource>,
    /// Paths without a parameter, each with an index of `all`.
    fixed: HashMap<&'static str, usize>,
    /// Paths with a parameter, in the order of the table.
    open: Vec<OpenPath>,
}

/// The routes that share their paths.
struct Resource {
    routes: &'static [Route],
    /// Documented path.
    pattern: &'static str,
    /// Value of `Allow`.
    allow: String,
}

struct OpenPath {
    before: &'static str,
    parameter: &'static str,
    after: &'static str,
    resource: usize,
}

impl OpenPath {
    fn parse(path: &'static str, resource: usize) -> Option<Self> {
        let (before, rest) = path.split_once('{')?;
        let (parameter, after) = rest.split_once('}')?;
        Some(Self { before, parameter, after, resource })
    }

    /// Returns the parameter's value in `path`: one segment, never empty.
    fn value<'p>(&self, path: &'p str) -> Option<&'p str> {
        let value = path.strip_prefix(self.before)?.strip_suffix(self.after)?;
        (!value.is_empty() && !value.contains('/')).then_some(value)
    }
}

impl Resources {
    pub(crate) fn new(console: Console, demo: bool) -> Self {
        let (api, console) = match console {
            Console::Alone => (CONSOLE_FILES, CONSOLE_ROUTES),
            Console::Beside => (ROUTES, CONSOLE_ROUTES),
            Console::None => (ROUTES, &[][..]),
        };
        Self::of([api, console, if demo { DEMO_ROUTES } else { &[] }])
    }

    pub(super) fn of(tables: impl IntoIterator<Item = &'static [Route]>) -> Self {
        let mut resources = Self { all: Vec::new(), fixed: HashMap::new(), open: Vec::new() };
        for table in tables {
            for routes in table.chunk_by(|a, b| a.paths == b.paths) {
                resources.add(routes);
            }
        }
        resources
    }

    fn add(&mut self, routes: &'static [Route]) {
        let paths = routes.first().map_or(&[][..], |route| route.paths);
        let Some(pattern) = paths.first() else { return };
        let index = self.all.len();
        for path in paths {
            match OpenPath::parse(path, index) {
                Some(open) => self.open.push(open),
                None => {
                    self.fixed.insert(path, index);
                }
            }
        }
        let allow = routes.iter().flat_map(Route::methods).map(Method::as_str).collect::<Vec<_>>().join(", ");
        self.all.push(Resource { routes, pattern, allow });
    }

    /// Index of the path's resource, with name and value of the path's parameter.
    fn find<'p>(&self, path: &'p str) -> Option<(usize, Option<(&'static str, &'p str)>)> {
        if let Some(index) = self.fixed.get(path) {
            return Some((*index, None));
        }
        self.open.iter().find_map(|open| Some((open.resource, Some((open.parameter, open.value(path)?)))))
    }

    /// Who reads the answer to a request that reaches no handler.
    pub(super) fn surface(&self, path: &str) -> Surface {
        let found = self.find(path).and_then(|(index, _)| self.all.get(index)?.routes.first());
        let is_below =
            |start: &str| path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        match found {
            Some(route) => route.surface,
            None if is_below(CONSOLE) && self.fixed.contains_key(CONSOLE) => Surface::Console,
            None if PEOPLE.into_iter().any(is_below) || is_almost_callback(path) => Surface::Page,
            None => Surface::Json,
        }
    }

    /// The nearest path above that has a page.
    fn page_above<'p>(&self, path: &'p str) -> Option<&'p str> {
        let parents = std::iter::successors(Some(path), |path| path.rsplit_once('/').map(|(parent, _)| parent));
        let is_page = |path: &&str| {
            let routes = self.find(path).and_then(|(index, _)| self.all.get(index)).map(|resource| resource.routes);
            routes.into_iter().flatten().any(|route| route.method == Method::GET)
        };
        parents.skip(1).find(is_page)
    }

    /// Documented path of the path's resource.
    pub(crate) fn pattern(&self, path: &str) -> Option<&'static str> {
        let (index, _) = self.find(path)?;
        self.all.get(index).map(|resource| resource.pattern)
    }
}

/// True for a callback with a slash too many: what an operator may have registered at a platform.
fn is_almost_callback(path: &str) -> bool {
    path.strip_prefix("/v1/connect/").is_some_and(|rest| rest.trim_end_matches('/').ends_with("/callback"))
}

/// Builds the [`Dispatcher`] of a worker.
pub(super) struct Dispatch {
    pub(super) live: Live,
    pub(super) resources: Arc<Resources>,
}

impl ServiceFactory<ServiceRequest> for Dispatch {
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Config = ();
    type Service = Dispatcher;
    type InitError = ();
    type Future = LocalBoxFuture<'static, Result<Dispatcher, ()>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let (live, resources) = (self.live.clone(), self.resources.clone());
        Box::pin(async move {
            let mut handlers = Vec::new();
            for resource in &resources.all {
                let mut services = Vec::new();
                for route in resource.routes {
                    services.push(route.handler().new_service(()).await?);
                }
                handlers.push(services);
            }
            Ok(Dispatcher(Rc::new(Worker { live, resources, handlers, meters: Meters::default() })))
        })
    }
}

pub(super) type Handler = <actix_web::Route as ServiceFactory<ServiceRequest>>::Service;

/// The one service of the application.
pub(super) struct Dispatcher(Rc<Worker>);

struct Worker {
    live: Live,
    resources: Arc<Resources>,
    /// A list for each resource, with a handler for each of its routes.
    handlers: Vec<Vec<Handler>>,
    meters: Meters,
}

impl Worker {
    async fn answer(&self, state: &State, mut req: ServiceRequest) -> ServiceResponse<BoxBody> {
        match self.route(&mut req) {
            Ok((route, handler)) => access::guard(route, handler, state, req).await,
            Err(error) if error.code == Code::NotFound => self.miss(state, req),
            Err(error) => self.refuse_method(state, req, error),
        }
    }

    /// Answers where there is no route. Addresses that people type lead to the one without a final slash. A callback
    /// does not: its query carries a code.
    fn miss(&self, state: &State, req: ServiceRequest) -> ServiceResponse<BoxBody> {
        let sentence =
            format!("There is nothing at this path. {}/documentation lists what there is.", state.settings.public_url);
        let error = ApiError::with(Code::NotFound, sentence);
        let path = req.path().strip_prefix(state.settings.base_path()).unwrap_or(req.path());
        let surface = self.resources.surface(path);
        Context::add(&req, |context| {
            context.surface = surface;
            // No page repeats the query of a callback.
            context.pattern = is_almost_callback(path).then_some(CALLBACK);
        });
        let bare = path.strip_suffix('/').filter(|bare| {
            surface != Surface::Json
                && reads(&req)
                && self.resources.pattern(bare).is_some_and(|pattern| pattern != CALLBACK)
        });
        let Some((_, last)) = bare.and_then(|bare| bare.rsplit_once('/')) else { return req.error_response(error) };
        // A relative reference stays below the path of the public URL, and cannot leave this host.
        let query = req.uri().query().map_or_else(String::new, |query| format!("?{query}"));
        let location = format!("../{last}{query}");
        let answer = HttpResponse::PermanentRedirect().insert_header((header::LOCATION, location)).finish();
        req.into_response(answer)
    }

    /// Answers where the resource has other methods. A form of the console leaves its address in the address bar:
    /// whoever loads that again is sent to the page above.
    fn refuse_method(&self, state: &State, req: ServiceRequest, error: ApiError) -> ServiceResponse<BoxBody> {
        let path = req.match_info().as_str();
        let surface = self.resources.surface(path);
        Context::add(&req, |context| context.surface = surface);
        match self.resources.page_above(path).filter(|_| surface == Surface::Console && reads(&req)) {
            Some(page) => {
                let language = frame::chosen_language(req.request());
                let location = format!("{}{page}{language}", state.settings.base_path());
                req.into_response(see_other(location))
            }
            None => req.error_response(error),
        }
    }

    /// Notes resource and parameter in the request, and returns its route.
    fn route(&self, req: &mut ServiceRequest) -> Result<(&Route, &Handler), ApiError> {
        let unknown = || ApiError::new(Code::NotFound);
        let (index, parameter) = self.resources.find(req.match_info().as_str()).ok_or_else(unknown)?;
        let parameter = parameter.map(|(name, value)| (name, value.to_owned()));
        let resource = self.resources.all.get(index).ok_or_else(unknown)?;
        if let Some((name, value)) = parameter {
            req.match_info_mut().add_static(name, value);
        }
        Context::add(req, |context| context.pattern = Some(resource.pattern));
        let accepts = |route: &Route| route.methods().any(|method| method == req.method());
        let at = resource.routes.iter().position(accepts);
        at.and_then(|at| Some((resource.routes.get(at)?, self.handlers.get(index)?.get(at)?)))
            .ok_or_else(|| ApiError { allow: Some(resource.allow.clone()), ..ApiError::new(Code::MethodNotAllowed) })
    }
}

fn reads(req: &ServiceRequest) -> bool {
    [Method::GET, Method::HEAD].contains(req.method())
}

impl Service<ServiceRequest> for Dispatcher {
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    always_ready!();

    fn call(&self, req: ServiceRequest) -> Self::Future {
        let worker = self.0.clone();
        Box::pin(async move {
            let state = worker.live.get();
            Ok(envelope::envelope(&state, &worker.meters, req, async |req| worker.answer(&state, req).await).await)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_table_is_found() {
        let resources = Resources::new(Console::Beside, true);
        for route in ROUTES.iter().chain(CONSOLE_ROUTES).chain(DEMO_ROUTES) {
            for path in route.paths {
                assert!(path.matches('{').count() < 2, "{path}: no path has two parameters");
                let asked = path.split('/').map(|part| if part.starts_with('{') { "x%2Fy" } else { part });
                let asked = asked.collect::<Vec<_>>().join("/");
                let (_, parameter) = resources.find(&asked).unwrap();
                assert_eq!(resources.pattern(&asked), Some(route.paths[0]), "{asked}");
                assert_eq!(parameter.map(|(_, value)| value), path.contains('{').then_some("x%2Fy"), "{asked}");
            }
        }
    }

    #[test]
    fn what_reaches_no_handler_is_answered_for_who_asks_there() {
        let (with, without) = (Resources::new(Console::Beside, false), Resources::new(Console::None, false));
        for (path, surface) in [
            ("/connect", Surface::Page),
            ("/connect/link/x", Surface::Page),
            ("/connected", Surface::Json),
            ("/console/accounts/x/move", Surface::Console),
            ("/console/nope", Surface::Console),
            ("/documentation/json", Surface::Json),
            ("/documentation/nope", Surface::Page),
            ("/v1/connect/twitter", Surface::Json),
            ("/v1/connect/twitter/callback", Surface::Page),
            ("/v1/connect/twitter/callback/", Surface::Page),
            ("/v1/nope/callback", Surface::Json),
        ] {
            assert_eq!(with.surface(path), surface, "{path}");
        }
        assert_eq!(without.surface("/console/nope"), Surface::Page);
        assert_eq!(with.page_above("/console/accounts/a/move"), Some("/console/accounts/a"));
        assert_eq!(with.page_above("/console/keys/a/revoke"), Some("/console/keys"));
        assert_eq!(with.page_above("/console/sign-out"), Some("/console"));
        assert_eq!(with.page_above("/v1"), None);
    }

    #[test]
    fn a_parameter_is_one_segment() {
        let resources = Resources::new(Console::None, false);
        for path in [
            "",
            "/",
            "/demo/bluesky",
            "/console",
            "/v1/profiles//",
            "/v1/profiles/a/b",
            "/v1/profiles/a/",
            "/v1/connect//callback",
            "/v1/connect/a/b/callback",
            "/v1/connect/callback/",
            "/v1/connect/integrations//token",
            "/v1/connect/integrations/token/token/token",
            "/v1/health/",
            "/V1/health",
            "v1/health",
        ] {
            assert_eq!(resources.pattern(path), None, "{path}");
        }
        assert_eq!(resources.pattern("/v1/connect/integrations/token"), Some("/v1/connect/integrations/{id}"));
        assert_eq!(resources.pattern("/v1/connect/callback/callback"), Some("/v1/connect/{platform}/callback"));
        assert_eq!(resources.pattern("/v1/profiles"), Some("/v1/profiles/"));
    }
}
