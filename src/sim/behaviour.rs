//! How a model misbehaves, by its name: `sim-slow`, `sim-cheap-rogue`, `sim-strong-reset-early`.
//!
//! The words of the name may be combined in any order. Only names with the word `sim` are read; any
//! other model is well behaved, except that OpenAI's reasoning models reason.
//!
//! | word | what it does |
//! | --- | --- |
//! | `slow` | pauses before each chunk |
//! | `reasoning` | reasons unseen, counted in the output, with a pause |
//! | `dense` | one token per byte of text, in and out |
//! | `greedy` | fills the output cap that it was told, to the last token |
//! | `rogue` | produces, and bills, three times the output cap that it was told |
//! | `tools` | answers with tool calls whenever tools are declared |
//! | `loop` | asks for the same tool call each time |
//! | `bad-args` | calls tools, without the arguments that they require |
//! | `bad-tool` | calls a tool that was not declared |
//! | `bad-json` | breaks off in the middle of the JSON that was asked for, as if that were all |
//! | `no-usage`, `null-usage`, `zero-usage` | hides what it cost |
//! | `usage-late` | pauses between the answer and its usage |
//! | `cost` | states `usage.cost` in dollars, 90 % of the list price, and bills that |
//! | `gzip` | encodes its answer, unless `accept-encoding` rules that out |
//! | `echo` | says which headers and bytes it received |
//! | `reset` | drops the connection in mid-answer; bills what it had produced |
//! | `reset-early` | drops the connection before the first byte; bills the whole answer |
//! | `stall` | stops in mid-answer and keeps the connection; bills the whole answer |
//! | `page` | a page of HTML in a 200, as some intermediary's; bills the whole answer |
//! | `error-event` | an error within a 200; bills the whole answer |
//! | `400` `429` `500` `503` `529` | a plain error, not billed |
//! | `408` `499` `502` `504` | an intermediary's error: the answer was produced and is billed in full |
//! | `flaky` | a 500 for one call in twenty |

/// What the answer says of its usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UsageShown {
    /// The truth.
    #[default]
    True,
    /// No such field.
    Absent,
    /// `null`.
    Null,
    /// Zeros.
    Zero,
}

/// What is wrong with the answer's form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bad {
    /// Nothing.
    #[default]
    Nothing,
    /// Arguments lack what is required.
    Args,
    /// The tool was not declared.
    Tool,
    /// The JSON is not all there.
    Json,
}

/// How the call ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// In full.
    #[default]
    Full,
    /// The connection drops in mid-answer.
    Reset,
    /// The connection drops before the first byte.
    ResetEarly,
    /// Nothing more comes, and the connection stays.
    Stall,
    /// A page of HTML in a 200.
    Page,
    /// An error within a 200.
    ErrorEvent,
    /// An error answer of that status.
    Status(u16),
    /// A 500 for one call in twenty.
    Flaky,
}

/// Everything that a model's name asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behaviour {
    pub slow: bool,
    pub reasoning: bool,
    pub dense: bool,
    pub greedy: bool,
    pub rogue: bool,
    pub tools: bool,
    pub same_tool: bool,
    pub bad: Bad,
    pub usage_late: bool,
    pub cost: bool,
    pub gzip: bool,
    pub echo: bool,
    pub usage: UsageShown,
    pub ending: Ending,
}

impl Behaviour {
    /// Reads a model's name.
    pub fn of(model: &str) -> Self {
        let mut said = Self::default();
        if !model.split(['-', '/']).any(|word| word == "sim") {
            return said;
        }
        let mut words = model.split(['-', '/']).peekable();
        while let Some(word) = words.next() {
            let next = words.peek().copied();
            said.hear(word, next);
        }
        said
    }

    fn hear(&mut self, word: &str, next: Option<&str>) {
        match (word, next) {
            ("slow", _) => self.slow = true,
            ("reasoning", _) => self.reasoning = true,
            ("dense", _) => self.dense = true,
            ("greedy", _) => self.greedy = true,
            ("rogue", _) => self.rogue = true,
            ("tools", _) => self.tools = true,
            ("loop", _) => (self.tools, self.same_tool) = (true, true),
            ("bad", Some("args")) => (self.tools, self.bad) = (true, Bad::Args),
            ("bad", Some("tool")) => (self.tools, self.bad) = (true, Bad::Tool),
            ("bad", Some("json")) => self.bad = Bad::Json,
            ("usage", Some("late")) => self.usage_late = true,
            ("cost", _) => self.cost = true,
            ("gzip", _) => self.gzip = true,
            ("echo", _) => self.echo = true,
            ("no", Some("usage")) => self.usage = UsageShown::Absent,
            ("null", Some("usage")) => self.usage = UsageShown::Null,
            ("zero", Some("usage")) => self.usage = UsageShown::Zero,
            ("reset", Some("early")) => self.ending = Ending::ResetEarly,
            ("reset", _) => self.ending = Ending::Reset,
            ("page", _) => self.ending = Ending::Page,
            ("stall", _) => self.ending = Ending::Stall,
            ("error", Some("event")) => self.ending = Ending::ErrorEvent,
            ("flaky", _) => self.ending = Ending::Flaky,
            ("400", _) => self.ending = Ending::Status(400),
            ("408", _) => self.ending = Ending::Status(408),
            ("429", _) => self.ending = Ending::Status(429),
            ("499", _) => self.ending = Ending::Status(499),
            ("500", _) => self.ending = Ending::Status(500),
            ("502", _) => self.ending = Ending::Status(502),
            ("503", _) => self.ending = Ending::Status(503),
            ("504", _) => self.ending = Ending::Status(504),
            ("529", _) => self.ending = Ending::Status(529),
            _ => {}
        }
    }
}

/// Whether an error of that status comes from an intermediary, after the answer was produced.
pub const fn billed_status(status: u16) -> bool {
    matches!(status, 408 | 499 | 502 | 504)
}
