//! What a provider's `kind` stands for: its address, how it wants its key, which dialects it speaks,
//! and the habits that a bill depends on. Each row says where that is documented; the fixtures under
//! `tests/presets/` hold an answer of the documented form for each.

use super::provider::{Kind, OutputCapField};
use crate::dialect::Dialect;
use crate::units::NanoUsd;

/// How a key goes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer KEY`
    Bearer,
    /// `x-api-key: KEY`
    XApiKey,
    /// `api-key: KEY`
    ApiKey,
    /// `x-goog-api-key: KEY`
    GoogApiKey,
    /// A bearer token that the service account's key is given for.
    ServiceAccount,
}

/// Where an endpoint is below the base URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paths {
    /// The base URL ends with the version, as OpenAI's SDK takes it.
    Plain,
    /// The base URL ends before `/v1`, as Anthropic's SDK takes it.
    BelowV1,
    /// Azure's v1: as [`Self::Plain`], and a dated `api-version` of older clients is not passed on, for it would be
    /// refused.
    AzureV1,
    /// Azure's older form: `/deployments/MODEL/…?api-version=…`, where the deployment stands for the model.
    AzureDeployments,
    /// Amazon Bedrock's: `/model/MODEL/…`, the name encoded whole.
    Bedrock,
    /// The base URL ends before `/v1beta`, as Google's SDK takes it; the model and the verb are the last segment.
    Gemini,
    /// The same below project and location.
    Vertex,
}

/// Complete error answers that a provider bills although their status is one that is not billed elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BilledError {
    /// The status.
    pub status: u16,
    /// A text of the body that tells it from unbilled ones of that status.
    pub mark: &'static str,
}

/// One kind of provider.
#[derive(Debug, PartialEq, Eq)]
pub struct Preset {
    /// `kind` in configuration.
    pub name: &'static str,
    /// Whose dialects it speaks.
    pub kind: Kind,
    /// Where it is, if that is the same for everybody.
    pub base_url: Option<&'static str>,
    /// A part of its host's name, to know it by where another `kind` is configured.
    pub host: Option<&'static str>,
    /// How it wants its key.
    pub auth: Auth,
    /// Where its endpoints are.
    pub paths: Paths,
    /// The dialects it serves.
    pub dialects: &'static [Dialect],
    /// The family in the catalogue whose prices hold. Servers of one's own have none but what
    /// `policies/prices.toml` says.
    pub catalogue: &'static str,
    /// The chat field under which it honours an output cap; `None`: the model's card says it.
    pub output_cap: Option<OutputCapField>,
    /// Every other name of the output cap is refused, or counts something else: the one present
    /// takes the right name.
    pub one_output_cap: bool,
    /// A stream tells its usage only when asked to by `stream_options`. Where it does so anyway, the field may be
    /// refused, and is left out.
    pub asks_usage: bool,
    /// Error answers billed beyond the usual ones.
    pub billed_errors: &'static [BilledError],
    /// Statuses that are not billed here although they would be in doubt elsewhere.
    pub unbilled_errors: &'static [u16],
    /// What a request may cost at least if it is refused for its content, and in which dialect.
    pub refusal_fee: Option<(Dialect, NanoUsd)>,
    /// Headers that it wants and that callers may leave out.
    pub headers: &'static [(&'static str, &'static str)],
    /// It chooses among offers at several prices, and can be told the highest.
    pub tells_max_price: bool,
}

use Dialect::{
    AnthropicMessages as Messages, Bedrock, Gemini, OpenaiChat as Chat,
    OpenaiCompletions as Completions, OpenaiEmbeddings as Embeddings, OpenaiResponses as Responses,
};

/// What most of those who imitate OpenAI have in common.
const PLAIN: Preset = Preset {
    name: "openai",
    kind: Kind::Openai,
    base_url: None,
    host: None,
    auth: Auth::Bearer,
    paths: Paths::Plain,
    dialects: &[Chat, Responses, Embeddings, Completions],
    catalogue: "openai",
    output_cap: Some(OutputCapField::MaxTokens),
    one_output_cap: false,
    asks_usage: true,
    billed_errors: &[],
    unbilled_errors: &[],
    refusal_fee: None,
    headers: &[],
    tells_max_price: false,
};

