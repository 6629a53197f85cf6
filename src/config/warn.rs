//! What is allowed and probably not meant: for `bursar check` and the log at start.

use super::facts::Side;
use super::fault::Fault;
use super::glob::{Glob, Globs};
use super::limit::{Limit, Per};
use super::{HeaderText, Kind, Loaded, Preset};
use crate::units::Meter;
use http::Uri;

pub(super) fn warnings(loaded: &Loaded, env: &dyn Fn(&str) -> Option<String>) -> Vec<Fault> {
    let mut found = Vec::new();
    providers(loaded, &mut found);
    limits(loaded, &mut found);
    escalations(loaded, &mut found);
    exporters(loaded, &mut found);
    loaded.routes.warn(&loaded.config.providers, &mut found);
    if loaded.identities.is_configured() && env("BURSAR_KEY").is_some() {
        let file = loaded.config.policies.join("identities.toml");
        let message = "BURSAR_KEY is set and not used, for identities are configured";
        found.push(Fault::of(&file, message));
    }
    found.sort();
    found
}

fn providers(loaded: &Loaded, found: &mut Vec<Fault>) {
    let providers = &loaded.config.providers;
    for (i, provider) in providers.iter().enumerate() {
        let mut warn = |message: String| found.push(Fault::at(&provider.place, message));
        let name = &provider.name;
        for glob in provider.models.iter() {
            // Which provider comes first is asked among those that speak the call's dialect.
            let same = providers[..i]
                .iter()
                .filter(|first| first.kind == provider.kind);
            let shadow = same.into_iter().find_map(|first| {
                let includes = first.models.iter().find(|other| other.includes(glob))?;
                Some((&first.name, includes))
            });
            if let Some((first, includes)) = shadow {
                let (glob, includes) = (glob.as_str(), includes.as_str());
                warn(format!(
                    "`{glob}` of `{name}` never sees a bare model name: `{includes}` of `{first}` comes first; \
                     only `{name}/MODEL` gets here"
                ));
            }
        }
        let host = provider.base_url.host().unwrap_or_default();
        if is_in_clear(&provider.base_url)
            && (provider.secrets().next().is_some() || provider.forward_credentials)
        {
            warn(format!(
                "credentials for `{name}` leave this machine unencrypted"
            ));
        }
        if let Some(known) = Preset::of_host(host)
            && provider.catalogue.is_none()
            && known.catalogue != provider.preset.catalogue
        {
            let (kind, known) = (provider.preset.name, known.name);
            warn(format!(
                "`{name}` has `kind = \"{kind}\"` and the address of another: `kind = \"{known}\"` knows its habits and prices"
            ));
        }
        let has_own = provider.secrets().next().is_some() || !provider.headers.is_empty();
        if provider.kind == Kind::Bedrock && !has_own && !provider.forward_credentials {
            warn(format!(
                "calls to `{name}` are neither signed nor carry a key: Bedrock refuses them"
            ));
        }
        if provider.kind == Kind::Anthropic && provider.base_url.path().ends_with("/v1") {
            warn(format!(
                "the base URL of `{name}` ends with /v1; Anthropic's is written without"
            ));
        }
        for path in provider.unmetered.iter() {
            let path = path.as_str();
            warn(format!(
                "calls to `{path}` of `{name}` pass without a meter: no cap holds for them"
            ));
        }
    }
}

/// Who gets spans, and over what.
fn exporters(loaded: &Loaded, found: &mut Vec<Fault>) {
    for exporter in &loaded.config.traces.exporters {
        if !is_in_clear(&exporter.endpoint) {
            continue;
        }
        let name = &exporter.name;
        let is_secret = |text: &HeaderText| matches!(text, HeaderText::Secret(_));
        let mut headers = exporter.headers.iter();
        let has_key = exporter.api_key.is_some() || headers.any(|(_, text)| is_secret(text));
        let mut warn = |what: &str| {
            let message = format!("{what} exporter `{name}` leave this machine unencrypted");
            found.push(Fault::at(&exporter.place, message));
        };
        if has_key {
            warn("credentials for");
        }
        if exporter.content {
            warn("prompts and answers for");
        }
    }
}

/// What goes there leaves this machine as it is.
fn is_in_clear(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let is_here = super::Address::Tcp(host.trim_matches(['[', ']']).to_owned(), 0).is_local();
    uri.scheme_str() == Some("http") && !is_here
}

