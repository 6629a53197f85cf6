//! Programs as each framework runs them, by what was recorded of its traffic; 50 at once of each kind, in
//! three dialects.

use super::world::*;
use super::*;
use serde_json::json;

fn user(text: &str) -> Part {
    Part::User(text.to_owned())
}

/// A turn in which an agent asks for a tool, and the next call brings the result.
fn step(history: &mut Vec<Part>, name: &'static str, wishes: &[Wish], result: &str) {
    history.push(Part::Calls(name, wishes.to_vec()));
    history.extend(
        wishes
            .iter()
            .map(|wish| Part::Result(wish.id.clone(), format!("{result} of {}", wish.name))),
    );
}

/// Some turns with a tool of its own, then an answer.
fn works(
    run: &Run<'_>,
    agent: &Agent,
    parent: Option<&Agent>,
    history: &mut Vec<Part>,
    answer: &str,
) {
    let wish = run
        .world
        .wish(agent.tools[0], json!({"q": "the same question everywhere"}));
    let asks = [wish];
    run.call(agent, parent, history, &Say::Tools(&asks));
    step(history, agent.name, &asks, "something was found");
    run.call(agent, parent, history, &Say::Text(answer));
    history.push(Part::Text(agent.name, answer.to_owned()));
}

/// A supervisor hands over to two workers, who see the whole history; langgraph-supervisor.
fn supervisor(run: &Run<'_>, input: &str) {
    let boss = Agent::new(
        "supervisor",
        &["transfer_to_researcher", "transfer_to_writer"],
    );
    let workers = [
        Agent::new("researcher", &["search"]),
        Agent::new("writer", &["draft"]),
    ];
    let mut history = vec![user(input)];
    for worker in &workers {
        let over = [run
            .world
            .wish(&format!("transfer_to_{}", worker.name), json!({}))];
        run.call(&boss, None, &history, &Say::Tools(&over));
        step(&mut history, boss.name, &over, "Successfully transferred");
        let mut own = history.clone();
        let answer = format!("{} is done with {input}", worker.name);
        works(run, worker, Some(&boss), &mut own, &answer);
        // Only its last message goes back, with a call of the framework's own.
        history.push(Part::Text(worker.name, answer));
        let back = [run.world.foreign("transfer_back_to_supervisor")];
        step(
            &mut history,
            worker.name,
            &back,
            "Successfully transferred back",
        );
    }
    run.call(&boss, None, &history, &Say::Text("All of it is done."));
}

/// Each agent hands the conversation on to the next; openai-agents, swarm, llama-index.
fn handoffs(run: &Run<'_>, input: &str) {
    let crew = [
        Agent::new("triage", &["transfer_to_sales"]),
        Agent::new("sales", &["transfer_to_support"]),
        Agent::new("support", &["lookup"]),
    ];
    let mut history = vec![user(input)];
    for (index, agent) in crew[..2].iter().enumerate() {
        let parent = index.checked_sub(1).map(|before| &crew[before]);
        let over = [run.world.wish(agent.tools[0], json!({}))];
        run.call(agent, parent, &history, &Say::Tools(&over));
        step(&mut history, agent.name, &over, "handed over");
    }
    works(
        run,
        &crew[2],
        Some(&crew[1]),
        &mut history,
        "What they need to know.",
    );
    // The person goes on with whoever spoke last.
    history.push(user("And what does it cost?"));
    run.call(&crew[2], Some(&crew[1]), &history, &Say::Text("Nothing."));
}

