//! A model whose caller tells it of a budget of tokens hears of no more than there is left.

use crate::common::calls::Dialect;
use crate::rig::{Rig, Talk};
use serde_json::json;

const TASK: &str = "[[limit]]\nname = \"task\"\nper = [\"task\"]\ntokens = 40_000\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_budget_is_filled_in() {
    let rig = Rig::start(TASK).await;
    let mut talk = Talk::new(Dialect::Messages);
    let budget =
        |total: u64| json!({"effort": "high", "task_budget": {"type": "tokens", "total": total}});
    // There is more left than it says.
    talk.output_config = budget(30_000);
    assert!(rig.say("a", &talk).await.status.is_success());
    assert_eq!(rig.left()[0]["output_config"], talk.output_config);
    talk.output_config = budget(200_000);
    let mut told = Vec::new();
    for _ in 0..12 {
        talk.tool_turn(8_000);
        let reply = rig.say("a", &talk).await;
        if !reply.status.is_success() {
            break;
        }
        let left = rig.left();
        let config = &left.last().unwrap()["output_config"];
        assert_eq!(config["task_budget"]["total"], 200_000);
        assert_eq!(config["effort"], "high");
        told.push(
            config["task_budget"]["remaining"]
                .as_u64()
                .expect("a number"),
        );
    }
    assert_eq!(told[0], 24_576, "beside what this call may take");
    assert!(told.is_sorted_by(|one, next| one >= next), "{told:?}");
    assert!(*told.last().unwrap() < 16_384, "{told:?}");
    // It moves in steps, so that prompt caches hold in between.
    let mut steps = told.clone();
    steps.dedup();
    assert!(steps.len() < told.len(), "{told:?}");
}
