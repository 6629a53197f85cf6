//! Who may call: keys, what they are allowed, how often, and that they go no further.

use crate::common::setup::{Setup, key_of};
use crate::rig::{CHAT, Shape, World, assert_refused, chat, echo};

const PLAIN_PROVIDERS: [(&str, &str); 3] = [
    ("plain", ""),
    ("keyed", "api_key = \"file:provider.key\"\n"),
    ("passing", "forward_credentials = true\n"),
];

fn with_providers(setup: Setup, sim: std::net::SocketAddr) -> Setup {
    PLAIN_PROVIDERS.iter().fold(setup, |setup, (name, more)| {
        setup.more(&format!(
            "[[provider]]\nname = \"{name}\"\nkind = \"openai\"\nbase_url = \"http://{sim}/v1\"\n{more}"
        ))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_known_valid_and_limited() {
    let world = World::start(|setup| {
        setup
            .identity("crew", "house")
            .identity_with("past", "house", "expires = 2020-01-01T00:00:00Z\n")
            .identity_with("future", "house", "expires = 2099-01-01T00:00:00Z\n")
            .identity_with("gone", "house", "revoked = true\n")
            .identity_with(
                "narrow",
                "house",
                "models = [\"sim-cheap*\", \"gpt-4o*\"]\n",
            )
            .identity_with("slow", "house", "requests_per_minute = 3\n")
            .identity_with("terse", "house", "tokens_per_minute = 100\n")
    })
    .await;
    let paths = [
        CHAT,
        "/v1/messages",
        "/v1/models",
        "/v1/budget",
        "/v1/anything",
    ];
    for path in paths {
        let shape = Shape::of(path);
        let call = |name: &str, value: &str| world.post(path, &chat("sim-a")).header(name, value);
        let refused = [
            ("no key", world.post(path, &chat("sim-a"))),
            ("unknown", call("authorization", "Bearer sk-nobody")),
            ("empty", call("authorization", "Bearer ")),
            (
                "another scheme",
                call("authorization", &format!("Basic {}", key_of("crew"))),
            ),
            ("no scheme", call("authorization", &key_of("crew"))),
            ("expired", call("x-api-key", &key_of("past"))),
            ("revoked", call("api-key", &key_of("gone"))),
            ("a long key", call("x-api-key", &"k".repeat(20_000))),
            (
                "a digest",
                call(
                    "x-api-key",
                    "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
                ),
            ),
        ];
        for (case, call) in refused {
            let reply = call.send().await;
            assert_refused(
                &format!("{path}: {case}"),
                &reply,
                shape,
                401,
                "unauthenticated",
            );
        }
    }
    let expired = world
        .post(CHAT, &chat("sim-a"))
        .identity("past")
        .send()
        .await;
    assert!(expired.text().contains("expired"), "{}", expired.text());
    assert_eq!(world.sim.bill().calls, 0);
    for (name, value) in [
        ("authorization", format!("Bearer {}", key_of("crew"))),
        ("Authorization", format!("bearer {}", key_of("future"))),
        ("x-api-key", key_of("crew")),
        ("api-key", key_of("crew")),
    ] {
        let reply = world
            .post(CHAT, &chat("sim-a"))
            .header(name, &value)
            .send()
            .await;
        assert_eq!(reply.status, 200, "{name}: {}", reply.text());
    }
    // An SDK that was given no key of its own sends an empty one beside ours.
    for (name, empty) in [
        ("authorization", ""),
        ("authorization", "Bearer"),
        ("authorization", "Bearer "),
        ("api-key", ""),
    ] {
        let call = world.post(CHAT, &chat("sim-a")).header(name, empty);
        let reply = call.header("x-api-key", &key_of("crew")).send().await;
        assert_eq!(reply.status, 200, "{name}: {empty:?}: {}", reply.text());
    }
    let call = world.post(CHAT, &chat("sim-a")).header("x-api-key", "");
    let call = call.header("authorization", &format!("Bearer {}", key_of("crew")));
    assert_eq!(call.send().await.status, 200);

    // Models that it may not use are refused, and not listed.
    for path in [CHAT, "/v1/messages"] {
        for (model, status) in [
            ("sim-cheap", 200),
            ("sim-cheap-a", 200),
            ("sim-strong", 403),
            ("sim/sim-strong", 403),
        ] {
            let model = if path == CHAT {
                model.to_owned()
            } else {
                model.replace("sim/", "sim-anthropic/")
            };
            let reply = world
                .post(path, &chat(&model))
                .identity("narrow")
                .send()
                .await;
            match status {
                200 => assert_eq!(reply.status, 200, "{model}: {}", reply.text()),
                _ => assert_refused(&model, &reply, Shape::of(path), 403, "not_permitted"),
            }
        }
    }
    let models = world
        .get("/v1/models")
        .identity("narrow")
        .send()
        .await
        .json();
    let ids: Vec<&str> = models["data"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|model| model["id"].as_str())
        .collect();
    assert_eq!(
        ids,
        ["sim-cheap"],
        "what the provider serves of what it may use"
    );
    let one = world
        .get("/v1/models/sim-strong")
        .identity("narrow")
        .send()
        .await;
    assert_refused("one", &one, Shape::Openai, 403, "not_permitted");

    // Requests and tokens a minute: the only refusal that a client should wait for.
    for _ in 0..3 {
        let reply = world
            .post(CHAT, &chat("sim-a"))
            .identity("slow")
            .send()
            .await;
        assert_eq!(reply.status, 200);
    }
    for path in [CHAT, "/v1/messages"] {
        let reply = world
            .post(path, &chat("sim-a"))
            .identity("slow")
            .send()
            .await;
        assert_refused(path, &reply, Shape::of(path), 429, "rate_limited");
        let seconds: u32 = reply
            .header("retry-after")
            .expect("a time")
            .parse()
            .expect("seconds");
        assert!((1..=60).contains(&seconds), "{seconds}");
    }
    let mut long = chat("sim-a");
    long["messages"][0]["content"] = "x".repeat(300).into();
    assert_eq!(
        world
            .post(CHAT, &long)
            .identity("terse")
            .send()
            .await
            .status,
        200
    );
    let reply = world.post(CHAT, &long).identity("terse").send().await;
    assert_refused("terse", &reply, Shape::Openai, 429, "rate_limited");
    assert!(reply.header("retry-after").is_some());
    let log = world.gateway.log();
    for name in ["crew", "past", "gone", "narrow", "slow"] {
        assert!(!log.contains(&key_of(name)), "no key in the log");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_the_gateways_own_goes_no_further() {
    let sim = bursar::sim::Sim::start(bursar::sim::Settings::default())
        .await
        .expect("a sim");
    let setup = with_providers(Setup::new(sim.addr()), sim.addr()).identity("crew", "house");
    let dir = setup.write();
    std::fs::write(dir.path().join("config/provider.key"), "sk-sim-provider\n").expect("a key");
    let world = World::around(sim, dir).await;
    let call = |model: &str| {
        let mut body = chat(model);
        body["max_tokens"] = 8_000.into();
        world.post(CHAT, &body).headers([
            ("x-bursar-task-id", "t-1"),
            ("x-bursar-agent-id", "a-1"),
            ("x-bursar-task-usd", "1.00"),
            ("baggage", "user_task_id=t-2,secret=1"),
            ("x-vendor", "1"),
            ("forwarded", "for=10.0.0.1"),
            ("cookie", "c=1"),
            ("user-agent", "crew/1.0"),
        ])
    };
    let key = key_of("crew");
    for (model, expected) in [
        ("plain/sim-echo", None),
        ("keyed/sim-echo", Some("sk-sim-provider")),
    ] {
        for name in ["authorization", "x-api-key", "api-key"] {
            let value = if name == "authorization" {
                format!("Bearer {key}")
            } else {
                key.clone()
            };
            // A second key in another header goes no further either.
            let other = if name == "x-api-key" {
                "api-key"
            } else {
                "x-api-key"
            };
            let reply = call(model)
                .header(name, &value)
                .header(other, "sk-sim-other")
                .send()
                .await;
            let echo = echo(&reply);
            let headers = echo["headers"].as_object().expect("headers");
            let names: Vec<&str> = headers.keys().map(String::as_str).collect();
            assert!(
                !names.iter().any(|name| name.starts_with("x-bursar-")),
                "{names:?}"
            );
            for gone in ["baggage", "x-api-key", "api-key", "forwarded"] {
                assert!(!names.contains(&gone), "{gone} in {names:?}");
            }
            let authorization = headers
                .get("authorization")
                .and_then(|value| value.as_str());
            assert_eq!(authorization, expected, "{name}");
            assert_eq!(
                (&echo["headers"]["x-vendor"], &echo["headers"]["user-agent"]),
                (&"1".into(), &"crew/1.0".into())
            );
        }
    }
    // Where the caller brings its own key, that one goes along, and ours does not.
    let cases = [
        ("x-api-key", "authorization", "Bearer sk-sim-own"),
        ("authorization", "x-api-key", "sk-sim-own"),
        ("authorization", "api-key", "sk-sim-own"),
    ];
    for (ours, theirs, own) in cases {
        let value = if ours == "authorization" {
            format!("Bearer {key}")
        } else {
            key.clone()
        };
        let reply = call("passing/sim-echo")
            .header(ours, &value)
            .header(theirs, own)
            .send()
            .await;
        let echo = echo(&reply);
        assert_eq!(echo["headers"][theirs], "sk-sim-own");
        assert!(echo["headers"][ours].is_null(), "{ours}: {echo}");
    }
    // The built-in provider of the rig has `forward_attribution`.
    let reply = call("sim-echo").header("x-api-key", &key).send().await;
    let echo = echo(&reply);
    assert_eq!(
        (
            &echo["headers"]["x-bursar-task-id"],
            &echo["headers"]["x-bursar-agent-id"]
        ),
        (&"t-1".into(), &"a-1".into())
    );
    assert_eq!(echo["headers"]["x-bursar-request-id"], reply.request_id());
    assert!(echo["headers"]["baggage"].is_null() && echo["headers"]["x-api-key"].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_identities_only_this_machine_is_served() {
    let world = World::start(|setup| setup).await;
    for key in ["", "Bearer sk-whatever", "Bearer x"] {
        let call = world
            .post(CHAT, &chat("sim-a"))
            .header("authorization", key);
        assert_eq!(
            call.send().await.status,
            200,
            "frameworks must send some key"
        );
    }
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("forwarded", "for=10.0.0.1"),
        ("x-forwarded-for", "10.0.0.1"),
    ] {
        for path in [CHAT, "/v1/messages", "/v1/models"] {
            let reply = world
                .post(path, &chat("sim-a"))
                .header(name, value)
                .send()
                .await;
            assert_refused(name, &reply, Shape::of(path), 401, "unauthenticated");
        }
    }
    let body = chat("sim-a").to_string();
    for (line, host, status) in [
        (CHAT.to_owned(), "evil.example", 401),
        (CHAT.to_owned(), "localhost.evil.example:80", 401),
        (format!("http://evil.example{CHAT}"), "localhost", 401),
        (CHAT.to_owned(), "localhost:7070", 200),
        (CHAT.to_owned(), "app.localhost", 200),
        (CHAT.to_owned(), "[::1]:7070", 200),
        (CHAT.to_owned(), "127.0.0.1", 200),
    ] {
        let head = format!(
            "POST {line} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let text = world.raw(head.as_bytes()).await;
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line} {host}: {text}"
        );
    }
    assert_eq!(world.sim.bill().calls, 3 + 4);
    world.is_well().await;
}
