//! Who may do what on `ops`.

use crate::common::calls::Ask;
use crate::common::gateway::Gateway;
use crate::common::setup::Setup;
use crate::rig::{LIMITS, Operator, bursar, gateway, says, sim};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn on_loopback_without_a_token_no_page_and_no_proxy_gets_in() {
    let sim = sim().await;
    let gateway = gateway(&sim).await;
    let ops = Operator::of(&gateway);
    for (name, value) in [
        ("origin", "http://localhost:7071"),
        ("forwarded", "for=10.0.0.1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("host", "evil.example"),
        ("host", "localhost.evil.example:7071"),
    ] {
        let foreign = ops.clone().header(name, value);
        for path in ["/api/tasks", "/metrics", "/", "/api/nothing"] {
            let (status, said) = foreign.get(path).await;
            assert_eq!(status, 403, "{name}: {value} {path} {said}");
            assert_eq!(said["error"]["code"], "not_permitted");
        }
        assert_eq!(
            foreign.post("/api/suspend", &json!({"all": true})).await.0,
            403
        );
        for path in ["/livez", "/readyz"] {
            assert_eq!(foreign.get(path).await.0, 200, "{path} is for anybody");
        }
    }
    // What a form can post without asking.
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ] {
        let form = ops.clone().header("content-type", kind);
        assert_eq!(
            form.send("POST", "/api/suspend", r#"{"all":true}"#).await.0,
            415,
            "{kind}"
        );
    }
    let bare = ops.clone().without("content-type");
    assert_eq!(bare.send("POST", "/api/tasks/t/suspend", "").await.0, 415);
    let call = gateway
        .caller("t")
        .call(&Ask::chat("sim-cheap"))
        .await
        .unwrap();
    assert_eq!(call.status, 200, "nobody was suspended");
    assert_eq!(
        ops.clone()
            .header("host", "localhost:1")
            .get("/api/health")
            .await
            .0,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_token_is_asked_for_on_loopback_too() {
    let sim = sim().await;
    let folder = tempfile::tempdir().unwrap();
    let secret = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        format!("file:{}", path.display())
    };
    let setup = Setup::new(sim.addr())
        .limits(LIMITS)
        .top(&format!(
            "ops_token = \"{}\"",
            secret("ops", "an-ops-token\n")
        ))
        .top(&format!(
            "metrics_token = \"{}\"",
            secret("metrics", "a-scraper")
        ));
    let gateway = Gateway::start(&setup).await;
    let stranger = Operator::of(&gateway);
    for path in ["/", "/api/health", "/api/tasks", "/metrics", "/api/nothing"] {
        let (status, said) = stranger.get(path).await;
        assert_eq!(
            (status.as_u16(), &said["error"]["code"]),
            (401, &json!("unauthenticated")),
            "{path}"
        );
        for wrong in ["", "an-ops-toke", "an-ops-token2", "AN-OPS-TOKEN"] {
            assert_eq!(
                stranger.clone().token(wrong).get(path).await.0,
                401,
                "{path} `{wrong}`"
            );
        }
        let basic = stranger
            .clone()
            .header("authorization", "Basic an-ops-token");
        assert_eq!(basic.get(path).await.0, 401);
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(stranger.get(path).await.0, 200, "{path}");
    }
    let scraper = stranger.clone().token("a-scraper");
    assert_eq!(scraper.get("/metrics").await.0, 200);
    assert_eq!(
        scraper.get("/api/health").await.0,
        401,
        "it may only scrape"
    );
    let operator = stranger.clone().token("an-ops-token");
    assert_eq!(operator.get("/api/health").await.0, 200);
    assert_eq!(operator.get("/metrics").await.0, 200);
    // Whoever shows the token may come from anywhere; a page cannot show it.
    assert_eq!(
        operator
            .clone()
            .header("host", "ops.example")
            .get("/api/health")
            .await
            .0,
        200
    );

    // The command line finds the token where the configuration says.
    let said = says(
        &gateway.config(),
        &["task", "open", "t-1", "--usd", "0.5", "--ops", &gateway.ops],
    )
    .await;
    assert_eq!(said, "task t-1 of local: active; own caps: usd 0.50\n");
    let elsewhere = folder.path().join("no.toml");
    let denied = bursar(&elsewhere, &["task", "close", "t-1", "--ops", &gateway.ops]).await;
    assert_eq!(denied.status.code(), Some(77), "without it, it may not");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_ops_shows_is_a_secret() {
    let sim = sim().await;
    let setup = Setup::new(sim.addr())
        .limits(LIMITS)
        .identity("crew", "research")
        .provider("headers = { x-extra = \"plain\" }");
    let gateway = Gateway::start(&setup).await;
    let ops = Operator::of(&gateway);
    let providers = ops.sees("/api/providers").await;
    assert_eq!(providers["providers"][0]["name"], "sim");
    assert_eq!(providers["providers"][0]["has_key"], false);
    assert!(!providers.to_string().contains("plain"));
    let limits = ops.sees("/api/limits").await;
    assert_eq!(limits["limits"][0]["caps"]["duration"], "30m");
    let health = ops.sees("/api/health").await;
    assert_eq!(
        (&health["state"], &health["config"]["fault"]),
        (&json!("ready"), &json!(null))
    );
    let (_, index) = ops.get("/").await;
    assert!(
        index
            .as_str()
            .is_some_and(|text| text.contains("/api/tasks"))
    );
}
