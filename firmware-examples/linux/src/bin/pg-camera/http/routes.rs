//! Which address is served where.

use super::connection::Peer;
use super::security::Scope;
use super::{
    Context, Failure, Request, Response, cameras, events, health, live, metrics, moondream, openai, page,
};
use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};
use std::sync::Arc;

/// An address: its kind, with the names in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route<'a> {
    /// A file that is always the same.
    File,
    Login,
    Logout,
    Health,
    Livez,
    Readyz,
    Metrics,
    System,
    Cameras,
    Camera(&'a str),
    Config(&'a str),
    Snapshot(&'a str),
    Run(&'a str),
    Push(&'a str),
    Caption(&'a str),
    Detect(&'a str),
    Ask(&'a str),
    Stream(&'a str),
    Events,
    Event(&'a str),
    Picture(&'a str),
    Follow,
    Models,
    Props,
    Completions,
    MoondreamCaption,
    MoondreamQuery,
    MoondreamDetect,
    MoondreamPoint,
}

/// The route of a path.
fn find(path: &str) -> Option<Route<'_>> {
    use Route as R;
    let mut parts = [""; 5];
    let mut n = 0;
    for part in path.strip_prefix('/')?.split('/') {
        *parts.get_mut(n)? = part;
        n += 1;
    }
    Some(match &parts[..n] {
        ["" | "page.css" | "page.js" | "icon.svg" | "openapi.json"] => R::File,
        ["login"] => R::Login,
        ["logout"] => R::Logout,
        ["health"] => R::Health,
        ["livez"] => R::Livez,
        ["readyz"] => R::Readyz,
        ["metrics"] => R::Metrics,
        ["events"] => R::Follow,
        ["props"] => R::Props,
        ["api", "system"] => R::System,
        ["api", "cameras"] => R::Cameras,
        ["api", "cameras", name] => R::Camera(name),
        ["api", "cameras", name, "config"] => R::Config(name),
        ["api", "cameras", name, "snapshot.jpg"] => R::Snapshot(name),
        ["api", "cameras", name, "run"] => R::Run(name),
        ["api", "cameras", name, "picture"] => R::Push(name),
        ["api", "cameras", name, "caption"] => R::Caption(name),
        ["api", "cameras", name, "detect"] => R::Detect(name),
        ["api", "cameras", name, "ask"] => R::Ask(name),
        ["api", "events"] => R::Events,
        ["api", "events", seq] => R::Event(seq),
        ["api", "events", seq, "picture.jpg"] => R::Picture(seq),
        ["v1", "models"] => R::Models,
        ["v1", "chat", "completions"] => R::Completions,
        ["v1", "caption"] => R::MoondreamCaption,
        ["v1", "query"] => R::MoondreamQuery,
        ["v1", "detect"] => R::MoondreamDetect,
        ["v1", "point"] => R::MoondreamPoint,
        [name, "stream.mjpeg"] => R::Stream(name),
        _ => return None,
    })
}

/// What an address may be asked.
fn methods(route: Route<'_>) -> &'static [Method] {
    use Route as R;
    const GET: &[Method] = &[Method::GET, Method::HEAD];
    const POST: &[Method] = &[Method::POST];
    match route {
        R::Config(_) => &[Method::GET, Method::HEAD, Method::PUT],
        R::Login
        | R::Logout
        | R::Run(_)
        | R::Push(_)
        | R::Caption(_)
        | R::Detect(_)
        | R::Ask(_)
        | R::Completions => POST,
        R::MoondreamCaption | R::MoondreamQuery | R::MoondreamDetect | R::MoondreamPoint => POST,
        _ => GET,
    }
}

/// Answers a request that may be answered.
pub(super) async fn route(context: Arc<Context>, scope: Scope, peer: Peer, request: Request) -> Response {
    let path = request.uri().path().to_string();
    let Some(route) = find(&path) else {
        return Failure::not_found(format_args!("{path:.200?}")).into_response();
    };
    let allowed = methods(route);
    if !allowed.contains(request.method()) {
        let message = format!("{} is not possible here", request.method());
        let mut response = Failure::new(StatusCode::METHOD_NOT_ALLOWED, message).into_response();
        let names = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        if let Ok(names) = HeaderValue::from_str(&names) {
            response.headers_mut().insert(header::ALLOW, names);
        }
        return response;
    }
    answer(&context, scope, peer, route, request).await.unwrap_or_else(Failure::into_response)
}

async fn answer(
    context: &Arc<Context>,
    scope: Scope,
    peer: Peer,
    route: Route<'_>,
    request: Request,
) -> Result<Response, Failure> {
    use Route as R;
    match route {
        R::File => page::file(request.uri().path()).ok_or_else(|| Failure::not_found("such file")),
        R::Login => page::login(context, peer, request).await,
        R::Logout => Ok(page::logout(peer)),
        R::Health => health::health(context),
        R::Livez => health::alive(context),
        R::Readyz => health::ready(context),
        R::Metrics => Ok(metrics::show(context)),
        R::System => Ok(health::system(context, scope == Scope::Admin)),
        R::Cameras => Ok(cameras::list(context)),
        R::Camera(name) => cameras::show(context, name),
        R::Config(name) if request.method() == Method::PUT => cameras::change(context, name, request).await,
        R::Config(name) => cameras::config(context, name),
        R::Snapshot(name) => cameras::snapshot(context, name).await,
        R::Run(name) => cameras::run(context, name),
        R::Push(name) => cameras::push(context, name, request).await,
        R::Caption(name) => cameras::caption(context, name, request).await,
        R::Detect(name) => cameras::detect(context, name, request).await,
        R::Ask(name) => cameras::question(context, name, request).await,
        R::Stream(name) => live::watch(context, &cameras::find(context, name)?),
        R::Events => events::list(context, request.uri()),
        R::Event(seq) => events::show(context, seq),
        R::Picture(seq) => events::picture(context, seq),
        R::Follow => events::follow(context, &request),
        R::Models => Ok(openai::models(context)),
        R::Props => Ok(openai::props(context)),
        R::Completions => openai::complete(context, request).await,
        R::MoondreamCaption => moondream::caption(context, request).await,
        R::MoondreamQuery => moondream::query(context, request).await,
        R::MoondreamDetect => moondream::detect(context, request).await,
        R::MoondreamPoint => moondream::point(context, request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_they_should() {
        assert_eq!(find("/"), Some(Route::File));
        assert_eq!(find("/api/cameras/door/snapshot.jpg"), Some(Route::Snapshot("door")));
        assert_eq!(find("/door/stream.mjpeg"), Some(Route::Stream("door")));
        assert_eq!(find("/v1/chat/completions"), Some(Route::Completions));
        for path in
            ["", "x", "//", "/api", "/api/", "/api/cameras/a/b/c/d", "/v1", "/page.js/", "/a/b/c/d/e/f"]
        {
            assert_eq!(find(path), None, "{path}");
        }
    }

    #[test]
    fn every_address_in_the_description_is_served_and_the_other_way_round() {
        let text = include_str!("openapi.json");
        let described: serde_json::Value = serde_json::from_str(text).unwrap();
        let mut kinds = std::collections::BTreeSet::new();
        for (path, operations) in described["paths"].as_object().unwrap() {
            let route = find(path).unwrap_or_else(|| panic!("{path} leads nowhere"));
            kinds.insert(format!("{route:?}").split('(').next().unwrap().to_string());
            for method in operations.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                let method: Method = method.to_uppercase().parse().unwrap();
                assert!(methods(route).contains(&method), "{method} {path}");
            }
        }
        assert_eq!(kinds.len(), 29, "an address is missing in openapi.json: {kinds:?}");
    }
}
