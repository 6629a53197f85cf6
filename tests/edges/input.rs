//! Input without measure: huge, slow, packed, or with ids that are none.

use crate::rig::{CHAT, HIGH_LIMITS, Shape, World, assert_refused, chat, read_text};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use std::io::Write as _;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

const MIB: usize = 1 << 20;

/// The most memory that a process has had, in bytes.
fn peak_memory(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: usize = line
        .and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok())
        .expect("a peak");
    kib * 1024
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).expect("memory");
    packed.finish().expect("memory")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn huge_bodies_are_refused_in_bounded_memory() {
    let world = World::start(|setup| setup.limits(HIGH_LIMITS).top("max_body = \"4MiB\"")).await;
    world.is_well().await;
    let before = peak_memory(world.gateway.pid());

    // 100 MB with their length told, and a client that reads only once it has written all.
    let mut stream = world.connect().await;
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        100 * MIB
    );
    stream.write_all(head.as_bytes()).await.expect("a head");
    let piece = vec![b' '; MIB];
    for _ in 0..100 {
        if stream.write_all(&piece).await.is_err() {
            break;
        }
    }
    let text = read_text(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    assert!(text.contains("\"body_too_large\""), "{text}");

    // As much in chunks that tell no length, by four at once.
    let mut crew = tokio::task::JoinSet::new();
    for path in [CHAT, "/v1/messages", "/v1/responses", "/v1/embeddings"] {
        let mut stream = world.connect().await;
        crew.spawn(async move {
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.expect("a head");
            let mut piece = b"100000\r\n".to_vec();
            piece.extend(vec![b' '; MIB]);
            piece.extend(b"\r\n");
            for _ in 0..100 {
                if stream.write_all(&piece).await.is_err() {
                    break;
                }
            }
            // What was said before the connection was closed, if the reset did not eat it.
            (path, read_text(&mut stream).await)
        });
    }
    while let Some(told) = crew.join_next().await {
        let (path, text) = told.expect("a caller");
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 413 "),
            "{path}: {text}"
        );
    }

    // A body just above the bound, read in full hearing of its sender.
    let body = chat("sim-a").to_string() + &" ".repeat(5 * MIB);
    for path in [CHAT, "/v1/messages"] {
        let reply = world.post_bytes(path, body.clone()).send().await;
        assert_refused(path, &reply, Shape::of(path), 413, "body_too_large");
    }

    // Packed: a hundred megabytes of nothing in a hundred kilobytes.
    let bomb = gzip(&vec![b' '; 100 * MIB]);
    assert!(bomb.len() < MIB);
    for path in [CHAT, "/v1/messages"] {
        let call = world
            .post_bytes(path, bomb.clone())
            .header("content-encoding", "gzip");
        assert_refused(
            "bomb",
            &call.send().await,
            Shape::of(path),
            413,
            "body_too_large",
        );
    }

    let grown = peak_memory(world.gateway.pid()) - before;
    assert!(grown < 64 * MIB, "grew by {} MiB", grown / MIB);
    world.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packed_bodies_are_unpacked_or_refused() {
    let world = World::start(|setup| setup.limits(HIGH_LIMITS)).await;
    let body = chat("sim-echo");
    let packed = gzip(body.to_string().as_bytes());
    let reply = world
        .post_bytes(CHAT, packed.clone())
        .header("content-encoding", "gzip")
        .send()
        .await;
    let echo = crate::rig::echo(&reply);
    assert_eq!(echo["body_bytes"], body.to_string().len());
    assert!(echo["headers"]["content-encoding"].is_null());

    let cases: [(&str, Vec<u8>, u16); 4] = [
        ("gzip", packed[..packed.len() / 2].to_vec(), 400),
        ("gzip", body.to_string().into_bytes(), 400),
        ("gzip, gzip", gzip(&packed), 415),
        ("compress", packed.clone(), 415),
    ];
    for (encoding, bytes, status) in cases {
        for path in [CHAT, "/v1/messages"] {
            let call = world.post_bytes(path, bytes.clone());
            let reply = call.header("content-encoding", encoding).send().await;
            assert_refused(encoding, &reply, Shape::of(path), status, "invalid_request");
        }
    }
    world.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_callers_are_let_go() {
    let listen = "agents = \"127.0.0.1:0\"\nheader_timeout = \"300ms\"\nbody_timeout = \"300ms\"\nidle_timeout = \"3s\"";
    let world = World::start(|setup| setup.limits(HIGH_LIMITS).listen(listen)).await;
    let began = Instant::now();

    // A head that never ends, byte by byte.
    let mut head = world.connect().await;
    let slow_head = tokio::spawn(async move {
        for byte in b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-a: "
            .iter()
            .cycle()
        {
            if head.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    // A body that never comes, and one that trickles to a halt.
    let mut told = Vec::new();
    for begun in ["", "{\"model\":"] {
        let mut stream = world.connect().await;
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{begun}"
        );
        stream.write_all(head.as_bytes()).await.expect("a head");
        told.push(tokio::spawn(async move { read_text(&mut stream).await }));
    }
    for told in told {
        let text = told.await.expect("a caller");
        assert!(
            text.starts_with("HTTP/1.1 408 ") && text.contains("\"invalid_request\""),
            "{text}"
        );
    }
    // A connection that says nothing at all.
    let mut silent = world.connect().await;
    let said = read_text(&mut silent).await;
    assert_eq!(said, "", "closed without a word");
    tokio::time::timeout(Duration::from_secs(20), slow_head)
        .await
        .expect("the slow head was cut")
        .expect("a caller");
    assert!(began.elapsed() < Duration::from_secs(20));

    // A caller that rests between calls keeps its connection for longer than a head may take.
    let mut stream = world.connect().await;
    let body = chat("sim-a").to_string();
    for pause in [0, 700] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let call = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(call.as_bytes()).await.expect("still open");
        let text = read_text(&mut stream).await;
        assert!(
            text.starts_with("HTTP/1.1 200 "),
            "after {pause} ms: {text}"
        );
    }
    world.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_are_none_are_refused() {
    let world = World::start(|setup| setup.limits(HIGH_LIMITS)).await;
    let long = "x".repeat(10_000);
    let just_too_long = "x".repeat(257);
    let values: [&[u8]; 6] = [
        long.as_bytes(),
        just_too_long.as_bytes(),
        b"two words",
        b"a\tb",
        "caf\u{e9}".as_bytes(),
        b"\xff\xfe",
    ];
    let headers = [
        "x-bursar-task-id",
        "x-bursar-agent-id",
        "x-bursar-agent-role",
        "x-bursar-parent-agent-id",
        "x-bursar-on-behalf-of",
        "x-claude-code-session-id",
        "x-litellm-trace-id",
    ];
    for header in headers {
        for value in values {
            for (path, body) in [(CHAT, chat("sim-a")), ("/v1/messages", chat("sim-a"))] {
                let reply = world
                    .post(path, &body)
                    .header_bytes(header, value)
                    .send()
                    .await;
                let case = format!("{header}: {}", String::from_utf8_lossy(value));
                assert_refused(&case, &reply, Shape::of(path), 400, "invalid_request");
                let message = reply.json()["error"]["message"].to_string();
                assert!(message.contains(header), "{message}");
            }
        }
    }
    for path in [
        "/task/a%20b/v1/chat/completions",
        "/task/t/agent/%C3%A9/v1/chat/completions",
        "/role/%0A/v1/chat/completions",
    ] {
        let reply = world.post(path, &chat("sim-a")).send().await;
        assert_refused(path, &reply, Shape::Openai, 400, "invalid_request");
    }
    let path = format!("/task/{long}/v1/chat/completions");
    let reply = world.post(&path, &chat("sim-a")).send().await;
    assert_refused("long path", &reply, Shape::Openai, 400, "invalid_request");
    for field in ["user_task_id", "agent_id", "agent_role"] {
        for value in ["two words", "caf\u{e9}", &long, "tab\t", ""] {
            let mut body = chat("sim-a");
            body["metadata"] = json!({field: value});
            for path in [CHAT, "/v1/messages"] {
                let reply = world.post(path, &body).send().await;
                assert_refused(field, &reply, Shape::of(path), 400, "invalid_request");
            }
        }
    }
    for usd in [
        "-1",
        "1e3",
        "free",
        "0x10",
        "1.0000000001",
        "99999999999999999999",
    ] {
        let call = world
            .post(CHAT, &chat("sim-a"))
            .header("x-bursar-task-usd", usd);
        assert_refused(
            usd,
            &call.send().await,
            Shape::Openai,
            400,
            "invalid_request",
        );
    }
    // A person's name in `user` is no id of ours, and none of our business.
    let mut body = chat("sim-a");
    body["user"] = json!("Jos\u{e9} of the night shift");
    assert_eq!(world.post(CHAT, &body).send().await.status, 200);
    assert_eq!(world.sim.bill().calls, 1);
    world.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn huge_heads_are_refused() {
    let listen = "agents = \"127.0.0.1:0\"\nheader_timeout = \"500ms\"";
    let world = World::start(|setup| setup.limits(HIGH_LIMITS).listen(listen)).await;
    let big = format!(
        "GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx-big: {}\r\n\r\n",
        "x".repeat(100_000)
    );
    let many: String = (0..5_000).map(|n| format!("x-{n}: 1\r\n")).collect();
    let many = format!("GET /v1/models HTTP/1.1\r\nhost: localhost\r\n{many}\r\n");
    for head in [big, many] {
        let text = world.raw(head.as_bytes()).await;
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 431 "),
            "{text}"
        );
    }
    let long = format!(
        "GET /v1/{} HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "x".repeat(100_000)
    );
    let text = world.raw(long.as_bytes()).await;
    assert!(
        text.is_empty() || text.starts_with("HTTP/1.1 414 ") || text.starts_with("HTTP/1.1 431 "),
        "{text}"
    );
    // A large head within the bound passes.
    let mut body = chat("sim-echo");
    body["max_tokens"] = json!(20_000);
    let reply = world
        .post(CHAT, &body)
        .header("x-large", &"y".repeat(30_000))
        .send()
        .await;
    assert_eq!(
        crate::rig::echo(&reply)["headers"]["x-large"],
        "y".repeat(30_000)
    );
    for nonsense in [
        "\r\n\r\n\r\n\r\n",
        "hello\r\n\r\n",
        "POST / HTTP/9.9\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03\r\n\r\n",
    ] {
        let text = world.raw(nonsense.as_bytes()).await;
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 4"),
            "{nonsense:?}: {text}"
        );
    }
    // Two lengths, or a length and chunks: which of them holds must not be a matter of taste.
    for lengths in [
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5\r\ntransfer-encoding: chunked",
        "content-length: -1",
        "transfer-encoding: gzip",
    ] {
        let head = format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\n{lengths}\r\n\r\n0\r\n\r\n");
        let text = world.raw(head.as_bytes()).await;
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 4"),
            "{lengths}: {text}"
        );
    }
    world.is_well().await;
}
