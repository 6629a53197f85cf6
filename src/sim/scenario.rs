//! What a model is to say, told beforehand: `POST /scenario` lists its next answers, so that a crew of
//! agents can be led into a loop and out of it again.
//!
//! ```json
//! {"model": "sim-supervisor",
//!  "steps": [{"tool": "transfer_to_writer", "arguments": {}, "times": 8},
//!            {"text": "The report is done."}]}
//! ```
//!
//! Each call of that model takes the next step, whoever makes it; the last one stays. A tool that a call
//! does not offer cannot be asked for: such a call takes no step, and is answered as any other. A second
//! scenario of a model replaces the first.

use super::request::Ask;
use super::wants::ToolChoice;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::sync::Arc;

/// Models with a scenario, in number.
const MOST_MODELS: usize = 1_024;
/// Steps of one scenario, in number.
const MOST_STEPS: usize = 1_024;

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// This text.
    Text(String),
    /// One call of this tool; the arguments are JSON.
    Tool { name: String, arguments: String },
}

#[derive(Debug)]
struct Scenario {
    /// How often each is taken, at least once, and the step.
    steps: Vec<(u64, Arc<Step>)>,
    at: usize,
    taken: u64,
}

/// The scenarios of all models.
#[derive(Debug, Default)]
pub struct Scenarios(Mutex<HashMap<String, Scenario>>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    model: String,
    steps: Vec<WireStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireStep {
    text: Option<String>,
    tool: Option<String>,
    arguments: Option<Box<RawValue>>,
    times: Option<u64>,
}

impl Scenarios {
    /// Takes a scenario as JSON; says what is wrong with one that cannot be used.
    pub fn tell(&self, json: &[u8]) -> Result<(), String> {
        let Wire { model, steps } =
            serde_json::from_slice(json).map_err(|error| format!("no scenario: {error}"))?;
        if steps.is_empty() || steps.len() > MOST_STEPS {
            return Err(format!("a scenario has 1 to {MOST_STEPS} steps"));
        }
        let steps = steps.into_iter().map(step).collect::<Result<_, _>>()?;
        let mut models = self.0.lock();
        if models.len() >= MOST_MODELS && !models.contains_key(&model) {
            return Err(format!("{MOST_MODELS} models have a scenario already"));
        }
        let scenario = Scenario {
            steps,
            at: 0,
            taken: 0,
        };
        models.insert(model, scenario);
        Ok(())
    }

    /// The step that this call takes, if its model has a scenario.
    pub fn take(&self, ask: &Ask<'_>) -> Option<Arc<Step>> {
        let mut models = self.0.lock();
        let scenario = models.get_mut(&*ask.model)?;
        let (times, step) = scenario.steps.get(scenario.at)?;
        if !can_take(ask, step) {
            return None;
        }
        let step = Arc::clone(step);
        scenario.taken += 1;
        if scenario.taken >= *times && scenario.at + 1 < scenario.steps.len() {
            (scenario.at, scenario.taken) = (scenario.at + 1, 0);
        }
        Some(step)
    }
}

fn step(wire: WireStep) -> Result<(u64, Arc<Step>), String> {
    let WireStep {
        text,
        tool,
        arguments,
        times,
    } = wire;
    let step = match (text, tool) {
        (Some(text), None) if arguments.is_none() => Step::Text(text),
        (None, Some(name)) => Step::Tool {
            name,
            arguments: arguments.map_or_else(|| "{}".to_owned(), |json| json.get().to_owned()),
        },
        _ => return Err("a step has either `text`, or `tool` and perhaps `arguments`".into()),
    };
    Ok((times.unwrap_or(1).max(1), Arc::new(step)))
}

/// Whether the call offers the tool that the step asks for.
fn can_take(ask: &Ask<'_>, step: &Step) -> bool {
    let Step::Tool { name, .. } = step else {
        return true;
    };
    let chosen = match &ask.tool_choice {
        ToolChoice::None => false,
        ToolChoice::Auto | ToolChoice::Any => true,
        ToolChoice::Named(only) => only == name,
    };
    chosen && ask.tools.iter().any(|tool| tool.name == *name)
}
