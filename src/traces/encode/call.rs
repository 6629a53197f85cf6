//! A call as a span, with one below it for each try at a provider.

use super::{
    ATTRIBUTES, CLIENT, ERROR, Head, Style, Whose, content, events, link, operation, sort, span,
    status, usd, whose,
};
use crate::config::Conventions;
use crate::dialect::Dialect;
use crate::gateway::Provider;
use crate::ops::metrics::dollars;
use crate::store::Ending;
use crate::traces::item::{Attempt, CallData, EndedAs, Lane, Tokens};
use crate::traces::wire::Wire;
use crate::units::NanoUsd;

/// What the tags of a call take, mostly.
const TAGS_BYTES: usize = 512;

pub(super) fn encode(call: &CallData, style: Style, out: &mut Wire) {
    // The same on all its spans.
    let mut tags = Wire(Vec::with_capacity(TAGS_BYTES));
    whose(&mut tags, style, &whose_of(call));
    let operation = operation_of(call.dialect);
    let head = Head {
        trace: call.ids.trace,
        span: call.ids.span,
        parent: call.parent,
        // Either the caller's, or the root of a trace of its own.
        remote: call.joined.is_none_or(|joined| joined.tools.is_none()) && !call.aside,
        name: (operation, &call.model),
        kind: CLIENT,
        started: call.started,
        ended: call.ended,
    };
    span(out, &head, |out| {
        if let Some(state) = &call.state {
            out.bytes(3, state.as_bytes());
        }
        asked(call, style, out);
        answered(call, style, out);
        if let Some(said) = call.content.as_deref().filter(|_| style.content) {
            content::call(said, call.dialect, style, out);
        }
        out.append(&tags);
        events(out, &call.events);
        if let Some(root) = call.link {
            link(out, root, "task");
        }
        fault(call, style, out);
    });
    for (number, attempt) in call.attempts.iter().enumerate() {
        let head = Head {
            trace: call.ids.trace,
            span: attempt.span,
            parent: Some(call.ids.span),
            remote: false,
            name: ("attempt", attempt.provider.name.as_str()),
            kind: CLIENT,
            started: attempt.started,
            ended: attempt.ended.unwrap_or(call.ended),
        };
        span(out, &head, |out| {
            sort(out, style, "CHAIN", "span");
            out.append(&tags);
            attempted(call, attempt, number, out);
        });
    }
}

fn whose_of(call: &CallData) -> Whose<'_> {
    let of = &*call.whose;
    Whose {
        owner: of.owner.as_str(),
        task: of.task.value.as_str(),
        agent: of.agent.as_ref().map(|agent| agent.value.as_str()),
        role: of.role.as_ref().map(|role| role.value.as_str()),
        parent: of.parent.as_ref().map(|parent| parent.value.as_str()),
        session: call.session.as_deref(),
        user: of.on_behalf_of.as_ref().map(|user| user.value.as_str()),
    }
}

const fn operation_of(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenaiEmbeddings => "embeddings",
        Dialect::OpenaiCompletions => "text_completion",
        Dialect::OpenaiChat
        | Dialect::OpenaiResponses
        | Dialect::AnthropicMessages
        | Dialect::Gemini
        | Dialect::Bedrock => "chat",
    }
}

/// The try that the answer is of, else the newest.
fn answering(call: &CallData) -> Option<&Attempt> {
    let mut newest = call.attempts.iter().rev();
    newest
        .find(|attempt| !attempt.cancelled && attempt.failed.is_none())
        .or_else(|| call.attempts.last())
}

/// What the caller asked for.
fn asked(call: &CallData, style: Style, out: &mut Wire) {
    let is_embedding = call.dialect == Dialect::OpenaiEmbeddings;
    let (openinference, langfuse) = match is_embedding {
        true => ("EMBEDDING", "embedding"),
        false => ("LLM", "generation"),
    };
    sort(out, style, openinference, langfuse);
    operation(out, style, operation_of(call.dialect));
    let provider = match answering(call) {
        Some(attempt) => provider_name(&attempt.provider),
        None if call.dialect == Dialect::AnthropicMessages => "anthropic",
        None => "openai",
    };
    if style.is_openinference() {
        out.text(ATTRIBUTES, "llm.provider", provider);
        out.text(ATTRIBUTES, "llm.system", provider);
    } else {
        provider_of(out, style, provider);
        out.text(ATTRIBUTES, "gen_ai.request.model", &call.model);
        if call.stream {
            out.flag(ATTRIBUTES, "gen_ai.request.stream", true);
        }
        if let Some(tokens) = call.max_tokens {
            out.whole(ATTRIBUTES, "gen_ai.request.max_tokens", tokens);
        }
    }
    out.text(ATTRIBUTES, "bursar.request_id", call.request.as_str());
    out.text(ATTRIBUTES, "bursar.identity", call.whose.identity.as_str());
    out.text(ATTRIBUTES, "bursar.dialect", call.dialect.name());
    out.text(
        ATTRIBUTES,
        "bursar.task_source",
        call.whose.task.source.name(),
    );
    if let Some(agent) = &call.whose.agent {
        out.text(ATTRIBUTES, "bursar.agent_source", agent.source.name());
    }
    if let Some(parent) = &call.whose.parent {
        out.text(ATTRIBUTES, "bursar.parent_source", parent.source.name());
    }
    if let Some(invocation) = &call.whose.invocation {
        out.text(
            ATTRIBUTES,
            "gen_ai.agent.call.id",
            invocation.value.as_str(),
        );
    }
    if call.aside {
        out.text(ATTRIBUTES, "bursar.aside", "summary");
    }
}