/// All of them.
pub static PRESETS: [Preset; 20] = [
    // https://platform.openai.com/docs/api-reference: reasoning models hear `max_completion_tokens` alone, older ones
    // both, so the card says which. Also for anything that speaks as OpenAI does, with its own base URL.
    Preset {
        base_url: Some("https://api.openai.com/v1"),
        output_cap: None,
        ..PLAIN
    },
    // https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle: v1 needs no `api-version`.
    // https://learn.microsoft.com/azure/ai-foundry/openai/how-to/manage-costs: a 400 for a content filter or an
    // input limit may be charged, for the prompt was evaluated.
    Preset {
        name: "azure",
        host: Some(".openai.azure.com"),
        auth: Auth::ApiKey,
        paths: Paths::AzureV1,
        catalogue: "azure",
        output_cap: None,
        billed_errors: AZURE_BILLS,
        ..PLAIN
    },
    // https://learn.microsoft.com/azure/ai-foundry/openai/reference: dated versions, the deployment in the path,
    // and no Responses below it.
    Preset {
        name: "azure-deployments",
        auth: Auth::ApiKey,
        paths: Paths::AzureDeployments,
        dialects: &[Chat, Embeddings, Completions],
        catalogue: "azure",
        output_cap: None,
        billed_errors: AZURE_BILLS,
        ..PLAIN
    },
    // https://docs.anthropic.com/en/api/overview: `x-api-key`, and a version that callers may leave out here.
    Preset {
        name: "anthropic",
        kind: Kind::Anthropic,
        base_url: Some("https://api.anthropic.com"),
        auth: Auth::XApiKey,
        paths: Paths::BelowV1,
        dialects: &[Messages],
        catalogue: "anthropic",
        headers: &[("anthropic-version", "2023-06-01")],
        ..PLAIN
    },
    // https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html: the model in the path.
    // https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-use.html: a Bedrock API key goes as a bearer token;
    // without one a call is signed. A 424 says that the model failed while it worked on the request.
    Preset {
        name: "bedrock",
        kind: Kind::Bedrock,
        host: Some("bedrock-runtime."),
        paths: Paths::Bedrock,
        dialects: &[Bedrock],
        catalogue: "aws",
        asks_usage: false,
        billed_errors: &[BilledError {
            status: 424,
            mark: "",
        }],
        ..PLAIN
    },
    // https://ai.google.dev/gemini-api/docs/openai: thoughts count in `total_tokens` alone, errors are a list of
    // one. https://ai.google.dev/gemini-api/docs/billing: a 400 or 500 is not charged.
    Preset {
        name: "gemini-openai",
        base_url: Some("https://generativelanguage.googleapis.com/v1beta/openai"),
        host: Some("generativelanguage.googleapis.com"),
        dialects: &[Chat, Embeddings],
        catalogue: "google",
        ..PLAIN
    },
    // https://ai.google.dev/api/generate-content: `generateContent`, the model in the path, the key in a header of its
    // own. https://ai.google.dev/gemini-api/docs/billing: a 400 or 500 is not charged.
    Preset {
        name: "gemini",
        kind: Kind::Google,
        base_url: Some("https://generativelanguage.googleapis.com"),
        auth: Auth::GoogApiKey,
        paths: Paths::Gemini,
        dialects: &[Gemini],
        catalogue: "google",
        asks_usage: false,
        ..PLAIN
    },
    // https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference: the same below project and
    // location, for a service account's token.
    Preset {
        name: "vertex",
        kind: Kind::Google,
        host: Some("aiplatform.googleapis.com"),
        auth: Auth::ServiceAccount,
        paths: Paths::Vertex,
        dialects: &[Gemini],
        catalogue: "google",
        asks_usage: false,
        ..PLAIN
    },
    // https://docs.mistral.ai/api: a body with a field that it does not know is a 422, and it knows neither
    // `stream_options` nor `max_completion_tokens`. Its streams end with usage unasked.
    Preset {
        name: "mistral",
        base_url: Some("https://api.mistral.ai/v1"),
        host: Some("api.mistral.ai"),
        dialects: &[Chat, Embeddings],
        catalogue: "mistral",
        one_output_cap: true,
        asks_usage: false,
        ..PLAIN
    },
    // https://console.groq.com/docs/api-reference: `max_tokens` is deprecated; usage stands in `x_groq` of the last
    // chunk. A 400 with `failed_generation` shows what the model wrote, so it was generated.
    Preset {
        name: "groq",
        base_url: Some("https://api.groq.com/openai/v1"),
        host: Some("api.groq.com"),
        dialects: &[Chat, Responses],
        catalogue: "groq",
        output_cap: Some(OutputCapField::MaxCompletionTokens),
        billed_errors: &[BilledError {
            status: 400,
            mark: "\"failed_generation\"",
        }],
        ..PLAIN
    },
    // https://api-docs.deepseek.com/api/create-chat-completion: cache hits in a field of their own; blank lines or
    // SSE comments keep a waiting connection open.
    Preset {
        name: "deepseek",
        base_url: Some("https://api.deepseek.com"),
        host: Some("api.deepseek.com"),
        dialects: &[Chat],
        catalogue: "deepseek",
        ..PLAIN
    },
    // https://docs.x.ai/docs/api-reference: `max_completion_tokens` bounds reasoning too, the deprecated `max_tokens`
    // may not. https://docs.x.ai/developers/cost-tracking: `cost_in_usd_ticks` is what is billed.
    // https://docs.x.ai/developers/pricing: what violates the usage guidelines is billed, by a fee of $0.05 where it is caught
    // before generation in the Responses API.
    Preset {
        name: "xai",
        base_url: Some("https://api.x.ai/v1"),
        host: Some("api.x.ai"),
        dialects: &[Chat, Responses],
        catalogue: "x-ai",
        output_cap: Some(OutputCapField::MaxCompletionTokens),
        one_output_cap: true,
        billed_errors: &[
            BilledError {
                status: 400,
                mark: "usage guidelines",
            },
            BilledError {
                status: 403,
                mark: "usage guidelines",
            },
        ],
        refusal_fee: Some((Responses, NanoUsd(50_000_000))),
        ..PLAIN
    },
    // https://openrouter.ai/docs/api/reference/errors-and-debugging: an error status means that no model started;
    // later errors come in a 200. https://openrouter.ai/docs/features/provider-routing: several providers at
    // several prices serve one model; `provider.max_price` leaves out the dearer ones.
    Preset {
        name: "openrouter",
        base_url: Some("https://openrouter.ai/api/v1"),
        host: Some("openrouter.ai"),
        catalogue: "openrouter",
        unbilled_errors: &[408, 502],
        tells_max_price: true,
        ..PLAIN
    },
    // https://docs.together.ai/reference/chat-completions: `usage.cached_tokens` beside the prompt's count.
    Preset {
        name: "together",
        base_url: Some("https://api.together.xyz/v1"),
        host: Some("api.together."),
        dialects: &[Chat, Embeddings, Completions],
        catalogue: "together",
        ..PLAIN
    },
    // https://docs.fireworks.ai/api-reference/post-chatcompletions
    Preset {
        name: "fireworks",
        base_url: Some("https://api.fireworks.ai/inference/v1"),
        host: Some("api.fireworks.ai"),
        catalogue: "fireworks",
        ..PLAIN
    },
    // https://docs.cohere.com/docs/compatibility-api: `stream_options` is refused; the last chunk has usage.
    Preset {
        name: "cohere",
        base_url: Some("https://api.cohere.ai/compatibility/v1"),
        host: Some("api.cohere."),
        dialects: &[Chat, Embeddings],
        catalogue: "cohere",
        asks_usage: false,
        ..PLAIN
    },
    // https://github.com/ollama/ollama/blob/main/docs/openai.md: no key; `prompt_tokens` may be 0 for a prompt
    // that it has in its memory.
    Preset {
        name: "ollama",
        base_url: Some("http://127.0.0.1:11434/v1"),
        catalogue: "ollama",
        ..PLAIN
    },
    // https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html: a key only with `--api-key`.
    Preset {
        name: "vllm",
        base_url: Some("http://127.0.0.1:8000/v1"),
        catalogue: "vllm",
        ..PLAIN
    },
    // https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md: `timings` beside usage.
    Preset {
        name: "llama.cpp",
        base_url: Some("http://127.0.0.1:8080/v1"),
        dialects: &[Chat, Embeddings, Completions],
        catalogue: "llama.cpp",
        ..PLAIN
    },
    // Anything that speaks as OpenAI does and has prices in no family: `max_tokens` is what all of them hear.
    Preset {
        name: "openai-compatible",
        catalogue: "openai-compatible",
        ..PLAIN
    },
];

