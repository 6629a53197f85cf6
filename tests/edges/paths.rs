//! Paths and methods: no spelling of a metered endpoint passes without its meter.

use crate::rig::{CHAT, HIGH_LIMITS, Shape, World, assert_refused, chat};
use http::Method;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_spelling_of_a_path_passes_unmetered() {
    let setup = |unmetered| {
        move |setup: crate::common::setup::Setup| setup.limits(HIGH_LIMITS).provider(unmetered)
    };
    let world = World::start(setup("unmetered = [\"/v1/files/*\", \"/v1/files\"]")).await;
    let body = chat("sim-a").to_string();
    // What is read as the endpoint is metered as it.
    let metered = [
        "//v1//chat/completions/",
        "/v1/%63hat/%63ompletions",
        "/openai/v1/chat/completions",
        "/task/t/v1/chat/completions",
        "/openai/deployments/sim-a/chat/completions?api-version=2026-01-01",
        "/v1/chat/completions?beta=true",
        "/v1/chat/completions?",
    ];
    for path in metered {
        let reply = world.post_bytes(path, body.clone()).send().await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        assert!(reply.cost().is_some(), "{path}");
    }
    assert_eq!(world.sim.bill().calls, metered.len() as u64);
    world.journal(metered.len() as u64).await;

    // Everything else is refused; these are written on a connection of their own, for clients tidy
    // paths up.
    let refused = [
        ("/v1/chat%2Fcompletions", 400),
        ("/v1/chat%2fcompletions", 400),
        ("/v1/../v1/chat/completions", 400),
        ("/v1/%2e%2e/v1/chat/completions", 400),
        ("/v1/files/../chat/completions", 400),
        ("/v1/files/%2E%2E/chat/completions", 400),
        ("/v1/./chat/completions", 400),
        ("/v1/chat/completions%00", 400),
        ("/v1/chat%5Ccompletions", 400),
        ("/v1/chat\\completions", 400),
        ("/v1/chat/completions%", 400),
        ("/v1/chat/completions%zz", 400),
        ("/v1/chat/completions;a=b", 403),
        ("/v1/chat/completions/more", 403),
        ("/v1/Chat/Completions", 403),
        ("/v1/chat", 403),
        ("/v1/images/generations", 403),
        ("/V1/chat/completions", 404),
        ("/v2/chat/completions", 404),
        ("/chat/completions", 404),
        ("/v1", 404),
        ("/", 404),
        ("/task/t", 404),
        ("/openai/deployments/sim-a", 404),
    ];
    for (path, status) in refused {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let text = world.raw(head.as_bytes()).await;
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {text}"
        );
        assert!(text.contains("\"error\""), "{path}: {text}");
    }
    assert_eq!(
        world.sim.bill().calls,
        metered.len() as u64,
        "none came through"
    );

    // Encoded twice, within a passthrough that is allowed: it stays below it on the other side.
    let reply = world
        .post_bytes("/v1/files/%252e%252e/chat/completions", body)
        .send()
        .await;
    assert_eq!(reply.status, 404, "{}", reply.text());
    assert!(
        reply
            .text()
            .contains("/v1/files/%252e%252e/chat/completions"),
        "{}",
        reply.text()
    );
    assert_eq!(world.get("/v1/files?limit=3").send().await.status, 200);
    world.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_methods_and_upgrades_are_refused() {
    let world = World::start(|setup| setup.limits(HIGH_LIMITS)).await;
    let paths = [
        CHAT,
        "/v1/messages",
        "/v1/responses",
        "/v1/embeddings",
        "/v1/completions",
        "/v1/messages/count_tokens",
    ];
    for path in paths {
        for method in [
            Method::GET,
            Method::PUT,
            Method::DELETE,
            Method::PATCH,
            Method::OPTIONS,
        ] {
            let reply = world.request(method.clone(), path).send().await;
            let case = format!("{method} {path}");
            assert_refused(&case, &reply, Shape::of(path), 405, "invalid_request");
            assert_eq!(reply.header("allow").as_deref(), Some("POST"), "{case}");
        }
        let reply = world.request(Method::HEAD, path).send().await;
        assert_eq!(reply.status, 405);
        // That one may be a socket: tests/socket.rs.
        if path == "/v1/responses" {
            continue;
        }
        let upgrade = world
            .get(path)
            .headers([
                ("connection", "upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ])
            .send()
            .await;
        assert_refused(path, &upgrade, Shape::of(path), 426, "invalid_request");
    }
    for (method, path, status) in [
        (Method::HEAD, "/api/hello", 404),
        (Method::GET, "/", 404),
        (Method::POST, "/v1/models", 403),
        (Method::DELETE, "/v1/models/sim-a", 403),
        (Method::GET, "/v1/responses/resp_1", 403),
        (Method::POST, "/v1/responses/resp_1/cancel", 403),
        (Method::POST, "/v1/audio/speech", 403),
        (Method::GET, "/v1/realtime", 403),
        (Method::POST, "/v1/messages/batches", 403),
        (Method::POST, "/v1/budget", 405),
    ] {
        let reply = world.request(method.clone(), path).send().await;
        assert_eq!(
            reply.status.as_u16(),
            status,
            "{method} {path}: {}",
            reply.text()
        );
    }
    // An offer that may be left unanswered: curl and Java's client make it with every call.
    let offered = world
        .post(CHAT, &chat("sim-a"))
        .headers([
            ("connection", "Upgrade, HTTP2-Settings"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
        ])
        .send()
        .await;
    assert_eq!(offered.status, 200, "{}", offered.text());
    assert_eq!(world.sim.bill().calls, 1);
    world.is_well().await;
}
