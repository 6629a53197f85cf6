use super::*;
use crate::loops::{Action, Circumstance, Context, Handoff, Message, Observed, Role, ToolCall};
use proptest::prelude::*;

/// What one call of a random task does.
#[derive(Clone, Debug)]
struct Call {
    agent: usize,
    line: u64,
    said: usize,
    tool: Option<usize>,
    result: Option<usize>,
    person: bool,
    handed: Option<(usize, usize)>,
    grown: u64,
    inherited: u64,
    decided: bool,
}

const AGENTS: [&str; 3] = ["lead", "miner", "writer"];
const SAID: [&str; 3] = [
    "I will look into the ledger of the third day and tell you what stands there.",
    "Nothing more can be said of the chest.",
    "",
];
const RESULTS: [&str; 4] = [
    "Error: no such room",
    "[]",
    "done",
    "Chapter one of the ledger tells of seven chests, of who carried them away and of where they were seen last; the rest is lost.",
];
const ASKS: [&str; 3] = [
    "Find the chest in the archive of the town",
    "Please find the chest in the town's archive",
    "Count the coins of 'Anna' and those of 'Berta'",
];

fn call() -> impl Strategy<Value = Call> {
    let done = (0..3_usize, 0..2_u64, 0..3_usize);
    let tools = (
        proptest::option::weighted(0.7, 0..2_usize),
        proptest::option::weighted(0.8, 0..4_usize),
    );
    let handed = proptest::option::weighted(0.3, (0..3_usize, 0..3_usize));
    let rare = (0..20_u8, 0..20_u8);
    (done, tools, handed, 0..100_000_u64, rare).prop_map(|(done, tools, handed, grown, rare)| {
        Call {
            agent: done.0,
            line: done.1,
            said: done.2,
            tool: tools.0,
            result: tools.1,
            person: rare.0 == 0,
            handed,
            grown,
            inherited: if rare.1 < 3 { grown } else { 0 },
            decided: rare.1 == 19,
        }
    })
}

impl Call {
    fn observe(
        &self,
        number: u64,
        watch: &mut Watch,
        rules: &Rules,
        recording: &mut Recording,
    ) -> Option<Firing> {
        if self.decided {
            watch.reset();
        }
        let tool = self.tool.map(|tool| ToolCall {
            name: "search",
            arguments: ["{\"q\":1}", "{\"q\":2}"][tool],
        });
        let told = format!("Now number {number}, if you please, and quickly.");
        let message = |role, text| Message {
            role,
            text,
            tools: &[],
            name: None,
            media: 0,
        };
        let mut messages = vec![Message {
            tools: tool.as_slice(),
            ..message(Role::Assistant, SAID[self.said])
        }];
        if let Some(result) = self.result {
            messages.push(message(Role::Tool, RESULTS[result]));
        }
        if self.person {
            messages.push(message(Role::User, &told));
        }
        let handoff = self.handed.map(|(to, text)| Handoff {
            to: AGENTS[to],
            text: ASKS[text],
        });
        let seen = Observed {
            call: number,
            agent: AGENTS[self.agent],
            line: self.line,
            messages: &messages,
            handoff,
            circumstance: Circumstance::Fresh,
            chain: None,
            context: Some(Context {
                bytes: self.grown,
                first: self.inherited > 0,
                whole_bytes: self.grown,
                inherited_bytes: self.inherited,
            }),
        };
        watch.observe_into(rules, &seen, recording)
    }
}

/// Other thresholds than the usual ones.
fn strict() -> Rules {
    let mut rules = Rules::default();
    rules.repeat.in_row = 2;
    rules.cycle.times = 2;
    rules.monologue.in_row = 2;
    rules.rounds.same = 2;
    rules.rounds.most = 4;
    rules.no_progress.in_vain = 2;
    rules.growth.least_bytes = 1_000;
    rules.error_retry.action = Action::Off;
    rules
}

/// The agent's name is not recorded.
fn nameless(firing: Option<Firing>) -> Option<Firing> {
    firing.map(|firing| Firing {
        agent: String::new(),
        first: true,
        ..firing
    })
}

proptest! {
    #[test]
    fn a_replay_fires_where_the_calls_did(calls in proptest::collection::vec(call(), 1..60)) {
        for rules in [Rules::default(), strict()] {
            // Recorded under the usual rules, whatever it is replayed under.
            let (mut live, mut recorded, mut again) = (Watch::default(), Watch::default(), Watch::default());
            for (number, call) in (0..).zip(&calls) {
                let mut recording = Recording::default();
                recording.begin(Heading { life: 7, number });
                let fired = call.observe(number, &mut live, &rules, &mut Recording::default());
                call.observe(number, &mut recorded, &Rules::default(), &mut recording);
                let record = recording.finish();
                let replayed = match &record {
                    Some(record) => {
                        prop_assert_eq!(heading(record), Ok(Heading { life: 7, number }));
                        again.replay(&rules, record).unwrap()
                    }
                    None => None,
                };
                prop_assert_eq!(nameless(replayed), nameless(fired), "call {}", number);
            }
        }
    }

    #[test]
    fn no_bytes_make_a_replay_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut record = vec![VERSION, 0, 0, 0, 0, 1, PART];
        record.extend_from_slice(&bytes);
        let _ = Watch::default().replay(&Rules::default(), &record);
        let _ = Watch::default().replay(&Rules::default(), &bytes);
        let _ = heading(&bytes);
    }
}

#[test]
fn a_call_in_which_nothing_was_done_is_not_recorded() {
    let mut recording = Recording::default();
    recording.begin(Heading::default());
    let messages = [Message {
        role: Role::User,
        text: "How many chests are there?",
        tools: &[],
        name: None,
        media: 0,
    }];
    let seen = Observed {
        call: 0,
        agent: "a",
        line: 0,
        messages: &messages,
        handoff: None,
        circumstance: Circumstance::Fresh,
        chain: None,
        context: Some(Context {
            bytes: 40,
            first: true,
            whole_bytes: 40,
            inherited_bytes: 0,
        }),
    };
    Watch::default().observe_into(&Rules::default(), &seen, &mut recording);
    assert_eq!(recording.finish(), None);
}

#[test]
fn a_step_takes_few_bytes() {
    let call = Call {
        agent: 0,
        line: 0,
        said: 0,
        tool: Some(0),
        result: Some(3),
        person: false,
        handed: None,
        grown: 0,
        inherited: 0,
        decided: false,
    };
    let mut recording = Recording::default();
    recording.begin(Heading {
        life: 1,
        number: 12,
    });
    call.observe(11, &mut Watch::default(), &Rules::default(), &mut recording);
    assert_eq!(recording.finish().map(|record| record.len()), Some(34));
}
