//! What the settings say, and that nothing is gained by saying nothing.

use super::common::calls::{Ask, Caller, Http, Reply};
use super::{rows, scene};
use std::collections::BTreeSet;

fn ask(agent: &str, text: &str) -> Ask {
    Ask {
        system: Some(format!("You are {agent}, and nobody else.")),
        text: text.to_owned(),
        ..Ask::chat("sim-cheap")
    }
}

fn how(reply: &Reply) -> String {
    reply.header("x-bursar-attribution").unwrap_or_default()
}

fn task(reply: &Reply) -> String {
    reply.header("x-bursar-task-id").unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_callers_who_name_none_are_bounded_and_capped() {
    let limits = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nturns = 2\n\
        [[limit]]\nname = \"owner\"\nper = [\"owner\"]\nwindow = { every = \"day\", timezone = \"UTC\" }\nturns = 7\n";
    let (_sim, gateway) = scene(|setup| {
        setup
            .limits(limits)
            .more("[attribution]\ninferred_tasks_per_hour = 3")
    })
    .await;
    let caller = Caller::of_nobody(&Http::new(), &gateway.agents);
    let mut opened = BTreeSet::new();
    for number in 0..5 {
        let reply = caller.call(&ask("a", &format!("question {number}"))).await;
        let reply = reply.expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.text());
        // Three may be opened; the rest share the day's.
        let expected = if number < 3 { "inferred" } else { "none" };
        assert_eq!(how(&reply), expected);
        opened.insert(task(&reply));
    }
    assert_eq!(opened.len(), 4, "{opened:?}");
    let reply = caller
        .call(&ask("a", "question 6"))
        .await
        .expect("an answer");
    assert_eq!(
        (reply.status.as_u16(), how(&reply)),
        (402, "none".into()),
        "a missing id never means no cap"
    );
    // A conversation that goes on meets its task's cap, and a refused call is no task of its own.
    let first = ask("a", "question 0");
    let mut on = ask("a", "and then?");
    on.history = vec![
        first.said(),
        serde_json::json!({"role": "assistant", "content": "so it is"}),
    ];
    let reply = caller.call(&on).await.expect("an answer");
    assert_eq!(
        (reply.status.as_u16(), how(&reply)),
        (200, "inferred".into())
    );
    assert!(opened.contains(&task(&reply)));
    for _ in 0..3 {
        let again = caller.call(&on).await.expect("an answer");
        assert_eq!(
            (again.status.as_u16(), task(&again)),
            (402, task(&reply)),
            "{}",
            again.text()
        );
    }
    // Whatever anybody says, the owner's cap holds.
    let said = Caller::new(&Http::new(), &gateway.agents, "mine");
    assert_eq!(
        said.call(&ask("a", "x")).await.expect("an answer").status,
        200
    );
    let reply = said.call(&ask("a", "x")).await.expect("an answer");
    assert_eq!(
        reply.refusal().as_deref(),
        Some("turns_exceeded"),
        "{}",
        reply.text()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inference_is_a_setting() {
    let (_sim, gateway) = scene(|setup| setup.more("[attribution]\ninfer = false")).await;
    let caller = Caller::of_nobody(&Http::new(), &gateway.agents);
    let reply = caller.call(&ask("a", "question")).await.expect("an answer");
    assert_eq!(how(&reply), "none");
    assert!(
        task(&reply).starts_with("unattributed-") && reply.header("x-bursar-agent-id").is_none()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_tasks_must_be_named_what_is_joined_to_one_goes_on() {
    let (_sim, gateway) =
        scene(|setup| setup.more("[attribution]\nunattributed = \"refuse\"")).await;
    let nobody = Caller::of_nobody(&Http::new(), &gateway.agents);
    let reply = nobody.call(&ask("a", "question")).await.expect("an answer");
    assert_eq!(reply.status, 400, "{}", reply.text());
    let first = ask("a", "question");
    let said = Caller::new(&Http::new(), &gateway.agents, "mine");
    let reply = said.call(&first).await.expect("an answer");
    assert_eq!(how(&reply), "explicit");
    let mut on = ask("a", "and then?");
    on.history = first.answered(&reply);
    let reply = nobody.call(&on).await.expect("an answer");
    assert_eq!(
        (how(&reply), task(&reply)),
        ("inferred".into(), "mine".into()),
        "{}",
        reply.text()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_share_nothing_and_what_is_said_wins() {
    let (_sim, gateway) = scene(|setup| {
        setup
            .identity("a1", "alpha")
            .identity("a2", "alpha")
            .identity("b1", "beta")
    })
    .await;
    let nobody = Caller::of_nobody(&Http::new(), &gateway.agents);
    let first = ask("a", "question");
    let reply = nobody
        .clone()
        .identity("a1")
        .call(&first)
        .await
        .expect("an answer");
    let mut on = ask("a", "and then?");
    on.history = first.answered(&reply);
    let same = nobody
        .clone()
        .identity("a2")
        .call(&on)
        .await
        .expect("an answer");
    assert_eq!(
        task(&same),
        task(&reply),
        "keys of one owner share its tasks"
    );
    let other = nobody
        .clone()
        .identity("b1")
        .call(&on)
        .await
        .expect("an answer");
    assert_ne!(task(&other), task(&reply));
    let said = nobody
        .identity("a1")
        .header("x-bursar-task-id", "mine")
        .header("x-bursar-agent-id", "me");
    let said = said.call(&on).await.expect("an answer");
    assert_eq!(
        (task(&said), how(&said)),
        ("mine".into(), "explicit".into())
    );
    gateway.quiet().await;
    let rows = rows(&gateway.store());
    let row = &rows[&said.request_id()];
    assert_eq!(
        (row.agent.as_str(), row.from.concat().as_str()),
        ("me", ""),
        "nothing was inferred"
    );
    assert_eq!(rows[&same.request_id()].from[0], "prefix");
    assert!(
        rows.values()
            .all(|row| row.ending == "settle" && row.parent.is_empty())
    );
}
