//! Settings that can't work.

use crate::server::settings;

#[tokio::test]
async fn a_setting_that_cannot_work_is_named_without_its_value() {
    let good = || settings("nats://127.0.0.1:1");
    for url in [
        "",
        "hunter2",
        "http://u:hunter2@x",
        "ws://u:hunter2@x",
        "nats://u:hunter2@x:99999",
        "nats://u:hunter2@",
        "nats://",
        "tls:///hunter2",
        "nats://x,",
        "nats://x,redis://u:hunter2@y",
        "nats://:hunter2@x",
    ] {
        let error = settings(url).build().err().expect(url);
        assert_eq!(error.setting(), "url", "{url}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    for prefix in ["", "a.b", "a*", ">", "a b", "ä", &"x".repeat(65)] {
        let mut settings = good();
        settings.prefix = prefix.to_owned();
        let error = settings.build().err().expect(prefix);
        assert_eq!(error.setting(), "prefix", "{prefix}");
    }
    let mut settings = good();
    settings.credentials = Some("hunter2".to_owned());
    let error = settings.build().err().expect("no credentials");
    assert_eq!(error.setting(), "credentials");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test]
async fn building_needs_no_server() {
    for url in [
        "nats://127.0.0.1:1",
        "tls://[::1]:1,nats://user:password@example.com",
    ] {
        settings(url).build().expect("nothing is connected yet");
    }
}
