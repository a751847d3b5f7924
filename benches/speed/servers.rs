//! Two servers in this process: the hello that everything is compared with, and a platform that answers at once.

use std::net::{SocketAddr, TcpListener};
use std::thread::available_parallelism;

use actix_web::http::header;
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};

/// Serves a bare hello, on as many threads as the broker has. Ends with the process.
pub(crate) fn hello() -> SocketAddr {
    serve(available_parallelism().map_or(1, usize::from).min(4), |app| {
        app.route("/", web::get().to(|| async { "hello" }));
    })
}

/// Serves a platform whose codes are its people: the code `ada` is exchanged for tokens of the account `ada`.
pub(crate) fn platform() -> SocketAddr {
    serve(1, |app| {
        app.route("/token", web::post().to(token)).route("/me", web::get().to(me));
    })
}

fn serve(workers: usize, configure: fn(&mut web::ServiceConfig)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let server = HttpServer::new(move || App::new().configure(configure)).workers(workers).disable_signals();
        actix_web::rt::System::new().block_on(server.listen(listener).unwrap().run()).unwrap();
    });
    address
}

async fn token(body: Bytes) -> HttpResponse {
    let body = std::str::from_utf8(&body).unwrap();
    let code = body.split('&').find_map(|pair| pair.strip_prefix("code=")).unwrap();
    HttpResponse::Ok().content_type("application/json").body(format!(
        r#"{{"access_token":"access-{code}","refresh_token":"refresh-{code}","token_type":"bearer","expires_in":7200}}"#
    ))
}

async fn me(request: HttpRequest) -> HttpResponse {
    let authorization = request.headers().get(header::AUTHORIZATION).unwrap().to_str().unwrap();
    let (_, name) = authorization.split_once("access-").unwrap();
    HttpResponse::Ok().content_type("application/json").body(format!(r#"{{"sub":"{name}","name":"New {name}"}}"#))
}
