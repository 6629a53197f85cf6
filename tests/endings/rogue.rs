//! A provider that produces more than it was told: the answer ends cleanly, everything is charged,
//! the overrun is shown, and the next call meets the cap.

use crate::common::calls::{Ask, Dialect, Reply};
use crate::common::fake::{self, Fake, Then};
use crate::common::gateway::Gateway;
use crate::common::setup::Setup;
use crate::{DIALECTS, ONE_DOLLAR, Scene, only_entry};
use bursar::sim::Settings;
use bursar::units::Meter;

/// The stream says that it ended for its length, in its dialect.
fn assert_cut_cleanly(dialect: Dialect, reply: &Reply) {
    let last = reply.last_event();
    match dialect {
        Dialect::Chat | Dialect::Completions => {
            assert_eq!(last["choices"][0]["finish_reason"], "length", "{last}");
            assert_eq!(reply.events().last().map(String::as_str), Some("[DONE]"));
        }
        Dialect::Messages => {
            assert_eq!(last["type"], "message_stop");
            assert!(reply.text().contains("\"stop_reason\":\"max_tokens\""));
        }
        Dialect::Responses => {
            assert_eq!(last["type"], "response.incomplete");
            let reason = &last["response"]["incomplete_details"]["reason"];
            assert_eq!(reason, "max_output_tokens");
        }
    }
}

#[tokio::test]
async fn is_cut_charged_and_shown() {
    for dialect in DIALECTS {
        let scene = Scene::with(Settings::default(), |setup| setup.limits(ONE_DOLLAR)).await;
        let ask = Ask::chat("sim-rogue")
            .dialect(dialect)
            .max_tokens(Some(200))
            .stream();
        let (reply, entry) = scene.call(&ask).await;
        assert!(reply.status.is_success());
        assert_cut_cleanly(dialect, &reply);
        let visible = reply.text().len();
        entry.assert_settled(scene.billed(&entry));
        assert_eq!(entry.charged[Meter::OutputTokens], 600, "three times");
        assert_eq!(entry.overrun, entry.usd() - entry.held());
        assert!(entry.overrun > 0);
        let metrics = scene.gateway.quiet().await;
        assert_eq!(metrics.nano("bursar_overrun_usd_total"), entry.overrun);

        // The bound has learned: the next call holds for three times what it is told.
        let (next, second) = scene.call(&ask).await;
        assert!(next.status.is_success());
        second.assert_settled(scene.billed(&second));
        assert_eq!(second.overrun, 0, "{second:?}");
        assert_eq!(second.quoted[Meter::OutputTokens], 600);
        assert!(visible > 0);
    }
}

#[tokio::test]
async fn the_next_call_is_refused_over_the_cap() {
    for (dialect, stream) in DIALECTS.into_iter().zip([false, true, false, true]) {
        // One call of 1,000 tokens fits; what came is three times as much.
        let limit = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"0.006\"\n";
        let scene = Scene::with(Settings::default(), |setup| setup.limits(limit)).await;
        let mut ask = Ask::chat("sim-rogue")
            .dialect(dialect)
            .max_tokens(Some(1_000));
        ask.stream = stream;
        let (reply, entry) = scene.call(&ask).await;
        assert!(reply.status.is_success());
        entry.assert_settled(scene.billed(&entry));
        assert!(entry.usd() > 6_000_000 && entry.overrun > 0);
        if !stream {
            assert_eq!(reply.cost().map(|cost| cost.0), Some(entry.usd()));
        }
        let next = scene
            .gateway
            .caller("t")
            .call(&ask.max_tokens(Some(1)))
            .await;
        let next = next.expect("an answer");
        assert_eq!(next.refusal().as_deref(), Some("task_budget_exceeded"));
        assert_eq!(scene.sim.bill().turns, 1);
    }
}

/// What was seen bounds the doubt where the hold does not: ten tokens were allowed, four thousand bytes
/// came, and no usage ever.
#[tokio::test]
async fn and_breaks_off() {
    let piece = format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"sim-x\",\
         \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}\"}},\"finish_reason\":null}}]}}\n\n",
        "purse ".repeat(50)
    );
    let said = piece.repeat(14);
    for (then, reason) in [(Then::Close, "cut_short"), (Then::Wait, "client_gone")] {
        let fake = Fake::start(fake::events(&said), then).await;
        let setup = Setup::new(fake.addr).limits(ONE_DOLLAR);
        let gateway = Gateway::start(&setup.top("finish_upstream = \"300ms\"")).await;
        let ask = Ask::chat("sim-x").max_tokens(Some(10)).stream();
        let reply = gateway.caller("t").call(&ask).await.expect("an answer");
        assert_cut_cleanly(Dialect::Chat, &reply);
        let entry = only_entry(&gateway).await;
        assert_eq!((&*entry.ending, &*entry.reason), ("unreconciled", reason));
        assert!(entry.charged[Meter::OutputTokens] >= 4_000, "{entry:?}");
        assert!(entry.usd() >= 4_000 * 4_000, "{entry:?}");
        assert_eq!(entry.overrun, entry.usd() - entry.held());
        let metrics = gateway.quiet().await;
        assert_eq!(metrics.nano("bursar_in_doubt_usd"), entry.usd());
        assert_eq!(metrics.nano("bursar_overrun_usd_total"), entry.overrun);
    }
}
