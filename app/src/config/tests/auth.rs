//! Settings of authentication: what must be there together, and what contradicts itself.

use super::*;

pub(super) const JWT: [(&str, &str); 5] = [
    ("AUTH", "jwt"),
    ("AUTH_JWT_ALGORITHM", "HS256"),
    ("AUTH_JWT_SECRET", "a secret of thirty-two bytes, or more"),
    ("AUTH_JWT_ISSUER", "https://issuer.example"),
    ("AUTH_JWT_AUDIENCE", "mare"),
];

#[test]
fn a_public_address_needs_authentication() {
    let public = ("MARE_API_ADDR", "0.0.0.0:16000");
    for program in [Program::Api, Program::AllInOne] {
        let error = read(program, &[], &[public]).expect_err("open to all");
        assert!(error.to_string().starts_with("MARE_API_ADDR"), "{error}");
        assert!(error.to_string().contains("AUTH=jwt"), "{error}");
        let off = read(program, &[], &[public, ("AUTH", "off")]);
        assert!(off.is_err());
        let settings = read(program, &[], &[&JWT[..], &[public]].concat()).expect("it is safe");
        assert!(settings.mare.expect("an API").auth.is_some());
        let settings = read(program, &["--insecure"], &[public]).expect("it is meant");
        assert!(settings.mare.expect("an API").auth.is_none());
    }
}

#[test]
fn authentication_that_cannot_work_is_named_and_its_value_is_not() {
    let (rsa, p256) = (key("rsa.pem"), key("p256.pem"));
    let with = |changes: &[(&'static str, &'static str)]| {
        let mut env: Vec<_> = JWT.to_vec();
        env.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        env.extend(changes);
        env
    };
    for (changes, named) in [
        (&[("AUTH", "basic")][..], "AUTH "),
        (&[("AUTH_JWT_ALGORITHM", "")], "AUTH_JWT_ALGORITHM"),
        (&[("AUTH_JWT_ALGORITHM", "none")], "AUTH_JWT_ALGORITHM"),
        (
            &[("AUTH_JWT_ALGORITHM", "HS256,RS256")],
            "AUTH_JWT_ALGORITHM",
        ),
        (&[("AUTH_JWT_ALGORITHM", "hs256")], "AUTH_JWT_ALGORITHM"),
        (&[("AUTH_JWT_SECRET", "")], "AUTH_JWT_SECRET"),
        (&[("AUTH_JWT_SECRET", "secret")], "AUTH_JWT_SECRET"),
        (&[("AUTH_JWT_ISSUER", "")], "AUTH_JWT_ISSUER"),
        (&[("AUTH_JWT_AUDIENCE", " ")], "AUTH_JWT_AUDIENCE"),
        (&[("AUTH_COOKIE", "a secret; x")], "AUTH_COOKIE"),
        (
            &[("AUTH_COOKIE", "conch"), ("CORS_ORIGINS", "*")],
            "CORS_ORIGINS",
        ),
        // Two keys, or one of another kind, or none at all.
        (&[("AUTH_JWKS_FILE", "/secret")], "AUTH_JWKS_FILE"),
        (&[("AUTH_JWT_ALGORITHM", "RS256")], "AUTH_JWT_SECRET"),
        (
            &[("AUTH_JWT_ALGORITHM", "RS256"), ("AUTH_JWT_SECRET", "")],
            "AUTH_JWT_PUBLIC_KEY_FILE",
        ),
        (
            &[
                ("AUTH_JWT_ALGORITHM", "RS256"),
                ("AUTH_JWT_SECRET", ""),
                ("AUTH_JWT_PUBLIC_KEY_FILE", "/secret"),
            ],
            "AUTH_JWT_PUBLIC_KEY_FILE",
        ),
        (
            &[
                ("AUTH_JWT_ALGORITHM", "RS256"),
                ("AUTH_JWT_SECRET", ""),
                ("AUTH_JWT_PUBLIC_KEY_FILE", p256),
            ],
            "AUTH_JWT_PUBLIC_KEY_FILE",
        ),
        (
            &[("AUTH_JWT_SECRET", ""), ("AUTH_JWT_PUBLIC_KEY_FILE", rsa)],
            "AUTH_JWT_PUBLIC_KEY_FILE",
        ),
        (
            &[
                ("AUTH_JWT_ALGORITHM", "ES256"),
                ("AUTH_JWT_SECRET", ""),
                ("AUTH_JWKS_FILE", p256),
            ],
            "AUTH_JWKS_FILE",
        ),
        (&[("MARE_OPS_ADDR", "secret")], "MARE_OPS_ADDR"),
    ] {
        let error = read(Program::Api, &[], &with(changes)).expect_err(named);
        let error = error.to_string();
        assert!(error.starts_with(named), "{changes:?}: {error}");
        for hidden in ["secret;", "/secret", "thirty-two", "tests/keys"] {
            assert!(!error.contains(hidden), "{error}");
        }
        assert!(!error.contains('\n'), "{error}");
    }
    for changes in [
        &[
            ("AUTH_JWT_ALGORITHM", "RS256"),
            ("AUTH_JWT_SECRET", ""),
            ("AUTH_JWT_PUBLIC_KEY_FILE", rsa),
        ][..],
        &[
            ("AUTH_JWT_ALGORITHM", "ES256"),
            ("AUTH_JWT_SECRET", ""),
            ("AUTH_JWT_PUBLIC_KEY_FILE", p256),
        ],
        &[("AUTH_COOKIE", "conch"), ("MARE_OPS_ADDR", "0.0.0.0:9090")],
    ] {
        read(Program::Api, &[], &with(changes)).expect("it works");
    }
}

/// A key of the edge's own tests.
fn key(name: &str) -> &'static str {
    let path = format!(
        "{}/../adapters/http/tests/keys/{name}",
        env!("CARGO_MANIFEST_DIR")
    );
    path.leak()
}

#[test]
fn settings_of_authentication_without_it_are_pointed_out() {
    let warnings = |env: &[(&str, &str)]| source(Program::Api, &[], env).warnings.join("\n");
    assert!(
        warnings(&JWT[1..]).contains("AUTH=jwt"),
        "{}",
        warnings(&JWT[1..])
    );
    for quiet in [&JWT[..], &[("AUTH", "off"), JWT[2]], &[]] {
        assert_eq!(warnings(quiet), "");
    }
}
