//! First lines and headers, with the statuses that each may be answered with.

use super::{CLOSE, GET, NOTHING, Row, get};

pub(super) fn first() -> Vec<Row> {
    let line = |first: &str| format!("{first}\r\nhost: localhost\r\n{CLOSE}");
    vec![
        ("as it should be", get(""), &[200]),
        ("HTTP/1.0", line("GET /livez HTTP/1.0"), &[200]),
        (
            "HTTP/1.0 without a host",
            "GET /livez HTTP/1.0\r\n\r\n".into(),
            &[200],
        ),
        ("HTTP/0.9", "GET /livez\r\n".into(), &[NOTHING, 400]),
        ("HTTP/0.9 with headers", line("GET /livez"), &[400]),
        ("HTTP/1.2", line("GET /livez HTTP/1.2"), &[400, 505]),
        ("HTTP/2.0", line("GET /livez HTTP/2.0"), &[400, 505]),
        ("http/1.1", line("GET /livez http/1.1"), &[400]),
        ("HTTP/1.1x", line("GET /livez HTTP/1.1x"), &[400]),
        (
            "the preface of HTTP/2",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".into(),
            &[NOTHING, 400, 505],
        ),
        (
            "TLS",
            "\u{16}\u{3}\u{1}\u{2}\0\u{1}\r\n\r\n".into(),
            &[NOTHING, 400],
        ),
        ("SSH", "SSH-2.0-OpenSSH_9.9\r\n\r\n".into(), &[400]),
        ("RESP", "*1\r\n$4\r\nPING\r\n\r\n".into(), &[400]),
        (
            "an answer",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into(),
            &[400],
        ),
        ("NULs", "\0\0\0\0\r\n\r\n".into(), &[NOTHING, 400]),
        (
            "an absolute form",
            line("GET http://localhost/livez HTTP/1.1"),
            &[200],
        ),
        (
            "an absolute form of another host than the header's",
            line("GET http://a/livez HTTP/1.1"),
            &[421],
        ),
        (
            "an absolute form of a host that isn't local, in both",
            format!("GET http://a.example/livez HTTP/1.1\r\nhost: a.example\r\n{CLOSE}"),
            &[421],
        ),
        (
            "an absolute form elsewhere",
            line("GET http://169.254.169.254/latest/meta-data HTTP/1.1"),
            &[421],
        ),
        (
            "an absolute form of FTP",
            line("GET ftp://a/livez HTTP/1.1"),
            &[421],
        ),
        ("CONNECT", line("CONNECT a:443 HTTP/1.1"), &[400, 404, 405]),
        (
            "CONNECT to a path",
            line("CONNECT /livez HTTP/1.1"),
            &[400, 404, 405],
        ),
        ("OPTIONS *", line("OPTIONS * HTTP/1.1"), &[200, 400, 404]),
        ("GET *", line("GET * HTTP/1.1"), &[400, 404]),
        ("TRACE", line("TRACE /livez HTTP/1.1"), &[405]),
        ("a made-up method", line("BREW /livez HTTP/1.1"), &[405]),
        (
            "a method in lower case",
            line("get /livez HTTP/1.1"),
            &[405],
        ),
        ("a method of brackets", line("G(T /livez HTTP/1.1"), &[400]),
        (
            "a method of 10,000 letters",
            line(&format!("{} / HTTP/1.1", "A".repeat(10_000))),
            &[400, 404, 405],
        ),
        ("two blanks", line("GET  /livez HTTP/1.1"), &[400]),
        ("a tab for a blank", line("GET\t/livez HTTP/1.1"), &[400]),
        ("a blank in the path", line("GET /li vez HTTP/1.1"), &[400]),
        (
            "empty lines before it",
            format!("\r\n\r\n{}", get("")),
            &[200],
        ),
        (
            "a header before it",
            format!("host: localhost\r\n{}", get("")),
            &[400],
        ),
        (
            "64 KiB of path",
            line(&format!("GET /{} HTTP/1.1", "x".repeat(64 * 1024))),
            &[414, 431],
        ),
        (
            "LF alone",
            "GET /livez HTTP/1.1\nhost: localhost\nconnection: close\n\n".into(),
            &[200, 400],
        ),
        (
            "CR alone",
            "GET /livez HTTP/1.1\rhost: localhost\rconnection: close\r\r".into(),
            &[NOTHING, 400],
        ),
    ]
}