/// Agents as tools: conversations of their own, two levels, two at once; pydantic-ai, as_tool, ai-sdk.
fn tools(run: &Run<'_>, input: &str) {
    let boss = Agent::new("editor", &["ask_researcher"]);
    let child = Agent::new("researcher of the editor", &["ask_reader"]);
    let grandchild = Agent::new("reader", &["open_page"]);
    let mut history = vec![user(input)];
    let asks = ["causes", "effects"].map(|part| {
        run.world.wish(
            "ask_researcher",
            json!({"input": format!("Find the {part} of: {input}"), "style": "short-report"}),
        )
    });
    run.call(&boss, None, &history, &Say::Tools(&asks));
    for wish in &asks {
        let question = wish.arguments["input"].as_str().unwrap();
        let mut own = vec![user(question)];
        let deeper = [run.world.wish(
            "ask_reader",
            json!({"page": format!("Read what there is on {question}")}),
        )];
        run.call(&child, Some(&boss), &own, &Say::Tools(&deeper));
        let page = deeper[0].arguments["page"].as_str().unwrap();
        works(
            run,
            &grandchild,
            Some(&child),
            &mut vec![user(page)],
            "The page says so.",
        );
        step(&mut own, child.name, &deeper, "The page says so.");
        run.call(&child, Some(&boss), &own, &Say::Text("It was found."));
    }
    step(&mut history, boss.name, &asks, "It was found.");
    run.call(&boss, None, &history, &Say::Text("The report."));
}

/// A manager's task for another stands among words of the framework's own; smolagents, CrewAI.
fn managed(run: &Run<'_>, input: &str) {
    let boss = Agent::new("manager", &["delegate_work"]);
    let child = Agent::new("coworker", &["search"]);
    let mut history = vec![user(&format!("Current Task: {input}\n\nBegin!"))];
    let asks = [run.world.wish("delegate_work", json!({
        "coworker": "coworker", "task": format!("Look into {input}"), "context": "We know nothing yet."}))];
    run.call(&boss, None, &history, &Say::Tools(&asks));
    let told = format!(
        "Current Task: Look into {input}\n\nThis is the context you're working with:\nWe know nothing yet.\n\nBegin!"
    );
    works(
        run,
        &child,
        Some(&boss),
        &mut vec![user(&told)],
        "It was looked into.",
    );
    step(&mut history, boss.name, &asks, "It was looked into.");
    run.call(&boss, None, &history, &Say::Text("Done."));
}

/// The history is written anew for who takes over; ADK.
fn rewritten(run: &Run<'_>, input: &str) {
    let boss = Agent::new("root agent", &["transfer_to_agent"]);
    let child = Agent::new("specialist", &["search"]);
    let over = [run
        .world
        .wish("transfer_to_agent", json!({"agent_name": "specialist"}))];
    run.call(&boss, None, &[user(input)], &Say::Tools(&over));
    let mut history = vec![
        user(input),
        user(
            "For context: [root] called tool `transfer_to_agent` with parameters: {'agent_name': 'specialist'}",
        ),
        user("For context: [root] `transfer_to_agent` tool returned result: {'result': None}"),
    ];
    works(run, &child, Some(&boss), &mut history, "That is it.");
}

/// Only what the person said goes along; Semantic Kernel.
fn bare_handoff(run: &Run<'_>, input: &str) {
    let boss = Agent::new("host", &["Handoff-transfer_to_Worker"]);
    let child = Agent::new("worker", &["search"]);
    let over = [run.world.wish("Handoff-transfer_to_Worker", json!({}))];
    run.call(&boss, None, &[user(input)], &Say::Tools(&over));
    works(
        run,
        &child,
        Some(&boss),
        &mut vec![user(input)],
        "That is all.",
    );
}

/// Everybody hears everybody; AutoGen's round robin. Nobody calls anybody.
fn round_robin(run: &Run<'_>, input: &str) {
    let crew = [Agent::new("primary", &[]), Agent::new("critic", &[])];
    let mut histories = [vec![user(input)], vec![user(input)]];
    for turn in 0..6 {
        let (speaker, listener) = (turn % 2, 1 - turn % 2);
        let say = format!("Turn {turn} on {input}");
        run.call(&crew[speaker], None, &histories[speaker], &Say::Text(&say));
        histories[speaker].push(Part::Text(crew[speaker].name, say.clone()));
        histories[listener].push(Part::User(say));
    }
}