/// Who is asked, and over what.
fn escalations(loaded: &Loaded, found: &mut Vec<Fault>) {
    let webhooks = &loaded.config.escalation.webhooks;
    for webhook in webhooks {
        let Ok(address) = webhook.address() else {
            continue;
        };
        if is_in_clear(&address) {
            let name = &webhook.name;
            let message = format!("messages to webhook `{name}` leave this machine unencrypted");
            found.push(Fault::at(&webhook.place, message));
        }
    }
    let mut limits = loaded.policies.limits();
    let asks = limits.find(|limit| limit.escalate || limit.review_every.is_some());
    if let Some(limit) = asks.filter(|_| webhooks.is_empty()) {
        let name = &limit.name;
        found.push(Fault::at(
            &limit.place,
            format!(
                "`{name}` asks a person, and no [escalation] webhook tells anybody; \
                 `bursar escalation list` shows what waits"
            ),
        ));
    }
}

fn limits(loaded: &Loaded, found: &mut Vec<Fault>) {
    let can_downgrade = (loaded.routes.routes.iter()).any(|route| !route.downgrade.is_empty());
    for limit in loaded.policies.limits() {
        let name = &limit.name;
        if limit.downgrade && !can_downgrade {
            found.push(Fault::at(
                &limit.place,
                format!(
                    "`{name}` downgrades nothing: no route has a `downgrade`; at the cap it denies"
                ),
            ));
        }
        if limit.cap(Meter::Usd).is_some() && !is_bounded(loaded, limit) {
            found.push(Fault::at(
                &limit.place,
                format!(
                    "nothing bounds what one owner or identity spends in all: `{name}` caps dollars, but its callers \
                     can open new accounts under it; add a limit with `per = [\"owner\"]` and a window"
                ),
            ));
        }
        if let Some((side, pattern)) = impossible(loaded, limit) {
            let side = side.name();
            found.push(Fault::at(
                &limit.place,
                format!("`{name}` never matches: there is no {side} like `{pattern}`"),
            ));
        }
    }
    for (limit, tighter) in loaded.policies.tightened() {
        let (name, other) = (&limit.name, &tighter.name);
        found.push(Fault::at(
            &limit.place,
            format!(
                "`{name}` holds in full only for a role or agent bound to the key; a caller that merely claims \
                 it gets the tightest such caps, here those of `{other}`"
            ),
        ));
    }
}

/// True if some limit caps the dollars of a whole owner, identity or gateway for all that `limit` covers.
fn is_bounded(loaded: &Loaded, limit: &Limit) -> bool {
    loaded.policies.limits().any(|above| {
        let wide = |side: &Side| matches!(side, Side::Owner | Side::Identity);
        let is_wide = above.per != Per::Call && above.sides().iter().all(wide);
        let covers = |(side, globs): &(Side, Globs)| {
            let ours = limit.matches.on(*side);
            ours.is_some_and(|ours| {
                ours.iter()
                    .all(|own| globs.iter().any(|other| other.includes(own)))
            })
        };
        is_wide
            && !above.observe
            && above.cap(Meter::Usd).is_some()
            && above.matches.sides.iter().all(covers)
    })
}

/// A side whose patterns none of the values known in advance can match.
fn impossible<'l>(loaded: &Loaded, limit: &'l Limit) -> Option<(Side, &'l str)> {
    let dialects = [
        "openai-chat",
        "openai-responses",
        "openai-embeddings",
        "openai-completions",
        "anthropic-messages",
    ];
    let providers: Vec<&str> = loaded
        .config
        .providers
        .iter()
        .map(|p| p.name.as_str())
        .collect();
    let identities: Vec<&str> = loaded.identities.iter().map(|i| i.name.as_str()).collect();
    let owners: Vec<&str> = loaded.identities.iter().map(|i| i.owner.as_str()).collect();
    let known: [(Side, &[&str]); 4] = [
        (Side::Dialect, &dialects),
        (Side::Provider, &providers),
        (Side::Identity, &identities),
        (Side::Owner, &owners),
    ];
    known.into_iter().find_map(|(side, known)| {
        let globs = limit.matches.on(side)?;
        let possible = globs
            .iter()
            .any(|glob| known.iter().any(|text| glob.matches(text)));
        let first = globs.iter().next().map(Glob::as_str)?;
        (!possible).then_some((side, first))
    })
}
