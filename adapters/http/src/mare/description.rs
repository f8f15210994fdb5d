//! The description of the API as this instance serves it: what it doesn't ask for or doesn't have is left
//! out. Kept by hand in `openapi.json`, which tests hold against the routes; the schemas of a template are
//! made from its types.

use bytes::Bytes;
use serde_json::Value;

use super::auth::CookieName;

/// Everything that any instance has.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

/// What an instance asks of its callers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asks<'a> {
    /// Nothing.
    Nothing,
    /// A token, perhaps in that cookie.
    Token(Option<&'a CookieName>),
}

const SESSION: &str = "/v1/triton/auth/session";

/// The document for an instance that asks that.
pub(super) fn document(asks: Asks<'_>) -> Bytes {
    let mut document: Value = serde_json::from_str(OPENAPI).expect("a test has read it");
    let (cookie, keeps_security) = match asks {
        Asks::Nothing => (None, false),
        Asks::Token(cookie) => (cookie, true),
    };
    if let Some(paths) = document["paths"].as_object_mut() {
        if cookie.is_none() {
            paths.remove(SESSION);
        }
        if keeps_security {
            // Where tokens are asked for, what operators read is on another listener.
            paths.remove("/metrics");
        }
    }
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    let operations = paths.flat_map(|(_, path)| path.as_object_mut().into_iter().flatten());
    for (_, operation) in operations {
        if !keeps_security && let Some(operation) = operation.as_object_mut() {
            operation.remove("security");
        }
        let security = operation.get_mut("security").and_then(Value::as_array_mut);
        if let (None, Some(security)) = (cookie, security) {
            security.retain(|one| one.get("cookie").is_none());
        }
    }
    let Some(components) = document["components"].as_object_mut() else {
        return Bytes::from(document.to_string());
    };
    if let Some(schemas) = components["schemas"].as_object_mut() {
        // Made from the types; see `ComposedTemplate` in openapi.json's `Template`.
        schemas.extend(conch_wire::schema::components());
    }
    match cookie {
        _ if !keeps_security => drop(components.remove("securitySchemes")),
        Some(cookie) => components["securitySchemes"]["cookie"]["name"] = cookie.as_str().into(),
        None => {
            let schemes = components["securitySchemes"].as_object_mut();
            drop(schemes.and_then(|schemes| schemes.remove("cookie")));
        }
    }
    Bytes::from(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(asks: Asks<'_>) -> Value {
        serde_json::from_slice(&document(asks)).expect("it is JSON")
    }

    #[test]
    fn an_instance_describes_what_it_asks_for() {
        let open = read(Asks::Nothing);
        assert!(!open.to_string().contains("\"security"), "{open}");
        assert!(open["paths"].get(SESSION).is_none());
        assert!(open["paths"].get("/metrics").is_some());

        let tokens = read(Asks::Token(None));
        let jobs = &tokens["paths"]["/v1/triton/jobs"]["get"]["security"];
        assert_eq!(*jobs, serde_json::json!([{"bearer": ["jobs:read"]}]));
        assert!(
            tokens["components"]["securitySchemes"]
                .get("cookie")
                .is_none()
        );
        assert!(tokens["paths"].get(SESSION).is_none());
        assert!(tokens["paths"].get("/metrics").is_none());

        let cookie = "conch".parse().expect("a name");
        let cookies = read(Asks::Token(Some(&cookie)));
        let scheme = &cookies["components"]["securitySchemes"]["cookie"];
        assert_eq!(scheme["name"], "conch");
        assert!(cookies["paths"].get(SESSION).is_some());
    }
}
