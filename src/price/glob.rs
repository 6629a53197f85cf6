//! Model-name patterns: `*` is any run of characters, `#` one digit, all else itself.
//!
//! `#` exists for dated snapshots: `gpt-6-sol-####-##-##` takes tomorrow's snapshot at its base
//! model's price, and nothing else that happens to begin with the same letters.

/// True if `pattern` takes the whole of `name`. Both in lower case.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at_pattern, mut at_name) = (0, 0);
    // Where to go on if the run taken by the last `*` was too short.
    let mut retry: Option<(usize, usize)> = None;
    while at_name < name.len() {
        let takes = pattern.get(at_pattern).is_some_and(|wanted| match wanted {
            b'*' => false,
            b'#' => name[at_name].is_ascii_digit(),
            literal => *literal == name[at_name],
        });
        if takes {
            at_pattern += 1;
            at_name += 1;
        } else if pattern.get(at_pattern) == Some(&b'*') {
            at_pattern += 1;
            retry = Some((at_pattern, at_name));
        } else if let Some((after_star, taken)) = retry {
            at_pattern = after_star;
            at_name = taken + 1;
            retry = Some((after_star, taken + 1));
        } else {
            return false;
        }
    }
    pattern[at_pattern..].iter().all(|rest| *rest == b'*')
}

/// How particular a pattern is: the number of characters it fixes. The most particular pattern
/// that takes a name wins.
#[must_use]
pub fn weight(pattern: &str) -> usize {
    pattern.bytes().filter(|byte| *byte != b'*').count()
}

#[cfg(test)]
mod tests {
    use super::{matches, weight};

    #[test]
    fn takes_what_it_says() {
        assert!(matches("sim-*", "sim-slow"));
        assert!(matches("sim-*", "sim-"));
        assert!(!matches("sim-*", "sim"));
        assert!(matches("*claude-3*", "eu.anthropic.claude-3-opus"));
        assert!(matches("gpt-6-####-##", "gpt-6-2026-11"));
        assert!(!matches("gpt-6-####-##", "gpt-6-mini-11"));
        assert!(matches("a*b*c", "axxbyybzc"));
        assert!(!matches("a*b*c", "axxbyybz"));
        assert!(matches("*", ""));
        assert!(!matches("", "x"));
    }

    #[test]
    fn the_longer_pattern_is_the_more_particular() {
        assert!(weight("sim-strong*") > weight("sim-*"));
    }
}