/// Sub-agents of sub-agents, two at once, cache marks that move and a header that changes; Claude's.
fn claude(run: &Run<'_>, input: &str) {
    let crew =
        ["main", "general-purpose", "deep worker"].map(|name| Agent::new(name, &["Agent", "Read"]));
    let crew = crew.map(|agent| Agent {
        tools: if agent.name == "deep worker" {
            vec!["Read"]
        } else {
            agent.tools.clone()
        },
        ..agent
    });
    nested(run, &crew, None, input);
}

fn nested(run: &Run<'_>, crew: &[Agent], parent: Option<&Agent>, input: &str) {
    let (agent, below) = crew.split_first().unwrap();
    let mut history = vec![user(input)];
    if below.is_empty() {
        let asks = [run.world.wish("Read", json!({"file_path": "/etc/motd"}))];
        marked(run, agent, parent, &history, &Say::Tools(&asks));
        step(&mut history, agent.name, &asks, "a file");
    } else {
        let asks = ["first", "second"].map(|which| {
            run.world.wish(
                "Agent",
                json!({
            "description": "Look into it", "subagent_type": below[0].name,
            "prompt": format!("Please do the {which} half of this: {input}")}),
            )
        });
        marked(run, agent, parent, &history, &Say::Tools(&asks));
        for wish in &asks {
            nested(
                run,
                below,
                Some(agent),
                wish.arguments["prompt"].as_str().unwrap(),
            );
        }
        step(&mut history, agent.name, &asks, "half of it is done");
    }
    marked(run, agent, parent, &history, &Say::Text("It is done."));
}

fn marked(run: &Run<'_>, agent: &Agent, parent: Option<&Agent>, history: &[Part], say: &Say<'_>) {
    let mut body = request_body(run.dialect, agent, history);
    if run.dialect == Dialect::AnthropicMessages {
        let volatile = format!(
            "x-anthropic-billing-header: cc_version=2.1.{};",
            run.world.wish("n", json!({})).id
        );
        body["system"] = json!([
            {"type": "text", "text": volatile},
            {"type": "text", "text": agent.system, "cache_control": {"type": "ephemeral"}},
        ]);
        let messages = body["messages"].as_array_mut().unwrap();
        if let Some(blocks) = messages
            .last_mut()
            .and_then(|last| last["content"].as_array_mut())
        {
            blocks.last_mut().unwrap()["cache_control"] = json!({"type": "ephemeral"});
        }
    }
    run.send(agent, parent, &body, say, "msg_none");
}

/// The answer before is named, not repeated, also by agents used as tools; openai-agents.
fn chained(run: &Run<'_>, input: &str) {
    let boss = Agent::new("chained editor", &["ask"]);
    let child = Agent::new("chained child", &["search"]);
    let id = |turn: &str| format!("resp_{}_{turn}", input.replace(' ', "_"));
    let body = |agent: &Agent, history: &[Part], previous: Option<&str>| {
        let mut body = request_body(run.dialect, agent, history);
        if let Some(previous) = previous {
            body["previous_response_id"] = json!(previous);
        }
        body
    };
    let asks = [run
        .world
        .wish("ask", json!({"input": format!("What of {input}?")}))];
    run.send(
        &boss,
        None,
        &body(&boss, &[user(input)], None),
        &Say::Tools(&asks),
        &id("a"),
    );
    works(
        run,
        &child,
        Some(&boss),
        &mut vec![user(&format!("What of {input}?"))],
        "A lot.",
    );
    let result = [Part::Result(asks[0].id.clone(), "A lot.".into())];
    run.send(
        &boss,
        None,
        &body(&boss, &result, Some(&id("a"))),
        &Say::Text("A lot, they say."),
        &id("b"),
    );
    let more = [user("Go on.")];
    run.send(
        &boss,
        None,
        &body(&boss, &more, Some(&id("b"))),
        &Say::Text("No."),
        &id("c"),
    );
}

/// A second task begins with what the first one gave; sequential CrewAI. Nothing but its text joins them.
fn sequential(run: &Run<'_>, input: &str) {
    let crew = [
        Agent::new("seq researcher", &["search"]),
        Agent::new("seq writer", &["draft"]),
    ];
    let found = format!("Ten facts on {input}");
    works(
        run,
        &crew[0],
        None,
        &mut vec![user(&format!("Current Task: research {input}"))],
        &found,
    );
    let told = format!(
        "Current Task: write an article\n\nThis is the context you're working with:\n{found}"
    );
    works(run, &crew[1], None, &mut vec![user(&told)], "The article.");
}

