//! Reload and drain: limits, keys and providers change without a restart and usage is kept; a stop
//! lets calls in flight end.

use crate::common::calls::{Ask, Http, Reply};
use crate::common::program::Ends as _;
use crate::common::setup::Setup;
use crate::common::{books, bounded, until};
use crate::rig::{CHAT, Provider, Shape, World, answer, assert_refused, chat, chat_answer};
use bursar::sim::{Settings, Sim};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

const SOON: Duration = Duration::from_secs(20);

impl World {
    fn write(&self, file: &str, text: &str) {
        // In one step: nobody reads half of it.
        let file = self.gateway.dir().join(file);
        let new = file.with_extension("new");
        std::fs::write(&new, text).expect("a file");
        std::fs::rename(new, file).expect("a file");
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.gateway.dir().join(file)).expect("a file")
    }

    async fn reloads(&self, result: &str) -> f64 {
        let name = format!("bursar_config_reloads_total{{result=\"{result}\"}}");
        self.gateway.metrics().await.get(&name)
    }

    /// Changes something and waits until the gateway has seen it.
    async fn change(&self, result: &str, change: impl FnOnce()) {
        let before = self.reloads(result).await;
        change();
        until("a reload", SOON, || async {
            (self.reloads(result).await > before).then_some(())
        })
        .await;
        // What was counted may have begun before the change; this one reads what stands there now.
        let url = format!("{}/api/reload", self.gateway.ops);
        let _ = Http::new().post(&url, &json!({})).await.expect("an answer");
    }

    async fn limits(&self, toml: &str) {
        self.change("ok", || self.write("policies/limits.toml", toml))
            .await;
    }

    async fn call(&self, task: &str) -> Reply {
        let call = self.post(CHAT, &chat("sim-a"));
        call.header("x-bursar-task-id", task).send().await
    }
}

