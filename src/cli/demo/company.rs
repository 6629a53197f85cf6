//! Who works in the demo, on what, with which model, and what their policies allow.

/// The demo's configuration. Ports are chosen by the system; the simulated providers' is filled in.
pub const CONFIG: &str = r#"# `bursar demo`
policies = "policies"

[listen]
agents = "127.0.0.1:0"
ops    = "127.0.0.1:0"

[store]
url = "sqlite:bursar.db"

[[provider]]
name     = "openai"
kind     = "openai"
base_url = "http://SIM/v1"
models   = ["gpt-*", "sim-*"]
forward_attribution = true

[[provider]]
name     = "anthropic"
kind     = "anthropic"
base_url = "http://SIM"
models   = ["claude-*"]
forward_attribution = true
"#;

/// The demo's `policies/limits.toml`.
pub const LIMITS: &str = r#"# Whatever callers invent, all of them together stop here.
[[limit]]
name   = "owner per day"
per    = ["owner"]
window = { every = "day" }
usd    = "5.00"

# Every task, if nothing lower is said below.
[[limit]]
name  = "task"
per   = ["task"]
usd   = "0.50"
turns = 200

[[limit]]
name  = "site audit"
match = { task = "site-audit" }
per   = ["task"]
usd   = "0.30"

# Every agent in a task.
[[limit]]
name  = "agent"
per   = ["task", "agent"]
usd   = "0.45"
turns = 100

[[limit]]
name  = "reviewers are cheap"
match = { role = "reviewer" }
per   = ["task", "agent"]
usd   = "0.03"
"#;

/// Which endpoint an agent calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/messages`
    Messages,
}

/// How long an agent goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// So many turns, then its work is done.
    Turns(u32),
    /// Reads one more page each turn and never finds that it has read enough.
    RunsAway,
    /// Polishes its answer without end.
    Polishes,
}

/// One agent of a task.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub agent: &'static str,
    pub model: &'static str,
    pub speaks: Speaks,
    pub stream: bool,
    /// The output cap that it asks for, tokens.
    pub max_tokens: u64,
    pub habit: Habit,
}

/// One unit of work.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    pub task: &'static str,
    pub crew: [Member; 4],
}

const fn supervisor(turns: u32) -> Member {
    Member {
        agent: "supervisor",
        model: "claude-sonnet-4-5",
        speaks: Speaks::Messages,
        stream: true,
        max_tokens: 500,
        habit: Habit::Turns(turns),
    }
}

const fn researcher(habit: Habit) -> Member {
    Member {
        agent: "researcher",
        model: "gpt-4o",
        speaks: Speaks::Chat,
        stream: false,
        max_tokens: 400,
        habit,
    }
}

const fn writer(turns: u32) -> Member {
    Member {
        agent: "writer",
        model: "claude-haiku-4-5",
        speaks: Speaks::Messages,
        stream: false,
        max_tokens: 800,
        habit: Habit::Turns(turns),
    }
}

const fn reviewer(habit: Habit) -> Member {
    Member {
        agent: "reviewer",
        model: "gpt-4.1",
        speaks: Speaks::Chat,
        stream: true,
        max_tokens: 300,
        habit,
    }
}

/// The whole company.
pub const COMPANY: [Work; 4] = [
    Work {
        task: "annual-report",
        crew: [
            supervisor(10),
            researcher(Habit::Turns(14)),
            writer(12),
            reviewer(Habit::Turns(5)),
        ],
    },
    Work {
        task: "code-review",
        crew: [
            supervisor(12),
            researcher(Habit::Turns(9)),
            writer(10),
            reviewer(Habit::Turns(6)),
        ],
    },
    Work {
        task: "site-audit",
        crew: [
            supervisor(5),
            researcher(Habit::RunsAway),
            writer(8),
            reviewer(Habit::Turns(4)),
        ],
    },
    Work {
        task: "translation",
        crew: [
            supervisor(8),
            researcher(Habit::Turns(10)),
            writer(14),
            reviewer(Habit::Polishes),
        ],
    },
];
