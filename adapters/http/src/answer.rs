//! Answers made of JSON that is text already: records as the store or the job service gave them are
//! put side by side, never parsed and written again.

use std::collections::HashMap;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use conch_domain::{Job, JobId};
use conch_ports::Paging;
use conch_wire::job;
use http::{HeaderValue, StatusCode, header};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// 200 with JSON text.
pub(crate) fn json(text: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(text.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// The same with another status.
pub(crate) fn json_with(status: StatusCode, text: impl Into<Bytes>) -> Response {
    let mut response = json(text);
    *response.status_mut() = status;
    response
}

/// As [`json_with`], saying where the new record is: `prefix` and an id, which needs no escaping.
pub(crate) fn located(
    status: StatusCode,
    prefix: &str,
    id: &str,
    text: impl Into<Bytes>,
) -> Response {
    let location = HeaderValue::from_str(&format!("{prefix}/{id}"))
        .expect("ids are made of letters, digits, `_` and `-`");
    ([(header::LOCATION, location)], json_with(status, text)).into_response()
}

/// 200 `{"total": …, "page": …, "page_size": …, "<name>": […]}`.
pub(crate) fn page(name: &str, total: u64, paging: Paging, items: &[Bytes]) -> Response {
    let Paging { page, page_size } = paging;
    let mut text = BytesMut::with_capacity(64 + name.len() + size(items));
    text.put_slice(
        format!(r#"{{"total":{total},"page":{page},"page_size":{page_size},"{name}":"#).as_bytes(),
    );
    put_array(&mut text, items);
    text.put_u8(b'}');
    json(text.freeze())
}

/// 200 `[…]`.
pub(crate) fn list(items: &[Bytes]) -> Response {
    let mut text = BytesMut::with_capacity(size(items));
    put_array(&mut text, items);
    json(text.freeze())
}

/// `{…, "<name>": <value>}`: an object that is not empty, with one more field.
pub(crate) fn with_field(object: &[u8], name: &str, value: &[u8]) -> Bytes {
    let open = object.trim_ascii_end();
    let open = open.strip_suffix(b"}").unwrap_or(open);
    let mut text = BytesMut::with_capacity(open.len() + name.len() + value.len() + 8);
    text.put_slice(open);
    text.put_slice(format!(r#","{name}":"#).as_bytes());
    text.put_slice(value);
    text.put_u8(b'}');
    text.freeze()
}

/// The job object, with its place in the queue where that is known.
pub(crate) fn placed(job: &Job, places: &HashMap<JobId, u64>) -> Bytes {
    let object = job::encode(job);
    match places.get(&job.id) {
        Some(place) => at_place(&object, *place),
        None => object,
    }
}

/// The job object with its place in the queue, 1 = next.
pub(crate) fn at_place(object: &[u8], place: u64) -> Bytes {
    with_field(object, "queue_position", place.to_string().as_bytes())
}

/// 200 `{…, "<name>": […]}`: an object that is not empty, with one more field.
pub(crate) fn object_and_list(object: &[u8], name: &str, items: &[Bytes]) -> Response {
    let open = object.trim_ascii_end();
    let open = open.strip_suffix(b"}").unwrap_or(open);
    let mut text = BytesMut::with_capacity(open.len() + name.len() + 8 + size(items));
    text.put_slice(open);
    text.put_slice(format!(r#","{name}":"#).as_bytes());
    put_array(&mut text, items);
    text.put_u8(b'}');
    json(text.freeze())
}

/// Bytes that an array of the items takes.
fn size(items: &[Bytes]) -> usize {
    2 + items.iter().map(|item| item.len() + 1).sum::<usize>()
}

fn put_array(text: &mut BytesMut, items: &[Bytes]) {
    text.put_u8(b'[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            text.put_u8(b',');
        }
        text.put_slice(item);
    }
    text.put_u8(b']');
}