fn provider_of(out: &mut Wire, style: Style, name: &str) {
    out.text(ATTRIBUTES, "gen_ai.provider.name", name);
    if style.conventions == Conventions::Both {
        out.text(ATTRIBUTES, "gen_ai.system", name);
    }
}

/// A provider as the conventions name it.
fn provider_name(provider: &Provider) -> &'static str {
    match provider.config.preset.name {
        "azure" | "azure-deployments" => "azure.ai.openai",
        "mistral" => "mistral_ai",
        "xai" => "x_ai",
        "gemini-openai" => "gcp.gemini",
        name => name,
    }
}

/// What came of it.
fn answered(call: &CallData, style: Style, out: &mut Wire) {
    let Some(ended) = &call.ended_as else {
        let kept = call.refused.is_none() && call.attempts.is_empty() && !call.departed;
        if kept {
            // Nobody was asked: it was given up before, or answered from what was kept.
            out.text(ATTRIBUTES, "bursar.ending", "not_sent");
        }
        return;
    };
    out.text(ATTRIBUTES, "bursar.ending", ended.ending.name());
    if let Some(reason) = ended.reason {
        out.text(ATTRIBUTES, "bursar.reason", reason);
    }
    if let Some(route) = &ended.route {
        out.text(ATTRIBUTES, "bursar.route", route);
    }
    let model = ended.answered.as_deref().or_else(|| {
        let attempt = answering(call)?;
        Some(&*attempt.model)
    });
    if style.is_openinference() {
        out.text(ATTRIBUTES, "llm.model_name", model.unwrap_or(&call.model));
    } else {
        if let Some(model) = model {
            out.text(ATTRIBUTES, "gen_ai.response.model", model);
        }
        if let Some(id) = &ended.answer_id {
            out.text(ATTRIBUTES, "gen_ai.response.id", id);
        }
        if let Some(finish) = &ended.finish {
            out.texts(ATTRIBUTES, "gen_ai.response.finish_reasons", &[finish]);
        }
    }
    if let Some(tokens) = &ended.tokens {
        counted(tokens, style, out);
    }
    money(call, ended, style, out);
    let sent = answering(call).and_then(|attempt| Some((attempt.started, attempt.first?)));
    if let Some((sent, first)) = sent
        && !style.is_openinference()
    {
        let seconds = std::time::Duration::from_nanos(first.saturating_sub(sent)).as_secs_f64();
        out.fraction(ATTRIBUTES, "gen_ai.response.time_to_first_chunk", seconds);
    }
}

fn counted(tokens: &Tokens, style: Style, out: &mut Wire) {
    let mut whole = |name: &str, number: u64| out.whole(ATTRIBUTES, name, number);
    if style.is_openinference() {
        whole("llm.token_count.prompt", tokens.input);
        whole("llm.token_count.completion", tokens.output);
        whole(
            "llm.token_count.total",
            tokens.input.saturating_add(tokens.output),
        );
        whole(
            "llm.token_count.prompt_details.cache_read",
            tokens.cache_read,
        );
        whole(
            "llm.token_count.prompt_details.cache_write",
            tokens.cache_write,
        );
        whole(
            "llm.token_count.completion_details.reasoning",
            tokens.reasoning,
        );
        return;
    }
    whole("gen_ai.usage.input_tokens", tokens.input);
    whole("gen_ai.usage.output_tokens", tokens.output);
    whole("gen_ai.usage.cache_read.input_tokens", tokens.cache_read);
    whole("gen_ai.usage.cache_write.input_tokens", tokens.cache_write);
    if style.conventions == Conventions::Both {
        // Its name until lately.
        whole(
            "gen_ai.usage.cache_creation.input_tokens",
            tokens.cache_write,
        );
    }
    whole("gen_ai.usage.reasoning.output_tokens", tokens.reasoning);
}