const AZURE_BILLS: &[BilledError] = &[
    BilledError {
        status: 400,
        mark: "content_filter",
    },
    BilledError {
        status: 400,
        mark: "context_length_exceeded",
    },
];

impl Preset {
    /// The preset of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// The preset of a host's name; `None` for hosts that none is known of.
    #[must_use]
    pub fn of_host(host: &str) -> Option<&'static Self> {
        let is_part = |part: &str| host.contains(part);
        PRESETS
            .iter()
            .find(|preset| preset.host.is_some_and(is_part))
    }

    /// Whether it serves a dialect.
    #[must_use]
    pub fn speaks(&self, dialect: Dialect) -> bool {
        self.dialects.contains(&dialect)
    }

    /// Whether it bills a complete error answer of a status that is not billed elsewhere.
    #[must_use]
    pub fn bills(&self, status: u16, body: &[u8]) -> bool {
        let mut named = self.billed_errors.iter();
        named.any(|billed| {
            billed.status == status && memchr::memmem::find(body, billed.mark.as_bytes()).is_some()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_families_exist() {
        let catalogue = crate::price::Catalogue::builtin();
        for (i, preset) in PRESETS.iter().enumerate() {
            let twin = PRESETS.iter().position(|other| other.name == preset.name);
            assert_eq!(twin, Some(i), "{}", preset.name);
            let is_own =
                ["ollama", "vllm", "llama.cpp", "openai-compatible"].contains(&preset.name);
            assert_eq!(preset.catalogue == preset.name && is_own, is_own);
            // An unknown family still finds the simulated models alone.
            let priced = catalogue.knows(preset.catalogue);
            assert_eq!(priced, !is_own, "{}", preset.name);
        }
    }
}
