//! The query of Azure's addresses. Clients made for its older form send a dated `api-version` with every
//! call, which its v1 refuses; those made for OpenAI send none, which the older form refuses.

/// The latest version of the older form that is not a preview.
const DATED: &str = "2024-10-21";
const KEY: &str = "api-version";

fn is_version(pair: &str) -> bool {
    pair.split('=').next() == Some(KEY)
}

/// What v1 takes: no dated version.
pub fn v1_query(query: Option<&str>) -> Option<String> {
    let is_dated = |pair: &&str| {
        let value = pair.split_once('=').map_or("", |(_, value)| value);
        is_version(pair) && value.starts_with(|first: char| first.is_ascii_digit())
    };
    let kept: Vec<&str> = query?
        .split('&')
        .filter(|pair| !pair.is_empty() && !is_dated(pair))
        .collect();
    (!kept.is_empty()).then(|| kept.join("&"))
}

/// What the older form takes: the caller's version, else the one configured.
pub fn dated_query(query: Option<&str>, configured: Option<&str>) -> String {
    let version = configured.unwrap_or(DATED);
    match query.filter(|query| !query.is_empty()) {
        None => format!("{KEY}={version}"),
        Some(query) if query.split('&').any(is_version) => query.to_owned(),
        Some(query) => format!("{query}&{KEY}={version}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_is_asked_without_a_date() {
        let cases = [
            (None, None),
            (Some("api-version=2024-10-21"), None),
            (Some("a=1&api-version=2024-10-21&b"), Some("a=1&b")),
            (Some("api-version=preview"), Some("api-version=preview")),
        ];
        for (query, left) in cases {
            assert_eq!(v1_query(query).as_deref(), left);
        }
    }

    #[test]
    fn the_older_form_is_asked_with_one() {
        let ours = Some("2025-01-01-preview");
        assert_eq!(dated_query(None, None), "api-version=2024-10-21");
        assert_eq!(
            dated_query(Some("a=1"), ours),
            "a=1&api-version=2025-01-01-preview"
        );
        assert_eq!(dated_query(Some("api-version=x"), ours), "api-version=x");
    }
}
