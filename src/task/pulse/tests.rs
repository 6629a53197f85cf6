//! Signs, and what is none.

use super::*;

const RULES: PulseRules = PulseRules {
    state_lost: true,
    stalled: true,
    after_ms: 600_000,
    share_percent: 80,
    least_agents: 3,
    least_turns: 20,
};

/// A conversation of these messages, as a body and its links.
fn talk(messages: &[&str]) -> (Vec<u8>, Vec<Link>) {
    let mut body = Vec::new();
    let mut chain = 0_u128;
    let links = messages.iter().map(|message| {
        let start = body.len();
        body.extend_from_slice(message.as_bytes());
        chain = chain
            .wrapping_mul(31)
            .wrapping_add(u128::from(xxh3_64(message.as_bytes())));
        Link {
            digest: chain,
            at: start..body.len(),
            ..Link::default()
        }
    });
    let links = links.collect();
    (body, links)
}

struct Scene {
    pulse: Pulse,
    now: UnixMs,
}

impl Scene {
    fn new() -> Self {
        Self {
            pulse: Pulse::default(),
            now: UnixMs(1_000_000),
        }
    }

    fn call_of(
        &mut self,
        agent: &str,
        parent: Option<&str>,
        messages: &[&str],
    ) -> Vec<&'static str> {
        let (body, links) = talk(messages);
        self.now.0 += 1_000;
        let beat = Beat {
            agent: Some(agent),
            parent,
            links: &links,
            body: &body,
            turn: true,
            at: self.now,
        };
        let signs = self.pulse.beat(&RULES, &beat);
        signs.iter().map(|sign| sign.kind).collect()
    }

    /// A call and its answer.
    fn call(&mut self, agent: &str, messages: &[&str]) -> Vec<&'static str> {
        let told = self.call_of(agent, None, messages);
        self.pulse.ended(Some(agent), false, self.now);
        told
    }

    fn look(&mut self, minutes: i64) -> Option<Sign> {
        self.now.0 += minutes * 60_000;
        self.pulse.look(&RULES, self.now)
    }
}

const NONE: [&str; 0] = [];
const LONG: [&str; 5] = ["u1", "a1", "u2", "a2", "u3"];

#[test]
fn a_conversation_that_was_forgotten_is_told_once() {
    let mut scene = Scene::new();
    assert_eq!(scene.call("a", &LONG[..1]), NONE);
    assert_eq!(scene.call("a", &LONG[..3]), NONE);
    assert_eq!(scene.call("a", &LONG), NONE);
    assert_eq!(scene.call("a", &["u4"]), ["state_lost"]);
    assert!(scene.pulse.signs()[0].detail.contains("1 messages after 5"));
    assert_eq!(scene.call("a", &["u4", "a4", "u5"]), NONE);
    assert_eq!(scene.call("a", &["u6"]), NONE, "told already");
    let longer = ["u6", "a6", "u7", "a7", "u8", "a8", "u9"];
    assert_eq!(scene.call("a", &longer), NONE);
    assert_eq!(
        scene.call("a", &["u9"]),
        NONE,
        "its newest message stands in it"
    );
    assert_eq!(scene.call("a", &longer), NONE);
    assert_eq!(scene.call("a", &["u10"]), ["state_lost"]);
}

#[test]
fn replays_hand_offs_and_shortened_conversations_are_none() {
    let mut scene = Scene::new();
    // Again from a checkpoint, in order.
    scene.call("a", &LONG[..1]);
    scene.call("a", &LONG[..3]);
    scene.call("a", &LONG);
    assert_eq!(scene.call("a", &LONG[..1]), NONE);
    assert_eq!(scene.call("a", &LONG[..3]), NONE);
    assert_eq!(scene.call("a", &LONG), NONE);
    // A retry.
    assert_eq!(scene.call("a", &LONG), NONE);
    // Old messages left out, or summed up.
    assert_eq!(scene.call("a", &["sum", "u3"]), NONE);
    // Another agent in between handed it new work.
    scene.call("b", &LONG);
    scene.call("lead", &["x"]);
    assert_eq!(scene.call("b", &["new work"]), NONE);
    // Several at once.
    scene.call("c", &LONG);
    scene.call_of("c", None, &["v1", "b1", "v2", "b2", "v3"]);
    assert_eq!(scene.call("c", &["w1"]), NONE);
}

#[test]
fn who_leads_the_others_is_handed_nothing_by_them() {
    let mut scene = Scene::new();
    scene.call("lead", &LONG);
    scene.call_of("worker", Some("lead"), &["work"]);
    assert_eq!(scene.call("lead", &["u4"]), ["state_lost"]);
}

#[test]
fn silence_after_a_tool_call_is_told_once() {
    let mut scene = Scene::new();
    scene.call("a", &LONG);
    assert_eq!(scene.look(60), None, "it had nothing more to ask");
    scene.call_of("a", None, &LONG);
    assert_eq!(scene.look(60), None, "the call is in flight");
    scene.pulse.ended(Some("a"), true, scene.now);
    assert_eq!(scene.look(9), None);
    assert_eq!(scene.look(1).map(|sign| sign.kind), Some("stalled"));
    assert_eq!(scene.look(60), None);
    // It goes on, and stalls again.
    scene.call_of("a", None, &LONG);
    scene.pulse.ended(Some("a"), true, scene.now);
    scene.now.0 += 9 * 60_000;
    scene.pulse.rest(scene.now);
    assert_eq!(scene.look(9), None, "the task was suspended");
    assert!(scene.look(1).is_some());
}

#[test]
fn one_agent_that_takes_nearly_all_turns_is_told_once() {
    let mut scene = Scene::new();
    scene.call("a", &["x"]);
    for _ in 0..30 {
        assert_eq!(scene.call("c", &["x"]), NONE, "two are no crew");
    }
    let mut scene = Scene::new();
    for agent in ["a", "b", "d", "e"] {
        scene.call(agent, &["x"]);
    }
    let told: Vec<_> = (0..40).flat_map(|_| scene.call("c", &["x"])).collect();
    assert_eq!(told, ["turn_share"]);
    assert!(scene.pulse.signs()[0].detail.contains("17 of 21 turns"));
}

#[test]
fn it_is_bounded() {
    let mut scene = Scene::new();
    for n in 0..200 {
        let messages: Vec<String> = (0..=n).map(|m| format!("m{m}")).collect();
        let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
        scene.call("a", &messages);
        scene.call(&format!("a{n}"), &["x"]);
    }
    assert_eq!(scene.pulse.crew.len(), MAX_MEMBERS);
    assert_eq!(scene.pulse.crew[0].talk.met.len(), MAX_MET);
    assert_eq!(scene.pulse.turns(), 400);
}
