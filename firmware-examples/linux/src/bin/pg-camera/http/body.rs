//! Bodies of requests, read within limits of size, time and memory; JSON in and out.

use super::stream::Body;
use super::{BODY_PIECE, Context, Failure, MAX_BODY, Request, Response};
use hyper::StatusCode;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// For the next piece of a body.
const PIECE_TIME: Duration = Duration::from_secs(10);
/// For all of a body: the largest comes through a link of a megabit a second.
const WHOLE_TIME: Duration = Duration::from_secs(120);
/// For reading what is refused anyway, so that its sender hears why.
const LINGER_TIME: Duration = Duration::from_secs(5);
/// Bytes of it.
const LINGER_BYTES: usize = 4 * MAX_BODY;

/// A request's body. What nobody has read of it when it is dropped is left to [`Rest`].
#[derive(Debug)]
pub(super) struct Unread {
    incoming: Option<Incoming>,
    left: Arc<Mutex<Option<Incoming>>>,
}

/// What becomes of the rest of a request's body: whoever is still sending hears the answer only if all is taken. If the
/// connection were closed on him, the system would throw the answer away.
#[derive(Debug)]
pub(super) struct Rest(Arc<Mutex<Option<Incoming>>>);

/// A request whose body may be left unread.
pub(super) fn keep_rest(request: hyper::Request<Incoming>) -> (Request, Rest) {
    let left = Arc::new(Mutex::new(None));
    (request.map(|body| Unread { incoming: Some(body), left: left.clone() }), Rest(left))
}

impl Drop for Unread {
    fn drop(&mut self) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = self.incoming.take();
    }
}

impl Rest {
    /// Reads what is left and drops it.
    pub(super) async fn pass_over(self) {
        let left = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut body) = left {
            let _ = tokio::time::timeout(LINGER_TIME, linger(&mut body)).await;
        }
    }
}

/// Something that came in a body, and the room that it takes while it is used.
#[derive(Debug)]
pub(super) struct Received<T> {
    pub(super) value: T,
    /// Held until the value and what was made of it are done with.
    pub(super) room: OwnedSemaphorePermit,
}

/// Reads JSON.
///
/// # Errors
/// 400 if it is no JSON, 408 if it comes too slowly, 413 if it is too large, 415 if it is called something else, 422 if it
/// is other JSON than expected, 503 if too much is being read already.
pub(super) async fn receive<T: DeserializeOwned>(
    context: &Context,
    request: Request,
) -> Result<Received<T>, Failure> {
    let Received { value: bytes, room } = receive_bytes(context, request, &["application/json"]).await?;
    let value = serde_json::from_slice(&bytes).map_err(|e| match e.classify() {
        Category::Data => Failure::new(StatusCode::UNPROCESSABLE_ENTITY, e.to_string()),
        _ => Failure::new(StatusCode::BAD_REQUEST, format!("the body is no JSON: {e}")),
    })?;
    Ok(Received { value, room })
}

/// Reads bytes of one of these types.
///
/// # Errors
/// 408, 413, 415 and 503 as [`receive`].
pub(super) async fn receive_bytes(
    context: &Context,
    request: Request,
    types: &[&str],
) -> Result<Received<Vec<u8>>, Failure> {
    check_type(request.headers(), types)?;
    let mut body = request.into_body();
    let Some(incoming) = &mut body.incoming else { return Err(broken()) };
    let (value, room) = read(context, incoming).await?;
    Ok(Received { value, room })
}

fn check_type(headers: &HeaderMap, types: &[&str]) -> Result<(), Failure> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if types.iter().any(|t| essence.eq_ignore_ascii_case(t)) {
        return Ok(());
    }
    let message = format!("the body is {kind:.60?}: send {}", types.join(" or "));
    Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

async fn read(context: &Context, body: &mut Incoming) -> Result<(Vec<u8>, OwnedSemaphorePermit), Failure> {
    let too_large = || {
        let message = format!("the body is larger than {} MB: send a smaller picture", MAX_BODY >> 20);
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    let announced = body.size_hint().upper();
    if announced.is_some_and(|n| n > MAX_BODY as u64) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let mut room = take_room(context, announced.unwrap_or(0) as usize)?;
    let all = async {
        while let Some(piece) = piece(body).await? {
            if bytes.len() + piece.len() > MAX_BODY {
                return Err(too_large());
            }
            bytes.extend_from_slice(&piece);
            let missing = bytes.len().saturating_sub(room.num_permits() * BODY_PIECE);
            if missing > 0 {
                room.merge(take_room(context, missing)?);
            }
        }
        Ok(())
    };
    tokio::time::timeout(WHOLE_TIME, all).await.unwrap_or_else(|_| Err(too_slow()))?;
    Ok((bytes, room))
}

fn take_room(context: &Context, bytes: usize) -> Result<OwnedSemaphorePermit, Failure> {
    let pieces = bytes.div_ceil(BODY_PIECE) as u32;
    context
        .body_room
        .clone()
        .try_acquire_many_owned(pieces)
        .map_err(|_| Failure::later("too many large requests at a time", Duration::from_secs(2)))
}

fn too_slow() -> Failure {
    Failure::new(StatusCode::REQUEST_TIMEOUT, "the body comes too slowly")
}

/// The next piece of a body; none at its end.
async fn piece(body: &mut Incoming) -> Result<Option<Bytes>, Failure> {
    loop {
        let next = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
        match tokio::time::timeout(PIECE_TIME, next).await.map_err(|_| too_slow())? {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(_)) => return Err(broken()),
        }
    }
}

fn broken() -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "the body ends before it is complete")
}

/// Reads the rest of a body and drops it.
async fn linger(body: &mut Incoming) {
    let mut n = 0;
    while n < LINGER_BYTES {
        match piece(body).await {
            Ok(Some(piece)) => n += piece.len(),
            _ => return,
        }
    }
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => typed(status, "application/json", bytes),
        // Nothing that is answered has keys that are no text.
        Err(e) => typed(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", e.to_string()),
    }
}

/// An answer of this type.
pub(super) fn typed(status: StatusCode, kind: &'static str, bytes: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::Whole(Some(bytes.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
