//! What an answer says of its own cost, per dialect, and how it hides it when told to.

use super::behaviour::UsageShown;
use super::plan::Plan;
use super::prices::Tokens;
use bytes::{BufMut, BytesMut};
use std::fmt::Write as _;

/// Writes the members of a usage object, without its braces.
type Members = fn(&Tokens, &mut BytesMut);

/// `,"usage":{…}`, or what is shown instead of it.
pub fn member(plan: &Plan, members: Members, out: &mut BytesMut) {
    if plan.usage != UsageShown::Absent {
        out.put_slice(b",\"usage\":");
        value(plan, &plan.tokens, members, out);
    }
}

/// The value of `usage`: an object, or what is shown instead of it.
pub fn value(plan: &Plan, tokens: &Tokens, members: Members, out: &mut BytesMut) {
    let zero = Tokens::default();
    let tokens = match plan.usage {
        UsageShown::Null | UsageShown::Absent => return out.put_slice(b"null"),
        UsageShown::Zero => &zero,
        UsageShown::True => tokens,
    };
    out.put_u8(b'{');
    members(tokens, out);
    if let Some(cost) = plan.stated_cost {
        let _ = write!(out, ",\"cost\":{cost}");
    }
    out.put_u8(b'}');
}

/// Members of chat's usage; cached tokens lie inside `prompt_tokens`.
pub fn chat(tokens: &Tokens, out: &mut BytesMut) {
    let input = tokens.all_input();
    let _ = write!(
        out,
        "\"prompt_tokens\":{input},\"completion_tokens\":{},\"total_tokens\":{},\
         \"prompt_tokens_details\":{{\"cached_tokens\":{},\"audio_tokens\":0}},\
         \"completion_tokens_details\":{{\"reasoning_tokens\":{},\"audio_tokens\":0,\
         \"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}",
        tokens.output,
        input + tokens.output,
        tokens.cache_read,
        tokens.reasoning
    );
}

/// Members of the older completions' usage.
pub fn completions(tokens: &Tokens, out: &mut BytesMut) {
    let input = tokens.all_input();
    let _ = write!(
        out,
        "\"prompt_tokens\":{input},\"completion_tokens\":{},\"total_tokens\":{}",
        tokens.output,
        input + tokens.output
    );
}

/// Members of embeddings' usage.
pub fn embeddings(tokens: &Tokens, out: &mut BytesMut) {
    let input = tokens.all_input();
    let _ = write!(out, "\"prompt_tokens\":{input},\"total_tokens\":{input}");
}

/// Members of the responses dialect's usage; cached tokens lie inside `input_tokens`.
pub fn responses(tokens: &Tokens, out: &mut BytesMut) {
    let input = tokens.all_input();
    let _ = write!(
        out,
        "\"input_tokens\":{input},\"input_tokens_details\":{{\"cached_tokens\":{}}},\
         \"output_tokens\":{},\"output_tokens_details\":{{\"reasoning_tokens\":{}}},\
         \"total_tokens\":{}",
        tokens.cache_read,
        tokens.output,
        tokens.reasoning,
        input + tokens.output
    );
}

/// Members of Anthropic's usage; cached tokens lie outside `input_tokens`.
pub fn messages(tokens: &Tokens, out: &mut BytesMut) {
    let _ = write!(
        out,
        "\"input_tokens\":{},\"cache_creation_input_tokens\":{},\"cache_read_input_tokens\":{},\
         \"cache_creation\":{{\"ephemeral_5m_input_tokens\":{},\"ephemeral_1h_input_tokens\":{}}},\
         \"output_tokens\":{},\"service_tier\":\"standard\"",
        tokens.input,
        tokens.cache_write_5m + tokens.cache_write_1h,
        tokens.cache_read,
        tokens.cache_write_5m,
        tokens.cache_write_1h,
        tokens.output
    );
}

/// The usage chunk of chat and completions: only for those who asked, and without choices.
pub fn last_chunk(plan: &Plan, head: &[u8], members: Members, out: &mut BytesMut) {
    if !plan.include_usage || plan.usage == UsageShown::Absent {
        return;
    }
    out.put_slice(head);
    out.put_slice(b"]");
    member(plan, members, out);
    out.put_slice(b"}\n\n");
}

/// An error in the middle of a chat or completions stream.
pub fn failed_chunk(out: &mut BytesMut) {
    out.put_slice(
        b"data: {\"error\":{\"message\":\"The server had an error while processing your request.\",\
          \"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n",
    );
}