pub(super) fn headers() -> Vec<Row> {
    vec![
        (
            "64 KiB",
            get(&format!("x-big: {}\r\n", "x".repeat(64 * 1024))),
            &[431],
        ),
        (
            "64 KiB of name",
            get(&format!("{}: x\r\n", "x".repeat(64 * 1024))),
            &[400, 431],
        ),
        ("200 headers", get(&"x-many: 1\r\n".repeat(200)), &[431]),
        ("10,000 headers", get(&"a: 1\r\n".repeat(10_000)), &[431]),
        (
            "55 KiB fit",
            get(&format!("x-big: {}\r\n", "x".repeat(55 * 1024))),
            &[200],
        ),
        ("no host", format!("{GET}{CLOSE}"), &[400]),
        ("two hosts", get("host: b\r\n"), &[400]),
        ("the same host twice", get("host: localhost\r\n"), &[400]),
        (
            "a host of two",
            format!("{GET}host: a, b\r\n{CLOSE}"),
            &[400],
        ),
        (
            "a host with a path",
            format!("{GET}host: a/b\r\n{CLOSE}"),
            &[400],
        ),
        (
            "a host with a user",
            format!("{GET}host: user@a\r\n{CLOSE}"),
            &[400],
        ),
        (
            "a host with a blank",
            format!("{GET}host: a b\r\n{CLOSE}"),
            &[400],
        ),
        (
            "a host with no port's digits",
            format!("{GET}host: a:b\r\n{CLOSE}"),
            &[400],
        ),
        (
            "a host with port 99999",
            format!("{GET}host: localhost:99999\r\n{CLOSE}"),
            &[200, 400],
        ),
        (
            "a host of elsewhere",
            format!("{GET}host: a\r\n{CLOSE}"),
            &[403],
        ),
        (
            "a host that is not ASCII",
            format!("{GET}host: \u{1f41a}\r\n{CLOSE}"),
            &[400],
        ),
        (
            "an empty host",
            format!("{GET}host:\r\n{CLOSE}"),
            &[200, 400],
        ),
        (
            "a host of IPv6",
            format!("{GET}host: [::1]:16000\r\n{CLOSE}"),
            &[200],
        ),
        ("a folded line", get("x-folded: a\r\n b\r\n"), &[400]),
        (
            "a fold at once",
            format!("{GET} host: localhost\r\n{CLOSE}"),
            &[400],
        ),
        ("a blank before the colon", get("x-odd : 1\r\n"), &[400]),
        ("no colon", get("x-odd\r\n"), &[400]),
        ("no name", get(": 1\r\n"), &[400]),
        ("a name in brackets", get("x(odd): 1\r\n"), &[400]),
        ("a name that is not ASCII", get("x-\u{e9}: 1\r\n"), &[400]),
        ("a NUL in a value", get("x-odd: a\0b\r\n"), &[400]),
        ("a NUL in a name", get("x-\0odd: b\r\n"), &[400]),
        ("a CR in a value", get("x-odd: a\rb\r\n"), &[400]),
        ("a CR that ends a value", get("x-odd: a\r\r\n"), &[400]),
        ("a bell", get("x-odd: \u{7}\r\n"), &[400]),
        ("a DEL", get("x-odd: \u{7f}\r\n"), &[400]),
        ("UTF-8", get("x-odd: \u{1f41a}\r\n"), &[200]),
        (
            "to be upgraded",
            get("upgrade: websocket\r\nsec-websocket-key: x\r\n"),
            &[200],
        ),
        (
            "to be upgraded to h2c",
            get("upgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"),
            &[200],
        ),
        (
            "a range",
            get("range: bytes=0-,5-1,-99999999999999999999\r\n"),
            &[200],
        ),
        (
            "a date of no calendar",
            get("if-modified-since: yesterday\r\n"),
            &[200],
        ),
        ("an origin that is none", get("origin: \u{e9}\r\n"), &[200]),
        (
            "an odd forwarded",
            get("forwarded: for=\"_x\";host=b\r\nx-forwarded-host: b\r\n"),
            &[200],
        ),
        (
            "a method to be overridden",
            get("x-http-method-override: DELETE\r\n"),
            &[200],
        ),
    ]
}
