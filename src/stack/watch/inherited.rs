//! How much of what an agent begins with stands in another agent's conversation: a hand-off that carries
//! all that was said so far.
//!
//! System texts differ from agent to agent, and with them every prefix. So the newest message that the
//! other sent is looked for, by its own digest; what stands before it, but for system text, was handed on
//! with it, if it is most of what the other had. Where the caller names its parent, it is the parent's
//! conversation that counts; else any other's, if somebody's answer came along: agents that are set to
//! work at once with the same words inherit nothing from one another.

use super::lines::Line;
use crate::dialect::Call;
use crate::dialect::said::said;
use crate::loops::Role;

/// As many of a conversation's messages are looked at, from its end.
const LOOK_BACK: usize = 256;
/// As many messages at its head may be system text.
const HEAD: usize = 4;
/// Smaller conversations are nobody's trouble, in bytes.
const LEAST_BYTES: usize = 1 << 10;

/// Bytes of a call that stand in the conversation of another agent of the task. A message that the other has
/// said in between (its answer, that the hand-off worked) is not known here, and not counted.
pub(super) fn inherited<'a>(
    lines: impl Iterator<Item = &'a Line> + Clone,
    agent: u64,
    parent: Option<u64>,
    call: &Call,
) -> u64 {
    let links = &call.chain.links;
    let (Some(first), Some(last)) = (links.first(), links.last()) else {
        return 0;
    };
    let is_other = |line: &&Line| match parent {
        Some(parent) => line.agent == parent,
        None => line.agent != agent,
    };
    let others = lines.filter(|line| is_other(line) && line.newest != 0);
    if last.at.end - first.at.start < LEAST_BYTES || others.clone().next().is_none() {
        return 0;
    }
    let from = links.len().saturating_sub(LOOK_BACK);
    for (place, link) in links.iter().enumerate().skip(from).rev() {
        let newest = super::lines::half(link.message);
        let Some(other) = others.clone().find(|other| other.newest == newest) else {
            continue;
        };
        if parent.is_none() && !call.has_answer() {
            return 0;
        }
        let head = (0..place.min(HEAD)).take_while(|place| is_system(call, *place));
        let begins = &links[head.count()];
        let before = begins.media.payload_bytes * u64::from(begins.at.start > first.at.start);
        let payload = link.media.payload_bytes.saturating_sub(before);
        let carried = link.at.end.saturating_sub(begins.at.start) as u64;
        let carried = carried.saturating_sub(payload);
        // A summary and the last word are a hand-off as it should be.
        return if carried * 2 >= other.bytes {
            carried
        } else {
            link.at.len() as u64
        };
    }
    0
}

fn is_system(call: &Call, place: usize) -> bool {
    let said = said(call, place..place + 1);
    said.iter().all(|said| said.role == Role::Other)
}
