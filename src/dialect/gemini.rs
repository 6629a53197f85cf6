//! What everything that reads Gemini's dialect agrees on.

/// How the id of a tool call begins that Gemini itself has numbered: with this taken off, it goes back to it.
pub(super) const NUMBERED: &str = "gemini-";

/// The id under which a caller hears of a tool call, the `number`th of its answer. Gemini gives most of
/// its calls none, and tells them apart by their order.
pub(super) fn tool_id(answer: Option<&str>, number: u64, given: Option<&str>) -> String {
    match given.filter(|given| !given.is_empty()) {
        Some(given) => format!("{NUMBERED}{given}"),
        None => {
            let at_home = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            let answer = answer.unwrap_or_default();
            let answer: String = answer.chars().filter(at_home).take(64).collect();
            format!("call_{answer}_{number}")
        }
    }
}

/// JSON without the white space between its tokens: Gemini indents its plain answers, and what a model
/// has written of a tool's arguments is none of it.
pub(super) fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut quoted, mut escaped) = (false, false);
    for letter in json.chars() {
        if quoted {
            quoted = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
        } else if matches!(letter, ' ' | '\n' | '\r' | '\t') {
            continue;
        } else {
            quoted = letter == '"';
        }
        out.push(letter);
    }
    out
}
