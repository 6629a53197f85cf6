//! What no single key of a limit can tell: which of them go together.

use super::super::context;
use super::super::facts::{Match, Side};
use super::super::read::Section;
use super::super::window::Window;
use super::{Per, RESERVE_MAX, RESERVED};
use crate::ledger::Caps;
use crate::units::Meter;

/// A last call is made under an account that has something left for it.
pub(super) fn check_wrap_up(
    section: &Section<'_>,
    caps: &Caps,
    per: Option<&Per>,
    matches: &Match,
    reserve: Option<u32>,
) {
    let fault = |key: &'static str, why: &str| section.fault_of(key, format!("`{key}`: {why}"));
    let is_per_tool = matches!(per, Some(Per::Sides(sides)) if sides.contains(&Side::Tool));
    if per == Some(&Per::Call) || is_per_tool || matches.on(Side::Tool).is_some() {
        fault(
            "on_exceed",
            "a limit per call or tool cannot wrap up; write \"deny\"",
        );
    }
    let is_capped = RESERVED
        .iter()
        .any(|meter| caps.0[*meter as usize].is_some());
    if !is_capped {
        fault(
            "on_exceed",
            "only a cap on `usd`, tokens or `turns` can keep something for a last call",
        );
    }
    if reserve.is_some_and(|reserve| reserve > RESERVE_MAX) {
        fault("reserve", "at most half of a cap is kept for last calls");
    }
}

/// Near its cap a budget sends calls to cheaper models; nothing else gets cheaper by that.
pub(super) fn check_downgrade(
    section: &Section<'_>,
    caps: &Caps,
    per: Option<&Per>,
    matches: &Match,
) {
    let fault = |why: &str| section.fault_of("on_exceed", format!("`on_exceed`: {why}"));
    if !RESERVED
        .iter()
        .any(|meter| caps.0[*meter as usize].is_some())
    {
        fault("only a cap on `usd`, tokens or `turns` can downgrade");
    }
    let by_call = [Side::Model, Side::Provider, Side::Dialect, Side::Tool];
    let is_per = |side: &Side| matches!(per, Some(Per::Sides(sides)) if sides.contains(side));
    let looks = |side: &Side| is_per(side) || matches.on(*side).is_some();
    if per == Some(&Per::Call) || by_call.iter().any(looks) {
        fault(
            "a limit that looks at the call, its model, provider, dialect or tool cannot downgrade, for those are \
             chosen by it; write \"deny\"",
        );
    }
}

/// Hand-offs are those of a task, whoever makes the call.
pub(super) fn check_review(section: &Section<'_>, per: &Per, matches: &Match) {
    let is_wide = |side: &Side| matches!(side, Side::Task | Side::Owner);
    let per_task = match per {
        Per::Sides(sides) => sides.contains(&Side::Task) && sides.iter().all(is_wide),
        Per::Call => false,
    };
    if !per_task {
        let message = "`review_every`: hand-offs are counted per task; write `per = [\"task\"]`";
        section.fault_of("review_every", message);
    }
    let known = [Side::Owner, Side::Identity, Side::OnBehalfOf, Side::Task];
    let other = matches.sides.iter().find(|(side, _)| !known.contains(side));
    if let Some((side, _)) = other {
        let message = format!(
            "`review_every`: `match` names the {}, and a task's hand-offs are between its agents",
            side.name()
        );
        section.fault_of("review_every", message);
    }
}

/// A person is asked about a task, and can raise only what has an account.
pub(super) fn check_escalation(section: &Section<'_>, caps: &Caps, per: Option<&Per>) {
    if per == Some(&Per::Call) {
        let message = "`on_exceed`: a limit per call cannot escalate, for nobody can raise its cap; write \"deny\"";
        section.fault_of("on_exceed", message);
    }
    if caps.0[Meter::Tasks as usize].is_some() {
        let message = "`on_exceed`: a cap on `tasks` cannot escalate, for there is no task yet to suspend; write \"deny\"";
        section.fault_of("on_exceed", message);
    }
}

/// What no single key can tell: which caps mean something for what the limit counts per.
pub(super) fn check_shape(
    section: &Section<'_>,
    per: &Per,
    window: Option<&Window>,
    caps: &Caps,
    matches: &Match,
) {
    let is_per = |side| matches!(per, Per::Sides(sides) if sides.contains(&side));
    let of_tools = is_per(Side::Tool) || matches.on(Side::Tool).is_some();
    let has = |meter: Meter| section.has(meter.name());
    let caps_context = context::keys().any(|key| section.has(key));
    if !Meter::ALL.into_iter().any(has) && !section.has("review_every") && !caps_context {
        section.fault("this limit caps nothing; give it `usd`, `turns`, `tokens` or the like");
    }
    context::check_shape(section, of_tools);
    let is_call = *per == Per::Call;
    let may_last = is_call || is_per(Side::Task) || context::is_alone(section, caps);
    if window.is_none() && !section.has("window") && !may_last {
        section.fault(
            "this limit needs a window such as `window = { every = \"day\", timezone = \"UTC\" }`: \
             only limits per task or per call do without",
        );
    }
    if is_call && window.is_some() {
        section.fault_of("window", "a limit per call has no window");
    }
    for meter in Meter::ALL
        .into_iter()
        .filter(|m| caps.0[*m as usize].is_some())
    {
        let name = meter.name();
        let counted = [
            Meter::Turns,
            Meter::Attempts,
            Meter::ToolCalls,
            Meter::Tasks,
        ];
        let why = match meter {
            _ if is_call && of_tools => "tools are not known before the call; count per task",
            _ if is_call && counted.contains(&meter) => "a single call cannot be counted so",
            Meter::Duration if of_tools => "a tool has no duration here",
            Meter::Duration if !is_call && !is_per(Side::Task) => {
                "this is for limits per task or per call"
            }
            Meter::Duration if window.is_some() => "this is for limits without a window",
            Meter::Depth | Meter::FanOut if of_tools => "a tool is no agent",
            Meter::Depth | Meter::FanOut if !is_per(Side::Task) => {
                "agents call one another within a task; write `per = [\"task\"]`"
            }
            Meter::Depth | Meter::FanOut if window.is_some() => {
                "this is for limits without a window"
            }
            Meter::Tasks if is_per(Side::Task) => "a task opens no further tasks",
            Meter::Usd | Meter::ToolCalls | Meter::Duration => continue,
            _ if of_tools => "a limit on tools caps `usd` or `tool_calls`",
            _ => continue,
        };
        section.fault_of(name, format!("`{name}`: {why}"));
    }
}
