//! Whose call it is: every explicit source, each before the ones behind it, and what becomes of
//! calls that name nothing.

use crate::common::calls::Reply;
use crate::common::setup::Setup;
use crate::rig::{CHAT, Call, Shape, World, assert_refused, chat, echo};
use serde_json::{Value, json};

/// Where a value stands in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Header(&'static str),
    Path(&'static str),
    Baggage(&'static str),
    /// A member of the body's `metadata`.
    Field(&'static str),
    /// The session in Anthropic's `metadata.user_id`.
    UserId,
    /// The answer of an earlier call that named its task.
    Previous,
    Trace,
    /// The key that the call is made with is bound to it.
    Key,
    /// The role configured for the agent.
    Policy,
}
use Place::{Baggage, Field, Header, Path};

/// The sources of each field in their order, with the word that the journal has for each.
const TASK: &[(Place, &str)] = &[
    (Header("x-bursar-task-id"), "header"),
    (Path("task"), "path"),
    (Baggage("user_task_id"), "baggage"),
    (Header("x-claude-code-session-id"), "foreign"),
    (Header("session-id"), "foreign"),
    (Header("session_id"), "foreign"),
    (Header("x-litellm-session-id"), "foreign"),
    (Header("x-litellm-trace-id"), "foreign"),
    (Header("x-bf-session-id"), "foreign"),
    (Header("helicone-session-id"), "foreign"),
    (Header("x-portkey-trace-id"), "foreign"),
    (Field("user_task_id"), "body"),
    (Place::UserId, "body"),
    (Place::Previous, "previous_response"),
    (Header("x-session-id"), "configured"),
    (Baggage("session.id"), "configured"),
    (Baggage("gen_ai.conversation.id"), "configured"),
    (Place::Trace, "configured"),
];
const AGENT: &[(Place, &str)] = &[
    (Header("x-bursar-agent-id"), "header"),
    (Path("agent"), "path"),
    (Baggage("agent_id"), "baggage"),
    (Baggage("gen_ai.agent.id"), "baggage"),
    (Baggage("gen_ai.agent.name"), "baggage"),
    (Header("x-claude-code-agent-id"), "foreign"),
    (Header("x-litellm-agent-id"), "foreign"),
    (Field("agent_id"), "body"),
    (Place::Key, "key"),
];
const ROLE: &[(Place, &str)] = &[
    (Header("x-bursar-agent-role"), "header"),
    (Path("role"), "path"),
    (Baggage("agent_role"), "baggage"),
    (Header("x-claude-code-agent-type"), "foreign"),
    (Field("agent_role"), "body"),
    (Place::Key, "key"),
    (Place::Policy, "policy"),
];
const PARENT: &[(Place, &str)] = &[
    (Header("x-bursar-parent-agent-id"), "header"),
    (Baggage("parent_agent_id"), "baggage"),
    (Header("x-claude-code-parent-agent-id"), "foreign"),
];

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";

fn setup(setup: Setup) -> Setup {
    setup
        .identity("crew", "house")
        .identity_with("bound", "house", "agent = \"agent-key\"\nrole = \"role-key\"\n")
        .more(
            "[attribution]\ntask_from = [\"x-session-id\", \"baggage:session.id\", \"gen_ai.conversation.id\", \"trace\"]\n\
             [[agent]]\nid = \"planner\"\nrole = \"role-policy\"\n",
        )
}

/// A request that says something in several places.
struct Shot {
    endpoint: &'static str,
    body: Value,
    prefix: String,
    baggage: Vec<String>,
    headers: Vec<(&'static str, String)>,
    identity: &'static str,
}

impl Shot {
    fn new(endpoint: &'static str) -> Self {
        let mut body = match endpoint {
            "/v1/responses" => json!({"model": "sim-echo", "input": "Hello."}),
            _ => chat("sim-echo"),
        };
        if endpoint != "/v1/responses" {
            body["max_tokens"] = json!(8_000);
        }
        Self {
            endpoint,
            body,
            prefix: String::new(),
            baggage: Vec::new(),
            headers: Vec::new(),
            identity: "crew",
        }
    }

    fn say(&mut self, place: Place, value: &str, previous: &str) {
        match place {
            Header(name) => self.headers.push((name, value.to_owned())),
            Path(name) => self.prefix += &format!("/{name}/{value}"),
            // The first source in the order is not the first member.
            Baggage(key) => self.baggage.insert(0, format!("{key}={value};property=1")),
            Field(name) => self.body["metadata"][name] = json!(value),
            Place::UserId => {
                let user = format!("user_0a_account_1b_session_{value}");
                self.body["metadata"]["user_id"] = json!(user);
            }
            Place::Previous => self.body["previous_response_id"] = json!(previous),
            Place::Trace => {
                let parent = format!("00-{TRACE_ID}-b7ad6b7169203331-01");
                self.headers.push(("traceparent", parent));
            }
            Place::Key => self.identity = "bound",
            Place::Policy => self
                .headers
                .push(("x-litellm-agent-id", "planner".to_owned())),
        }
    }

    fn call(&self, world: &World) -> Call {
        let path = format!("{}{}", self.prefix, self.endpoint);
        let mut call = world.post(&path, &self.body).identity(self.identity);
        if !self.baggage.is_empty() {
            call = call.header("baggage", &format!("other=1, {}", self.baggage.join(" , ")));
        }
        let headers = self.headers.iter();
        call.headers(headers.map(|(name, value)| (*name, value.as_str())))
    }
}

/// The calls of the journal as JSON.
async fn journal(world: &World, request: &str) -> Value {
    let store = world.gateway.store();
    crate::common::until(
        "the journal's entry",
        std::time::Duration::from_secs(10),
        || async {
            let mut found = None;
            let reader = bursar::store::Reader::open(&store).expect("a store");
            let rows = reader.rows(0, |row| {
                let mut entry: Value = serde_json::from_str(row.entry)?;
                if entry["request"] == request && entry["dialect"] != "task" {
                    // A row leaves the usual source out.
                    for side in ["task", "agent", "role", "parent", "on_behalf_of"] {
                        let from = format!("{side}_from");
                        if !entry[side].is_null() && entry[&from].is_null() {
                            entry[from] = "header".into();
                        }
                    }
                    found = Some(entry);
                }
                Ok(true)
            });
            rows.expect("a journal");
            found
        },
    )
    .await
}

#[derive(Clone, Copy)]
struct Side {
    name: &'static str,
    sources: &'static [(Place, &'static str)],
    /// The header upstream that says what was found.
    told: &'static str,
}

const SIDES: [Side; 4] = [
    Side {
        name: "task",
        sources: TASK,
        told: "x-bursar-task-id",
    },
    Side {
        name: "agent",
        sources: AGENT,
        told: "x-bursar-agent-id",
    },
    Side {
        name: "role",
        sources: ROLE,
        told: "x-bursar-agent-role",
    },
    Side {
        name: "parent",
        sources: PARENT,
        told: "x-bursar-parent-agent-id",
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_source_of_each_field_counts() {
    let world = World::start(setup).await;
    let named = world
        .post(
            "/v1/responses",
            &json!({"model": "sim-a", "input": "Hello."}),
        )
        .identity("crew")
        .header("x-bursar-task-id", "task-previous")
        .send()
        .await;
    let previous = named.json()["id"].as_str().expect("an id").to_owned();
    for endpoint in [CHAT, "/v1/messages", "/v1/responses"] {
        for side in SIDES {
            let said_here = |place: Place| match place {
                Place::UserId => endpoint == "/v1/messages",
                Place::Previous => endpoint == "/v1/responses",
                _ => true,
            };
            let mut sources = side.sources.to_vec();
            sources.retain(|(place, _)| said_here(*place));
            for first in 0..sources.len() {
                let value_of = |index: usize| match sources[index].0 {
                    Place::Previous => "task-previous".to_owned(),
                    Place::Trace => TRACE_ID.to_owned(),
                    Place::Key => format!("{}-key", side.name),
                    Place::Policy => "role-policy".to_owned(),
                    _ => format!("{}-{index}", side.name),
                };
                let mut shot = Shot::new(endpoint);
                for (index, (place, _)) in sources.iter().enumerate().skip(first) {
                    shot.say(*place, &value_of(index), &previous);
                }
                let reply = shot.call(&world).send().await;
                let (place, word) = sources[first];
                let case = format!("{endpoint}: {} from {place:?}", side.name);
                assert_eq!(reply.status, 200, "{case}: {}", reply.text());
                let told = &echo(&reply)["headers"][side.told];
                assert_eq!(told, &value_of(first), "{case}");
                let entry = journal(&world, &reply.request_id()).await;
                assert_eq!(entry[side.name], value_of(first), "{case}");
                assert_eq!(
                    entry[format!("{}_from", side.name)],
                    word,
                    "{case}: {entry}"
                );
                if side.name == "task" {
                    assert_eq!(
                        reply.header("x-bursar-task-id"),
                        Some(value_of(first)),
                        "{case}"
                    );
                    assert_eq!(how(&reply), "explicit", "{case}");
                }
                if side.name == "agent" {
                    assert_eq!(
                        reply.header("x-bursar-agent-id"),
                        Some(value_of(first)),
                        "{case}"
                    );
                }
            }
        }
    }
}

fn how(reply: &Reply) -> String {
    reply
        .header("x-bursar-attribution")
        .expect("a word on attribution")
}

fn task(reply: &Reply) -> String {
    reply.header("x-bursar-task-id").expect("a task")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spellings_of_one_id_are_one_task() {
    let world = World::start(setup).await;
    let task_of = |call: Call| async move { task(&call.identity("crew").send().await) };
    let post = |path: &str| world.post(path, &chat("sim-a"));
    assert_eq!(
        task_of(post(CHAT).header("x-bursar-task-id", "  team:7 ")).await,
        "team:7"
    );
    assert_eq!(
        task_of(post("/task/team%3A7/v1/chat/completions")).await,
        "team:7"
    );
    assert_eq!(
        task_of(post(CHAT).header("baggage", "user_task_id=team%3A7")).await,
        "team:7"
    );
    assert_eq!(
        task_of(post(CHAT).header("baggage", "session.id=team%3a7;p")).await,
        "team:7"
    );
    // Several headers of one name are one list.
    let split = post(CHAT)
        .header("baggage", "a=1,b=2")
        .header("baggage", "user_task_id=team:7");
    assert_eq!(task_of(split).await, "team:7");
    // What is no id when decoded is taken as it stands: nobody is refused for an agent's name.
    let named = post(CHAT).header("baggage", "gen_ai.agent.name=Web%20Researcher");
    let reply = named.identity("crew").send().await;
    assert_eq!(
        reply.header("x-bursar-agent-id").as_deref(),
        Some("Web%20Researcher")
    );
    // Empty says nothing, and the next source counts.
    let empty = post(CHAT)
        .header("x-bursar-task-id", "")
        .header("helicone-session-id", "h-1");
    assert_eq!(task_of(empty).await, "h-1");
    // The path may name all three, in any order, before any endpoint.
    let path = "/role/writer/task/t-9/agent/a-9/v1/messages";
    let reply = world
        .post(path, &chat("sim-echo"))
        .identity("crew")
        .send()
        .await;
    assert_eq!(
        (task(&reply), reply.header("x-bursar-agent-id")),
        ("t-9".into(), Some("a-9".into()))
    );
    let reply = world
        .get("/task/t-9/v1/models")
        .identity("crew")
        .send()
        .await;
    assert_eq!(
        (reply.status.as_u16(), task(&reply)),
        (200, "t-9".to_owned())
    );
    // Both spellings that Anthropic's clients have for `user_id`.
    let mut body = chat("sim-a");
    body["metadata"] = json!({"user_id": "{\"device_id\":\"d\",\"session_id\":\"s-5\"}"});
    let reply = world
        .post("/v1/messages", &body)
        .identity("crew")
        .send()
        .await;
    assert_eq!(task(&reply), "s-5");
    // An answer that another owner was given says nothing.
    let answer = world
        .post("/v1/responses", &json!({"model": "sim-a", "input": "x"}))
        .identity("crew")
        .header("x-bursar-task-id", "mine")
        .send()
        .await;
    let id = answer.json()["id"].clone();
    let body = json!({"model": "sim-a", "input": "x", "previous_response_id": id});
    let reply = world
        .post("/v1/responses", &body)
        .identity("crew")
        .send()
        .await;
    assert_eq!(task(&reply), "mine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_name_nothing_share_a_task() {
    let now = jiff::Timestamp::now();
    let world = World::start(|setup| {
        setup.limits("[[limit]]\nname = \"task\"\nper = [\"task\"]\nturns = 2\n")
    })
    .await;
    let call = || world.post(CHAT, &chat("sim-a"));
    // A trace id alone is no task, and neither is a person's session, unless a setting says so.
    let first = call()
        .header("traceparent", &format!("00-{TRACE_ID}-b7ad6b7169203331-01"))
        .header("x-session-id", "s")
        .header("baggage", "session.id=s,gen_ai.conversation.id=c")
        .send()
        .await;
    assert_eq!((first.status.as_u16(), how(&first).as_str()), (200, "none"));
    let today =
        [now, jiff::Timestamp::now()].map(|at| format!("unattributed-{}", at.strftime("%Y-%m-%d")));
    assert!(today.contains(&task(&first)), "{}", task(&first));
    assert_eq!(call().send().await.status, 200);
    // A missing id never means no cap.
    let third = call().send().await;
    assert_refused("third", &third, Shape::Openai, 402, "turns_exceeded");
    assert_eq!(
        (
            how(&third).as_str(),
            third.header("x-should-retry").as_deref()
        ),
        ("none", Some("false"))
    );
    let named = call().header("x-bursar-task-id", "t").send().await;
    assert_eq!(
        (named.status.as_u16(), how(&named).as_str()),
        (200, "explicit")
    );

    let hourly = World::start(|setup| setup.more("[attribution]\nunattributed = \"hour\"")).await;
    let now = jiff::Timestamp::now();
    let reply = hourly.post(CHAT, &chat("sim-a")).send().await;
    let hours = [now, jiff::Timestamp::now()]
        .map(|at| format!("unattributed-{}", at.strftime("%Y-%m-%dT%H")));
    assert!(hours.contains(&task(&reply)), "{}", task(&reply));

    let strict = World::start(|setup| setup.more("[attribution]\nunattributed = \"refuse\"")).await;
    for path in [CHAT, "/v1/messages"] {
        let reply = strict.post(path, &chat("sim-a")).send().await;
        assert_refused(path, &reply, Shape::of(path), 400, "invalid_request");
        assert!(
            reply.text().contains("x-bursar-task-id"),
            "it says what to do"
        );
        let named = strict
            .post(path, &chat("sim-a"))
            .header("x-bursar-task-id", "t");
        assert_eq!(named.send().await.status, 200);
    }
    assert_eq!(strict.get("/v1/models").send().await.status, 200);
    assert_eq!(strict.sim.bill().calls, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_belong_to_owners() {
    let limits = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nturns = 2\n\
        [[limit]]\nname = \"person\"\nmatch = { on_behalf_of = \"jo\" }\nper = [\"on_behalf_of\"]\nwindow = { every = \"day\", timezone = \"UTC\" }\nturns = 1\n";
    let world = World::start(|setup| {
        setup
            .limits(limits)
            .identity("a1", "alpha")
            .identity("a2", "alpha")
            .identity("b1", "beta")
            .identity_with("voice", "gamma", "may_say_on_behalf_of = true\n")
    })
    .await;
    let call = |identity: &str, task: &str| {
        let call = world.post(CHAT, &chat("sim-a")).identity(identity);
        call.header("x-bursar-task-id", task)
    };
    // Two keys of one owner share a task and its cap; the same id of another owner is another task.
    assert_eq!(call("a1", "t1").send().await.status, 200);
    assert_eq!(call("a2", "t1").send().await.status, 200);
    for identity in ["a1", "a2"] {
        let reply = call(identity, "t1").send().await;
        assert_refused(identity, &reply, Shape::Openai, 402, "turns_exceeded");
    }
    assert_eq!(call("b1", "t1").send().await.status, 200);
    let reply = call("b1", "t1").send().await;
    assert_eq!(
        reply.header("x-bursar-remaining-turns").as_deref(),
        Some("0")
    );

    // On whose behalf: said by those who may, and counted.
    let reply = call("a1", "t2")
        .header("x-bursar-on-behalf-of", "jo")
        .send()
        .await;
    assert_refused("a1", &reply, Shape::Openai, 403, "not_permitted");
    let first = call("voice", "t3")
        .header("x-bursar-on-behalf-of", "jo")
        .send()
        .await;
    assert_eq!(first.status, 200, "{}", first.text());
    let entry = journal(&world, &first.request_id()).await;
    assert_eq!(
        (&entry["on_behalf_of"], &entry["on_behalf_of_from"]),
        (&json!("jo"), &json!("header"))
    );
    let second = call("voice", "t4")
        .header("x-bursar-on-behalf-of", "jo")
        .send()
        .await;
    assert_refused("jo", &second, Shape::Openai, 402, "turns_exceeded");

    // `user` in the body is recorded and counts for nothing.
    let mut body = chat("sim-a");
    body["user"] = json!("jo");
    for task in ["t5", "t6"] {
        let call = world
            .post(CHAT, &body)
            .identity("a1")
            .header("x-bursar-task-id", task);
        let reply = call.send().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let entry = journal(&world, &reply.request_id()).await;
        assert_eq!(
            (&entry["on_behalf_of"], &entry["on_behalf_of_from"]),
            (&json!("jo"), &json!("body"))
        );
    }
}
