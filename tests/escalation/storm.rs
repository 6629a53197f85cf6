//! Many tasks at their caps at once, people who decide this and that, and a gateway that is killed in
//! the midst: the provider's bill stays below each cap and what people added to it.

use super::rig::Scene;
use crate::common::calls::Ask;
use crate::common::{Draw, books};
use bursar::units::Meter;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What a task may cost without anybody's leave, nano-dollars.
const CAP: u64 = 1_000_000;
const TASKS: usize = 5;
const CALLERS: usize = 3;

fn task(number: usize) -> String {
    format!("storm-{number}")
}

/// Calls until it is told to stop; whatever comes back is fine here, the books tell.
async fn spend(scene: &Scene, number: usize, seed: u64, stop: Arc<AtomicBool>) {
    let caller = scene.gateway.caller(&task(number)).agent("writer");
    let mut draw = Draw::new(seed);
    tokio::spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            let mut ask = Ask::chat("sim-cheap").max_tokens(Some(100 + draw.below(400)));
            ask.stream = draw.percent(30);
            let calling = caller.call(&ask);
            let patience = Duration::from_millis(200 + draw.below(2_000));
            // Some hang up while they wait.
            let _ = tokio::time::timeout(patience, calling).await;
            tokio::time::sleep(Duration::from_millis(draw.below(5))).await;
        }
    });
}

async fn decide(scene: &Scene, draw: &mut Draw) {
    for question in scene.waiting().await {
        let id = question["id"].as_str().unwrap().to_owned();
        match draw.below(4) {
            0 => {
                scene.deny(&id, "not now").await;
                let path = format!("/api/tasks/{}/resume", question["task"].as_str().unwrap());
                scene.post(&path, json!({})).await;
            }
            1 => {
                scene
                    .approve(&id, json!({"usd": "0.0005", "expires": "1s"}))
                    .await;
            }
            2 => {
                let body = json!({"usd": "0.0003", "for_turns": 1 + draw.below(3)});
                let twice =
                    tokio::join!(scene.approve(&id, body.clone()), scene.approve(&id, body));
                assert!(twice.0.status.as_u16() < 500 && twice.1.status.as_u16() < 500);
            }
            _ => {}
        }
    }
}

/// What was ever added to each task's cap, nano-dollars: those with an end included.
fn added(scene: &Scene) -> BTreeMap<String, u64> {
    let accounts = books::accounts(&scene.gateway.store(), "task money");
    let of = |row: &bursar::store::AccountRow| {
        let task = row.key.per.iter().find(|(side, _)| *side == "task");
        let more = row.balance.topped_up[Meter::Usd] + row.balance.lapsed[Meter::Usd];
        (task.expect("per task").1.to_string(), more)
    };
    accounts.iter().map(of).collect()
}

fn assert_never_above(scene: &Scene) {
    let added = added(scene);
    let bill = scene.sim.bill();
    for number in 0..TASKS {
        let name = task(number);
        let billed = bill.by_task.get(&name).map_or(0, |line| line.nano_usd);
        let cap = CAP + added.get(&name).copied().unwrap_or(0);
        assert!(billed <= cap, "{name}: billed {billed}, allowed {cap}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_people_decide_and_whenever_it_is_killed() {
    let limit = "[[limit]]\nname = \"task money\"\nper = [\"task\"]\nusd = \"0.001\"\non_exceed = \"escalate\"\n";
    let more = "[escalation]\nwait = \"2s\"";
    let mut scene = Scene::bare(|setup| setup.limits(limit).more(more)).await;
    let mut draw = Draw::new(29);
    let mut asked = 0;
    for life in 0..3 {
        let stop = Arc::new(AtomicBool::new(false));
        for number in 0..TASKS {
            for _ in 0..CALLERS {
                spend(&scene, number, draw.next(), Arc::clone(&stop)).await;
            }
        }
        for _ in 0..12 {
            tokio::time::sleep(Duration::from_millis(100 + draw.below(100))).await;
            asked += scene.waiting().await.len();
            decide(&scene, &mut draw).await;
        }
        stop.store(true, Ordering::Relaxed);
        if life < 2 {
            scene.gateway.kill();
            books::verify(&scene.gateway.store());
            scene.gateway.start_again().await;
        }
        assert_never_above(&scene);
    }
    assert!(asked > 0, "nobody was ever asked");
    scene.held_open(0.0).await;
    scene.gateway.quiet().await;
    scene.gateway.stop().await;
    books::verify(&scene.gateway.store());
    assert_never_above(&scene);
    let all = added(&scene);
    assert!(
        all.values().any(|more| *more > 0),
        "nothing was approved: {all:?}"
    );
}