fn money(call: &CallData, ended: &EndedAs, style: Style, out: &mut Wire) {
    let (settled, doubted) = match ended.ending {
        Ending::Settle => (Some(ended.charged.usd()), None),
        Ending::Unreconciled => (None, Some(ended.charged.usd())),
        Ending::Void | Ending::Denied => (None, None),
    };
    let with = |own: Option<NanoUsd>, beside: NanoUsd| {
        let sum = NanoUsd(own.unwrap_or_default().0.saturating_add(beside.0));
        (own.is_some() || beside > NanoUsd::ZERO).then_some(sum)
    };
    let cost = with(settled, call.beside.cost);
    if let Some(cost) = cost {
        usd(out, "bursar.cost_usd", cost);
        if style.is_openinference() {
            usd(out, "llm.cost.total", cost);
        }
    }
    if let Some(doubt) = with(doubted, call.beside.in_doubt) {
        usd(out, "bursar.in_doubt_usd", doubt);
    }
    if ended.overrun.0 > 0 {
        usd(out, "bursar.overrun_usd", ended.overrun);
    }
    if let Some(left) = ended.left_usd {
        usd(out, "bursar.remaining_usd", left);
    }
    if let Some(left) = ended.left_turns {
        out.whole(ATTRIBUTES, "bursar.remaining_turns", left);
    }
    if style.is_langfuse()
        && let Some(cost) = cost
    {
        let cost = format!("{{\"total\":{}}}", dollars(cost));
        out.text(ATTRIBUTES, "langfuse.observation.cost_details", &cost);
        if let Some(tokens) = &ended.tokens {
            // Langfuse adds its kinds up: each token once.
            let cached = tokens.cache_read.saturating_add(tokens.cache_write);
            let usage = format!(
                "{{\"input\":{},\"cache_read_input_tokens\":{},\"cache_creation_input_tokens\":{},\"output\":{},\"output_reasoning_tokens\":{},\"total\":{}}}",
                tokens.input.saturating_sub(cached),
                tokens.cache_read,
                tokens.cache_write,
                tokens.output.saturating_sub(tokens.reasoning),
                tokens.reasoning,
                tokens.input.saturating_add(tokens.output)
            );
            out.text(ATTRIBUTES, "langfuse.observation.usage_details", &usage);
        }
        let model = ended.answered.as_deref().unwrap_or(&call.model);
        out.text(ATTRIBUTES, "langfuse.observation.model.name", model);
    }
}

/// Whether it went wrong, and how.
fn fault(call: &CallData, style: Style, out: &mut Wire) {
    let ended = call.ended_as.as_ref();
    let wrong = ended.filter(|ended| ended.ending != Ending::Settle);
    let wrong = wrong.and_then(|ended| ended.reason.or(Some("unknown")));
    let why = match (&call.refused, wrong) {
        (Some(refused), _) => refused.code,
        (None, Some(reason)) => reason,
        (None, None) if ended.is_none() && call.departed => "abandoned",
        (None, None) => return,
    };
    if let Some(refused) = &call.refused {
        out.whole(
            ATTRIBUTES,
            "http.response.status_code",
            u64::from(refused.status),
        );
        if let Some(limit) = &refused.limit {
            out.text(ATTRIBUTES, "bursar.limit", limit);
        }
    }
    out.text(ATTRIBUTES, "error.type", why);
    if style.is_langfuse() {
        out.text(ATTRIBUTES, "langfuse.observation.level", "ERROR");
        out.text(ATTRIBUTES, "langfuse.observation.status_message", why);
    }
    status(out, ERROR, why);
}

/// Which of two asks it was, where two targets were asked at once, and whether the other one answered.
fn raced(call: &CallData, attempt: &Attempt, out: &mut Wire) {
    let is_race = || call.attempts.iter().any(|any| any.lane == Lane::Second);
    let side = match attempt.lane {
        Lane::Second => "second",
        Lane::First if is_race() => "first",
        Lane::First | Lane::Alone => return,
    };
    out.text(ATTRIBUTES, "bursar.hedge", side);
    if attempt.cancelled {
        out.flag(ATTRIBUTES, "bursar.cancelled", true);
    }
}

fn attempted(call: &CallData, attempt: &Attempt, number: usize, out: &mut Wire) {
    let provider = &attempt.provider;
    out.text(ATTRIBUTES, "bursar.request_id", call.request.as_str());
    out.text(ATTRIBUTES, "bursar.provider", provider.name.as_str());
    out.text(ATTRIBUTES, "bursar.model", &attempt.model);
    out.whole(ATTRIBUTES, "http.request.resend_count", number as u64);
    raced(call, attempt, out);
    let address = provider.config.base_url.authority();
    if let Some(address) = address {
        out.text(ATTRIBUTES, "server.address", address.host());
        let usual = match provider.config.base_url.scheme_str() {
            Some("http") => 80,
            _ => 443,
        };
        let port = address.port_u16().unwrap_or(usual);
        out.whole(ATTRIBUTES, "server.port", u64::from(port));
    }
    if let Some(status) = attempt.status {
        out.whole(ATTRIBUTES, "http.response.status_code", u64::from(status));
    }
    if let Some(why) = attempt.failed {
        out.text(ATTRIBUTES, "error.type", why);
        status(out, ERROR, why);
    }
}