/// Who speaks next is asked with everything in the system text; AutoGen's selector.
fn selector(run: &Run<'_>, input: &str) {
    let speakers = [
        Agent::new("sel researcher", &[]),
        Agent::new("sel writer", &[]),
    ];
    let mut history = vec![user(input)];
    for turn in 0..4 {
        let mut chooser = Agent::new("selector", &[]);
        chooser.system = format!("Read this and choose who speaks next: {history:?}");
        let speaker = &speakers[turn % 2];
        run.call(&chooser, None, &[], &Say::Text(speaker.name));
        let say = format!("Turn {turn} of the selection on {input}");
        run.call(speaker, None, &history, &Say::Text(&say));
        history.push(Part::User(say));
    }
}

type Program = fn(&Run<'_>, &str);

const JOINED: [(&str, Program); 10] = [
    ("supervisor", supervisor),
    ("handoffs", handoffs),
    ("tools", tools),
    ("managed", managed),
    ("rewritten", rewritten),
    ("bare_handoff", bare_handoff),
    ("round_robin", round_robin),
    ("claude", claude),
    ("handoffs_again", handoffs),
    ("tools_again", tools),
];
const HARD: [(&str, Program); 2] = [("sequential", sequential), ("selector", selector)];

fn at_once(world: &World, programs: &[(&'static str, Program)], dialect: Dialect, runs: usize) {
    std::thread::scope(|scope| {
        for (name, program) in programs {
            for number in 0..runs {
                let run = world.run(name, &number.to_string(), dialect);
                scope.spawn(move || program(&run, &format!("{name} topic {number}")));
            }
        }
    });
}

#[test]
fn programs_of_every_framework_are_told_apart() {
    let dialects = [
        Dialect::OpenaiChat,
        Dialect::OpenaiResponses,
        Dialect::AnthropicMessages,
    ];
    for dialect in dialects {
        let world = World::default();
        at_once(&world, &JOINED, dialect, 50);
        if dialect == Dialect::OpenaiResponses {
            at_once(&world, &[("chained", chained)], dialect, 50);
        }
        let merged = world.merged();
        assert!(
            merged.is_empty(),
            "{dialect:?}: {} merged: {:?}",
            merged.len(),
            merged.first()
        );
        for (program, [calls, task, agent, parent]) in world.scores() {
            let share = |right: usize| right * 100 / calls;
            println!(
                "{} {program}: {calls} calls, task {} %, agent {} %, parent {} %",
                dialect.name(),
                share(task),
                share(agent),
                share(parent)
            );
            assert!(
                share(task) >= 95 && share(agent) >= 95 && share(parent) >= 90,
                "{program}: {calls} {task} {agent} {parent}"
            );
        }
    }
}

/// What cannot be joined is a task of its own, and never part of another's.
#[test]
fn what_nothing_joins_stands_alone() {
    let world = World::default();
    at_once(&world, &HARD, Dialect::OpenaiChat, 50);
    assert_eq!(world.merged(), []);
    let scores = world.scores();
    println!("{scores:?}");
    let [calls, task, ..] = scores["sequential"];
    assert_eq!(
        (calls, task),
        (200, 100),
        "the second task of a crew is one of its own"
    );
}

/// Fifty runs of one program on almost the same input: none is merged, whatever the order.
#[test]
fn runs_of_one_program_are_never_merged() {
    for _ in 0..4 {
        let world = World::default();
        std::thread::scope(|scope| {
            for number in 0..50 {
                let world = &world;
                scope.spawn(move || {
                    let run = world.run("tools", &number.to_string(), Dialect::OpenaiChat);
                    tools(&run, &format!("topic {number}"));
                });
            }
        });
        assert_eq!(world.merged(), []);
        assert_eq!(world.scores()["tools"][0], 50 * 10);
    }
}
