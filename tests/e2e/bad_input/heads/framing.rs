//! Where a body begins and ends. What follows it must never be taken for another request.

use super::{Row, get, post};

pub(super) fn rows() -> Vec<Row> {
    let smuggled = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let chunked = "transfer-encoding: chunked\r\nconnection: close\r\n";
    let empty = "0\r\n\r\n";
    let both = |lines: &str| post(&format!("{lines}connection: close\r\n"), empty);
    let te = |value: &str| both(&format!("transfer-encoding: {value}\r\n"));
    let length = |value: &str| {
        post(
            &format!("content-length: {value}\r\nconnection: close\r\n"),
            "{}",
        )
    };
    vec![
        (
            "a length and chunks",
            both("content-length: 5\r\ntransfer-encoding: chunked\r\n"),
            &[400],
        ),
        (
            "chunks and a length",
            both("transfer-encoding: chunked\r\ncontent-length: 5\r\n"),
            &[400],
        ),
        (
            "chunks and no length to speak of",
            both("transfer-encoding: chunked\r\ncontent-length: 0\r\n"),
            &[400],
        ),
        (
            "a length hidden by chunks, with a request behind it",
            post(
                &format!(
                    "content-length: {}\r\ntransfer-encoding: chunked\r\n",
                    5 + smuggled.len()
                ),
                &format!("{empty}{smuggled}"),
            ),
            &[400],
        ),
        ("two lengths", length("2\r\ncontent-length: 3"), &[400]),
        ("a list of lengths", length("2, 3"), &[400]),
        ("a length with a sign", length("+2"), &[400]),
        ("a negative length", length("-2"), &[400]),
        ("a length in hexadecimal", length("0x2"), &[400]),
        ("a length with a fraction", length("2.0"), &[400]),
        ("no length", length(""), &[400]),
        (
            "a length beyond 64 bits",
            length("18446744073709551616"),
            &[400],
        ),
        (
            "the largest length",
            length("18446744073709551615"),
            &[400, 413, 431],
        ),
        ("an exabyte", length("1000000000000000000"), &[413]),
        ("chunked twice", te("chunked, chunked"), &[400]),
        ("chunked, then something", te("chunked, gzip"), &[400]),
        ("something alone", te("gzip"), &[400]),
        ("identity", te("identity"), &[400]),
        ("something, then chunked", te("x, chunked"), &[501]),
        ("a coding that others know", te("gzip, chunked"), &[501]),
        ("xchunked", te("xchunked"), &[400]),
        ("chunked with a tab before it", te("\u{b}chunked"), &[400]),
        ("chunked in quotes", te("\"chunked\""), &[400]),
        (
            "a blank before the colon of chunks",
            both("transfer-encoding : chunked\r\n"),
            &[400],
        ),
        (
            "chunks of HTTP/1.0",
            format!(
                "POST /v1/triton/clients HTTP/1.0\r\ncontent-type: application/json\r\n{chunked}\r\n{empty}"
            ),
            &[400],
        ),
        (
            "a chunk's size with a sign",
            post(chunked, "+2\r\n{}\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            "a chunk's size in words",
            post(chunked, "two\r\n{}\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            "a chunk's size beyond 64 bits",
            post(chunked, "10000000000000000\r\n{}"),
            &[400],
        ),
        (
            "a chunk of nearly 64 bits",
            post(chunked, "ffffffffffffffff\r\n{}"),
            &[400, 408, 413],
        ),
        (
            "a chunk without its end",
            post(chunked, "2\r\n{}0\r\n\r\n"),
            &[400],
        ),
        (
            "64 KiB after a chunk's size",
            post(chunked, &format!("2;{}\r\n", "x".repeat(64 * 1024))),
            &[400],
        ),
        (
            "64 KiB of trailers",
            post(
                chunked,
                &format!("0\r\nx: {}\r\n\r\n", "x".repeat(64 * 1024)),
            ),
            &[400],
        ),
        (
            "chunks that end in the middle",
            post(chunked, "5\r\n{\"na"),
            &[400, 408],
        ),
        ("a body that ends in the middle", length("200"), &[400, 408]),
        (
            "an unknown expectation",
            get("expect: a-miracle\r\n"),
            &[200, 417],
        ),
        (
            "an expectation, and a body that is too large",
            post(
                "content-length: 300000\r\nexpect: 100-continue\r\nconnection: close\r\n",
                "",
            ),
            &[413],
        ),
    ]
}
