//! Chat being written: what requests for chat servers and plain answers for chat callers have in
//! common, whatever they are made from.

use super::read::{Members, Raw};
use super::write::Writer;
use super::{Fit, Said, To, Unfit, objects};

/// `stream`, of a caller whose dialect tells the usage of streams unasked.
pub(super) fn stream(value: Raw<'_>, to: &To<'_>, out: &mut Writer, said: &mut Said) {
    out.key("stream").raw(value);
    if value.flag() == Some(true) {
        said.include_usage = true;
        if to.asks_usage {
            out.key("stream_options").json(r#"{"include_usage":true}"#);
        }
    }
}

/// Writes `tools`, each as `declaration` does; true if there are any. `is_function`: which types of tools
/// chat servers have, too.
pub(super) fn tools(
    tools: Raw<'_>,
    is_function: fn(Option<&str>) -> bool,
    declaration: fn(&Members<'_>, &mut Fit<'_>, &mut Writer) -> Result<(), Unfit>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<bool, Unfit> {
    let mut declared = Vec::new();
    for tool in objects(tools, "tools")? {
        let tool = tool?;
        match tool.text("type").as_deref() {
            kind if is_function(kind) => declared.push(tool),
            kind => fit.cannot(&format!("tools.{}", kind.unwrap_or_default()))?,
        }
    }
    if declared.is_empty() {
        return Ok(false);
    }
    out.key("tools").array(|out| {
        declared
            .iter()
            .try_for_each(|tool| declaration(tool, fit, out))
    })?;
    Ok(true)
}

/// `tool_choice`: the function of this name.
pub(super) fn chosen(name: Raw<'_>, out: &mut Writer) {
    out.key("tool_choice").open('{');
    function(out, |out| out.key("name").raw(name));
    out.close('}');
}

/// What makes a tool, a call of one or the choice of one: `type`, and `function` with the members that
/// `write` writes.
pub(super) fn function(out: &mut Writer, write: impl FnOnce(&mut Writer)) {
    out.key("type").string("function");
    out.key("function").open('{');
    write(out);
    out.close('}');
}

/// A tool call in an answer: its id, the tool's name, and what it is given.
pub(super) fn tool_call(id: Raw<'_>, name: Raw<'_>, input: Option<Raw<'_>>, out: &mut Writer) {
    out.open('{');
    out.key("id").raw(id);
    function(out, |out| {
        out.key("name").raw(name);
        out.key("arguments").string(input.map_or("{}", Raw::json));
    });
    out.close('}');
}

/// The one choice of a plain answer.
///
/// # Errors
/// Those of `message`.
pub(super) fn choices<E>(
    finish_reason: &str,
    message: impl FnOnce(&mut Writer) -> Result<(), E>,
    out: &mut Writer,
) -> Result<(), E> {
    out.key("choices").array(|out| {
        out.object(|out| {
            out.key("index").number(0);
            out.key("message").object(message)?;
            out.key("logprobs").json("null");
            out.key("finish_reason").string(finish_reason);
            Ok(())
        })
    })
}
