//! Which endpoint a path means, and what the path itself says about the call:
//! `/task/{id}/agent/{id}/role/{name}/v1/…`, Azure's `/openai/deployments/{name}/…`.
//!
//! A path is normalised before it is looked at (empty segments, percent-encoding, dots), so that no
//! spelling of a metered endpoint passes as an unmetered one.

use crate::dialect::Dialect;

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A metered call.
    Metered(Dialect),
    /// `POST /v1/messages/count_tokens`: the provider's free count.
    CountTokens,
    /// `GET /v1/models` and `GET /v1/models/{id}`.
    Models(Option<String>),
    /// `GET /v1/budget`.
    Budget,
    /// Any other `/v1/*`.
    Other,
    /// Not below `/v1`.
    Unknown,
}

/// A path, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathIds {
    /// `/task/{id}`
    pub task: Option<String>,
    /// `/agent/{id}`
    pub agent: Option<String>,
    /// `/role/{name}`
    pub role: Option<String>,
    /// Azure's deployment, which stands for the model.
    pub deployment: Option<String>,
}

/// An endpoint with the path below `/v1` that a provider is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which endpoint.
    pub endpoint: Endpoint,
    /// Normalised, without `/v1`: `/chat/completions`.
    pub suffix: String,
    /// What the path says about the call.
    pub ids: PathIds,
}

/// Path segments looked at; longer paths are no endpoint of ours.
const MAX_SEGMENTS: usize = 64;

/// Reads a path. `None` if it is malformed: bad percent-encoding, dot segments, control bytes,
/// an id without a value.
#[must_use]
pub fn read(path: &str, get: bool) -> Option<Target> {
    if let Some(target) = plain(path) {
        return Some(target);
    }
    let mut segments = Vec::with_capacity(8);
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        if segments.len() == MAX_SEGMENTS {
            return None;
        }
        segments.push(decode_percent(segment)?);
    }
    let mut ids = PathIds::default();
    let mut rest = segments.as_slice();
    loop {
        let (slot, after) = match rest {
            [name, value, after @ ..] if name == "task" => (&mut ids.task, (value, after)),
            [name, value, after @ ..] if name == "agent" => (&mut ids.agent, (value, after)),
            [name, value, after @ ..] if name == "role" => (&mut ids.role, (value, after)),
            _ => break,
        };
        *slot = Some(after.0.clone());
        rest = after.1;
    }
    if let [openai, deployments, name, after @ ..] = rest
        && openai == "openai"
        && deployments == "deployments"
    {
        ids.deployment = Some(name.clone());
        rest = after;
    } else {
        match rest {
            [openai, v1, after @ ..] if openai == "openai" && v1 == "v1" => rest = after,
            [v1, after @ ..] if v1 == "v1" => rest = after,
            _ => {
                let suffix = String::new();
                return Some(Target {
                    endpoint: Endpoint::Unknown,
                    suffix,
                    ids,
                });
            }
        }
    }
    let suffix: String = rest
        .iter()
        .flat_map(|segment| ["/", segment.as_str()])
        .collect();
    Some(Target {
        endpoint: endpoint(rest, get),
        suffix,
        ids,
    })
}

/// The common spellings, without a list of segments.
fn plain(path: &str) -> Option<Target> {
    let (dialect, suffix) = match path {
        "/v1/chat/completions" => (Dialect::OpenaiChat, "/chat/completions"),
        "/v1/responses" => (Dialect::OpenaiResponses, "/responses"),
        "/v1/messages" => (Dialect::AnthropicMessages, "/messages"),
        "/v1/embeddings" => (Dialect::OpenaiEmbeddings, "/embeddings"),
        _ => return None,
    };
    let endpoint = Endpoint::Metered(dialect);
    Some(Target {
        endpoint,
        suffix: suffix.to_owned(),
        ids: PathIds::default(),
    })
}

fn endpoint(segments: &[String], get: bool) -> Endpoint {
    let names: Vec<&str> = segments.iter().map(String::as_str).collect();
    // A metered path is metered whatever the method: what a provider makes of an odd one is its affair.
    match names.as_slice() {
        ["chat", "completions"] => Endpoint::Metered(Dialect::OpenaiChat),
        ["responses"] => Endpoint::Metered(Dialect::OpenaiResponses),
        ["embeddings"] => Endpoint::Metered(Dialect::OpenaiEmbeddings),
        ["completions"] => Endpoint::Metered(Dialect::OpenaiCompletions),
        ["messages"] => Endpoint::Metered(Dialect::AnthropicMessages),
        ["messages", "count_tokens"] => Endpoint::CountTokens,
        ["budget"] => Endpoint::Budget,
        ["models"] if get => Endpoint::Models(None),
        // Model names may hold slashes.
        ["models", name @ ..] if get => Endpoint::Models(Some(name.join("/"))),
        [] => Endpoint::Unknown,
        _ => Endpoint::Other,
    }
}

/// One segment, decoded. Encoded slashes are kept apart by refusing them: they would make two
/// segments of one on the other side.
fn decode_percent(segment: &str) -> Option<String> {
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            u8::try_from(high * 16 + low).ok()?
        } else {
            byte
        };
        if byte < b' ' || byte == 0x7f || byte == b'/' || byte == b'\\' {
            return None;
        }
        out.push(byte);
    }
    let text = String::from_utf8(out).ok()?;
    if text == "." || text == ".." {
        None
    } else {
        Some(text)
    }
}

#[cfg(test)]
mod tests;
