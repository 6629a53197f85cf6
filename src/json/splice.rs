//! Changing a body at byte ranges, everything else byte for byte as it was.

use bytes::Bytes;
use std::borrow::Cow;
use std::ops::Range;

/// One change: these bytes become that text. An empty range inserts, an empty text removes.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    /// What is replaced.
    pub at: Range<usize>,
    /// By what.
    pub with: Cow<'a, str>,
}

/// `body` with `changes`, which must not overlap; the same bytes, uncopied, if there are none.
#[must_use]
pub fn splice(body: &Bytes, mut changes: Vec<Change<'_>>) -> Bytes {
    if changes.is_empty() {
        return body.clone();
    }
    // Stable: insertions at one place stay in the order in which they were asked for.
    changes.sort_by_key(|change| (change.at.start, change.at.end));
    let grown: usize = changes.iter().map(|change| change.with.len()).sum();
    let mut out = Vec::with_capacity(body.len() + grown);
    let mut at = 0;
    for change in &changes {
        assert!(at <= change.at.start, "changes to a body overlap");
        out.extend_from_slice(&body[at..change.at.start]);
        out.extend_from_slice(change.with.as_bytes());
        at = change.at.end;
    }
    out.extend_from_slice(&body[at..]);
    out.into()
}

/// The ranges to cut out of an object so that only the members kept remain, with the right commas.
/// `members` are all members in order: from the key's first byte to the value's last, and whether
/// the member stays.
#[must_use]
pub fn without_members(members: &[(Range<usize>, bool)]) -> Vec<Range<usize>> {
    let Some(first_kept) = members.iter().position(|(_, keep)| *keep) else {
        // Nothing stays: one cut from the first key to the last value.
        let ends = members.first().zip(members.last());
        let cut = ends.map(|((first, _), (last, _))| first.start..last.end);
        return cut.into_iter().collect();
    };
    let mut cuts = Vec::new();
    for (index, (member, keep)) in members.iter().enumerate() {
        if *keep {
            continue;
        }
        // Before the first that stays, a member takes the comma after it along; behind it, the
        // comma before.
        cuts.push(if index < first_kept {
            member.start..members[index + 1].0.start
        } else {
            members[index - 1].0.end..member.end
        });
    }
    cuts
}