fn told(reply: &Reply, field: &str) -> Value {
    reply.json()["error"]["bursar"][field].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_change_and_usage_stays() {
    let task =
        |turns: u32| format!("[[limit]]\nname = \"task\"\nper = [\"task\"]\nturns = {turns}\n");
    let world = World::start(|setup| setup.limits(&task(2))).await;
    for _ in 0..2 {
        assert_eq!(world.call("t").await.status, 200);
    }
    let full = world.call("t").await;
    assert_refused("full", &full, Shape::Openai, 402, "turns_exceeded");

    // Raised: what was used stays used.
    world.limits(&task(3)).await;
    assert_eq!(world.call("t").await.status, 200);
    let full = world.call("t").await;
    assert_eq!(
        (told(&full, "settled"), told(&full, "cap")),
        (json!("3"), json!("3"))
    );
    // Lowered below what was used.
    world.limits(&task(1)).await;
    let full = world.call("t").await;
    assert_eq!(
        (told(&full, "settled"), told(&full, "cap")),
        (json!("3"), json!("1"))
    );

    // A limit that is new opens with what its calls cost in its window; so does one that counts
    // per something else.
    let spent = world.sim.bill().total_nano_usd;
    let owner = |usd: &str| {
        format!(
            "{}[[limit]]\nname = \"owner\"\nper = [\"owner\"]\nwindow = {{ every = \"day\", timezone = \"UTC\" }}\nusd = \"{usd}\"\n",
            task(100)
        )
    };
    world.limits(&owner("0.000001")).await;
    let full = world.call("t-new").await;
    assert_refused("owner", &full, Shape::Openai, 402, "budget_exceeded");
    let settled: bursar::units::NanoUsd = told(&full, "settled")
        .as_str()
        .expect("money")
        .parse()
        .expect("money");
    assert_eq!(settled.0, spent, "{}", full.text());
    world.limits(&owner("100")).await;
    assert_eq!(world.call("t-new").await.status, 200);
    let model = format!(
        "{}[[limit]]\nname = \"model\"\nper = [\"model\"]\nwindow = {{ every = \"month\", timezone = \"UTC\" }}\nturns = 4\n",
        task(100)
    );
    world.limits(&model).await;
    let full = world.call("t-newer").await;
    assert_eq!(
        (
            full.status.as_u16(),
            told(&full, "settled"),
            told(&full, "limit")
        ),
        (402, json!("4"), json!("model"))
    );

    // Gone, and back again: nothing is forgotten.
    world.limits(&task(100)).await;
    assert_eq!(world.call("t-newer").await.status, 200);
    world.limits(&model).await;
    let full = world.call("t-newest").await;
    assert_eq!(
        (full.status.as_u16(), told(&full, "settled")),
        (402, json!("5"))
    );
    world.limits(&task(4)).await;
    world.is_well().await;
    books::verify(&world.gateway.store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_kubernetes_mounts_is_seen_to_change() {
    use std::os::unix::fs::symlink;
    let sim = Sim::start(Settings::default()).await.expect("a sim");
    let dir = Setup::new(sim.addr()).write();
    let policies = dir.path().join("policies");
    let version = |name: &str, turns: u32| {
        std::fs::create_dir(policies.join(name)).expect("a folder");
        let limits = format!("[[limit]]\nname = \"task\"\nper = [\"task\"]\nturns = {turns}\n");
        std::fs::write(policies.join(name).join("limits.toml"), limits).expect("a file");
    };
    version("..1", 1);
    version("..2", 3);
    symlink("..1", policies.join("..data")).expect("a link");
    std::fs::remove_file(policies.join("limits.toml")).expect("a file");
    symlink("..data/limits.toml", policies.join("limits.toml")).expect("a link");
    let world = World::around(sim, dir).await;
    assert_eq!(world.call("t").await.status, 200);
    assert_eq!(world.call("t").await.status, 402);
    symlink("..2", policies.join("..data_tmp")).expect("a link");
    let turn = || std::fs::rename(policies.join("..data_tmp"), policies.join("..data"));
    world.change("ok", || turn().expect("a link")).await;
    assert_eq!(world.call("t").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waits_meets_the_limits_that_are_new() {
    let sim = Sim::start(Settings {
        latency: Duration::from_millis(1500),
        ..Settings::default()
    })
    .await
    .expect("a sim");
    let limit =
        |usd: &str| format!("[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"{usd}\"\n");
    let world = World::around(
        sim,
        Setup::new("127.0.0.1:1".parse().expect("an address"))
            .limits(&limit("0.002"))
            .write(),
    )
    .await;
    let config = world
        .read("config/bursar.toml")
        .replace("127.0.0.1:1", &world.sim.addr().to_string());
    world
        .change("ok", || world.write("config/bursar.toml", &config))
        .await;
    // Two at once do not fit: the second waits for what the first holds, until the cap is raised.
    let call = || {
        world
            .post(CHAT, &chat("sim-a"))
            .header("x-bursar-task-id", "t")
    };
    let both = tokio::join!(call().send(), call().send(), async {
        until("one waits", SOON, || async {
            (world.gateway.metrics().await.get("bursar_waiting_calls") > 0.0).then_some(())
        })
        .await;
        world.limits(&limit("1")).await;
    });
    assert_eq!(
        (both.0.status.as_u16(), both.1.status.as_u16()),
        (200, 200),
        "{} {}",
        both.0.text(),
        both.1.text()
    );
    world.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_file_leaves_the_old_one_in_force() {
    let limits = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nturns = 2\n";
    let world = World::start(|setup| setup.limits(limits)).await;
    assert_eq!(world.call("t").await.status, 200);
    let config = world.read("config/bursar.toml");
    let faults = [
        (
            "policies/limits.toml",
            "[[limit]]\nname = \"task\"\nper = [\"task\"]\nturn = 5\n".to_owned(),
            "limits.toml:4",
        ),
        (
            "policies/limits.toml",
            "[[limit]\n".to_owned(),
            "limits.toml:1",
        ),
        (
            "policies/identities.toml",
            "[[identity]]\nname = \"x\"\n".to_owned(),
            "identities.toml",
        ),
        (
            "policies/prices.toml",
            "nonsense = 1\n".to_owned(),
            "prices.toml",
        ),
        (
            "config/bursar.toml",
            format!("max_bodi = \"1MiB\"\n{config}"),
            "bursar.toml:1",
        ),
    ];
    for (file, text, place) in faults {
        let before = std::fs::read_to_string(world.gateway.dir().join(file)).ok();
        world.change("error", || world.write(file, &text)).await;
        let ready = world.ops("/readyz").await;
        assert_eq!(ready.status, 200, "it goes on: {}", ready.text());
        assert!(ready.text().contains(place), "{place}: {}", ready.text());
        assert!(world.gateway.log().contains(place));
        // As before: one turn is left, but not for long.
        let reply = world.call(&format!("t-{place}")).await;
        assert_eq!(
            reply.header("x-bursar-remaining-turns").as_deref(),
            Some("1"),
            "{}",
            reply.text()
        );
        world
            .change("ok", || match before {
                Some(text) => world.write(file, &text),
                None => std::fs::remove_file(world.gateway.dir().join(file)).expect("a file"),
            })
            .await;
        let ready = world.ops("/readyz").await;
        assert!(!ready.text().contains(place), "{}", ready.text());
    }
    assert_eq!(world.call("t").await.status, 200);
    assert_eq!(world.call("t").await.status, 402);
    world.is_well().await;
}

fn key(world: &World, args: &[&str]) -> Value {
    let config = world.gateway.config();
    let output = Command::new(env!("CARGO_BIN_EXE_bursar"))
        .arg("key")
        .args(args)
        .arg("--config")
        .arg(config)
        .ended();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_come_and_go_without_a_restart() {
    let world = World::start(|setup| setup).await;
    std::fs::remove_file(world.gateway.dir().join("policies/identities.toml")).expect("a file");
    world.change("ok", || world.gateway.signal("HUP")).await;
    assert_eq!(world.call("t").await.status, 200, "nobody but `local`");
    let mut made = Value::Null;
    world
        .change("ok", || {
            made = key(
                &world,
                &["new", "--name", "crew", "--owner", "house", "--json"],
            )
        })
        .await;
    let bearer = format!("Bearer {}", made["key"].as_str().expect("a key"));
    let with = |bearer: &str| {
        world
            .post(CHAT, &chat("sim-a"))
            .header("authorization", bearer)
    };
    assert_eq!(with(&bearer).send().await.status, 200);
    assert_refused(
        "none",
        &world.call("t").await,
        Shape::Openai,
        401,
        "unauthenticated",
    );
    world
        .change("ok", || drop(key(&world, &["revoke", "crew"])))
        .await;
    assert_refused(
        "revoked",
        &with(&bearer).send().await,
        Shape::Openai,
        401,
        "unauthenticated",
    );
    assert!(
        !world
            .gateway
            .log()
            .contains(made["key"].as_str().expect("a key"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn providers_and_prices_change_without_a_restart() {
    let other = Provider::start(|_| answer(200, &chat_answer(1_000_000, 10))).await;
    let world = World::start(|setup| setup).await;
    assert_eq!(world.call("t").await.status, 200);
    let config = world.read("config/bursar.toml");
    let swapped = config.replace(&world.sim.addr().to_string(), &other.addr.to_string());
    world
        .change("ok", || world.write("config/bursar.toml", &swapped))
        .await;
    let reply = world.call("t").await;
    assert_eq!(
        (
            reply.status.as_u16(),
            other.seen().len(),
            world.sim.bill().calls
        ),
        (200, 1, 1)
    );
    let before = reply.cost().expect("a cost");
    let prices = "family = \"openai\"\n[[model]]\nname = \"sim-a\"\ninput = \"7\"\noutput = \"7\"\ntokenizer = \"byte\"\nmax_output = 10000\ncontext_window = 2000000\n";
    world
        .change("ok", || world.write("policies/prices.toml", prices))
        .await;
    let after = world.call("t").await.cost().expect("a cost");
    assert_eq!(after.0, 7_000_070_000, "before: {before}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_calls_in_flight_end() {
    let settings = Settings {
        chunk_delay: Duration::from_millis(150),
        output_tokens: 60..=60,
        ..Settings::default()
    };
    let sim = Sim::start(settings).await.expect("a sim");
    let limits = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"1\"\n";
    let mut world = World::around(
        sim,
        Setup::new("127.0.0.1:1".parse().expect("an address"))
            .limits(limits)
            .write(),
    )
    .await;
    let config = world
        .read("config/bursar.toml")
        .replace("127.0.0.1:1", &world.sim.addr().to_string());
    world
        .change("ok", || world.write("config/bursar.toml", &config))
        .await;
    let caller = world.gateway.caller("t");
    let mut streams = Vec::new();
    for dialect in [
        crate::common::calls::Dialect::Chat,
        crate::common::calls::Dialect::Messages,
    ] {
        let ask = Ask::chat("sim-a").dialect(dialect).stream();
        let mut stream = caller.open(&ask).await.expect("an answer").into_body();
        let chunk = bounded("a chunk", stream.frame()).await;
        chunk.expect("a chunk").expect("a chunk");
        streams.push(tokio::spawn(stream.collect()));
    }
    // A connection that has had a call before.
    let mut kept = world.connect().await;
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{{}}");
    kept.write_all(head.as_bytes()).await.expect("a call");
    assert!(
        crate::rig::read_text(&mut kept)
            .await
            .starts_with("HTTP/1.1 400 ")
    );

    world.gateway.signal("TERM");
    until("draining", SOON, || async {
        let ready = world.ops("/readyz").await;
        (ready.status == 503 && ready.text().contains("draining")).then_some(())
    })
    .await;
    // Nobody new: refused at the door, or told why.
    let _ = kept.write_all(head.as_bytes()).await;
    let said = crate::rig::read_text(&mut kept).await;
    assert!(said.is_empty() || said.contains("\"draining\""), "{said}");
    if let Ok(reply) = caller.call(&Ask::chat("sim-a")).await {
        assert_refused("late", &reply, Shape::Openai, 503, "draining");
    }
    assert!(
        streams.iter().any(|stream| !stream.is_finished()),
        "still speaking"
    );
    let ends = ["data: [DONE]\n\n", "data: {\"type\":\"message_stop\"}\n\n"];
    for (stream, end) in streams.into_iter().zip(ends) {
        let body = stream
            .await
            .expect("a reader")
            .expect("a whole stream")
            .to_bytes();
        let text = String::from_utf8_lossy(&body);
        assert!(text.ends_with(end), "{text}");
    }
    assert!(world.gateway.ended().await.success());
    let log = world.gateway.log();
    assert!(log.contains("stopped") && !log.contains("cut off"), "{log}");

    // The next one finds everything in order.
    world.gateway.start_again().await;
    let metrics = world.gateway.quiet().await;
    assert_eq!(metrics.get("bursar_in_doubt_usd"), 0.0);
    assert!(
        !world.gateway.log().contains("good order"),
        "no crash: {}",
        world.gateway.log()
    );
    let journal = books::calls(&world.gateway.store());
    books::compare(&world.sim.bill_by_request(), &journal);
    assert_eq!(journal.len(), 2);
    books::verify(&world.gateway.store());
}
