//! `rounds`: what one agent hands to another. Paraphrase hides a repeated hand-off from any digest,
//! so the words are compared; a list being worked off looks much the same, so an item that is no
//! longer asked for (a name, a number, something quoted) makes it other work; and where most of
//! what was seen in between was new, the work goes on however alike the hand-offs sound.

use super::digest::{Digest, word, words};
use super::rules::Rounds;
use super::window::{Found, Recent};

/// As many different words of a hand-off are remembered.
const MOST_WORDS: usize = 96;
/// As many pairs of agents are remembered for a task; the one longest silent makes room.
const MOST_PAIRS: usize = 16;
/// So much of a hand-off is read, in bytes.
const MOST_ASK_BYTES: usize = 8 << 10;
/// What stands in quotes is an item up to this length, in bytes.
const MOST_QUOTED: usize = 60;

/// Work that one agent hands to another.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub from: u64,
    pub to: u64,
    /// See [`Ask`].
    pub words: Box<[u32]>,
    pub seen: Tally,
}

/// One hand-off.
#[derive(Clone, Debug)]
struct Ask {
    /// The call that handed over.
    call: u64,
    /// Its words as digests, sorted; the lowest bit marks a named item.
    words: Box<[u32]>,
    /// What of the observations before it was new, in sum: see [`Seen`].
    seen: Tally,
}

const ITEM: u32 = 1;

/// One agent's hand-offs to one other.
#[derive(Clone, Debug)]
struct Pair {
    from: u64,
    to: u64,
    count: usize,
    asks: Recent<Ask, { Rounds::MOST_ASKS }>,
}

/// Every pair's hand-offs, and what was seen between them. Empty until the first hand-off.
#[derive(Clone, Debug, Default)]
pub(super) struct Asks {
    pairs: Vec<Pair>,
    seen: Option<Box<Seen>>,
}

impl Asks {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn bytes(&self) -> usize {
        let pairs = self.pairs.iter().map(|pair| {
            let words = pair
                .asks
                .iter()
                .map(|ask| ask.words.len() * size_of::<u32>());
            size_of::<Pair>() + pair.asks.bytes() + words.sum::<usize>()
        });
        pairs.sum::<usize>() + self.seen.as_ref().map_or(0, |_| size_of::<Seen>())
    }

    /// An observation of any agent of the task.
    pub(super) fn observe(&mut self, scrubbed: &str) {
        if let Some(seen) = &mut self.seen {
            seen.observe(scrubbed);
        }
    }

    /// A hand-off as it is remembered.
    pub(super) fn hand(&mut self, from: u64, to: u64, text: &str) -> Asked {
        Asked {
            from,
            to,
            words: ask_words(text),
            seen: self.seen.get_or_insert_default().tally,
        }
    }

    /// The evidence if the pair has had too many hand-offs, or this one too often.
    pub(super) fn put(&mut self, call: u64, asked: Asked, rule: &Rounds) -> Option<Found> {
        let Asked {
            from,
            to,
            words,
            seen,
        } = asked;
        let place = self
            .pairs
            .iter()
            .position(|pair| (pair.from, pair.to) == (from, to));
        let mut pair = match place {
            Some(place) => self.pairs.remove(place),
            None => Pair {
                from,
                to,
                count: 0,
                asks: Recent::default(),
            },
        };
        if self.pairs.len() >= MOST_PAIRS {
            self.pairs.remove(0);
        }
        pair.count += 1;
        let found = pair.same(&words, call, seen, rule);
        pair.asks.push(Ask { call, words, seen });
        let found = found.or_else(|| pair.too_many(rule));
        self.pairs.push(pair);
        found
    }
}

impl Pair {
    fn same(&self, words: &[u32], call: u64, seen: Tally, rule: &Rounds) -> Option<Found> {
        if words.is_empty() {
            return None;
        }
        let alike = |ask: &&Ask| is_same_work(&ask.words, words, rule.alike_percent);
        let same: Vec<&Ask> = self
            .asks
            .iter()
            .rev()
            .filter(alike)
            .take(rule.same - 1)
            .collect();
        if same.len() + 1 < rule.same {
            return None;
        }
        let first = same.last()?;
        if seen.new_percent_since(first.seen) > rule.new_percent {
            return None;
        }
        let mut calls: Vec<u64> = same.iter().rev().map(|ask| ask.call).collect();
        calls.push(call);
        let digests = same.iter().rev().map(|ask| digest(&ask.words));
        Some(Found {
            digests: digests.chain([digest(words)]).collect(),
            calls,
        })
    }

    fn too_many(&self, rule: &Rounds) -> Option<Found> {
        (self.count > rule.most).then(|| Found {
            calls: self.asks.iter().map(|ask| ask.call).collect(),
            digests: self.asks.iter().map(|ask| digest(&ask.words)).collect(),
        })
    }
}

fn digest(words: &[u32]) -> Digest {
    Digest(
        words
            .iter()
            .fold(0, |all, word| super::digest::pair(all, u64::from(*word))),
    )
}

/// Most words are common, and every item of the old is in the new.
fn is_same_work(old: &[u32], new: &[u32], alike_percent: u32) -> bool {
    let find = |word: &u32| {
        new.binary_search_by_key(&(word & !ITEM), |word| word & !ITEM)
            .is_ok()
    };
    let common = old.iter().filter(|word| find(word)).count();
    let either = old.len() + new.len() - common;
    let crossed_off = old.iter().any(|word| word & ITEM != 0 && !find(word));
    let percent = u32::try_from(common * 100 / either.max(1)).unwrap_or(0);
    percent >= alike_percent && !crossed_off
}

/// A hand-off's words, sorted, each once, named items marked.
fn ask_words(text: &str) -> Box<[u32]> {
    let text = &text[..text.floor_char_boundary(MOST_ASK_BYTES)];
    let mut found: Vec<u32> = Vec::new();
    let mut quoted_until = 0;
    let mut at_start = true;
    let mut from = 0;
    while let Some((start, end)) = next_word(text, from) {
        for (i, mark) in text[from..start].char_indices() {
            let at = from + i;
            if is_quote(mark) && at >= quoted_until {
                quoted_until = quote_end(text, at, mark).unwrap_or(quoted_until);
            }
            at_start |= matches!(mark, '.' | '!' | '?' | ':' | ';' | '\n');
        }
        let one = &text[start..end];
        let is_name = one.starts_with(char::is_uppercase) && !at_start;
        let is_item = is_name || start < quoted_until || one.contains(|c: char| c.is_ascii_digit());
        // Half of the digest is plenty to tell a hundred words apart.
        let low = u32::try_from(word(one) >> 32).unwrap_or(0) & !ITEM;
        let known = found.iter().position(|known| known & !ITEM == low);
        match known {
            Some(known) => found[known] |= u32::from(is_item) * ITEM,
            None if found.len() < MOST_WORDS => found.push(low | (u32::from(is_item) * ITEM)),
            None => {}
        }
        at_start = false;
        from = end;
    }
    found.sort_unstable();
    found.into_boxed_slice()
}

fn next_word(text: &str, from: usize) -> Option<(usize, usize)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let start = from + text[from..].find(is_word)?;
    let end = text[start..]
        .find(|c| !is_word(c))
        .map_or(text.len(), |width| start + width);
    Some((start, end))
}

const fn is_quote(mark: char) -> bool {
    matches!(mark, '\'' | '"' | '`' | '‘' | '“')
}

/// Where what is quoted from `at` on ends, if the quote is opened and closed like one.
fn quote_end(text: &str, at: usize, mark: char) -> Option<usize> {
    let opens = text[..at]
        .chars()
        .next_back()
        .is_none_or(|c| !c.is_alphanumeric());
    let closing = match mark {
        '‘' => '’',
        '“' => '”',
        other => other,
    };
    let inside = &text[at + mark.len_utf8()..];
    let inside = &inside[..inside.floor_char_boundary(MOST_QUOTED + closing.len_utf8())];
    let closes = |(i, _): &(usize, &str)| {
        let after = inside[i + closing.len_utf8()..].chars().next();
        after.is_none_or(|c| !c.is_alphanumeric())
    };
    let (width, _) = inside.match_indices(closing).find(closes)?;
    opens.then_some(at + mark.len_utf8() + width)
}

/// How many observations came, and how new they were in sum.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    count: u32,
    new_percent: u32,
}

impl From<(u32, u32)> for Tally {
    fn from((count, new_percent): (u32, u32)) -> Self {
        Self { count, new_percent }
    }
}

impl Tally {
    pub(super) const fn sums(self) -> (u32, u32) {
        (self.count, self.new_percent)
    }

    /// The average since then; nothing seen is nothing new.
    fn new_percent_since(self, then: Self) -> u32 {
        let count = self.count.wrapping_sub(then.count);
        self.new_percent
            .wrapping_sub(then.new_percent)
            .checked_div(count)
            .unwrap_or(0)
    }
}

/// Places for marks of what was seen; a power of two.
const PLACES: usize = 2048;
/// Of all runs of three words, one in this many is marked; a power of two.
const SAMPLED: u64 = 4;
/// Of texts below this every run is marked, in bytes: a sample would be too small.
const SHORT_BYTES: usize = 1024;

/// What the task's observations said: marks of their runs of three words, the latest over the older.
#[derive(Clone, Debug)]
struct Seen {
    marks: [u32; PLACES],
    tally: Tally,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            marks: [0; PLACES],
            tally: Tally::default(),
        }
    }
}

impl Seen {
    fn observe(&mut self, scrubbed: &str) {
        let sampled = match scrubbed.len() {
            0..SHORT_BYTES => 1,
            _ => SAMPLED,
        };
        let (mut all, mut new) = (0_u32, 0_u32);
        let (mut before, mut last) = (0, 0);
        for word in words(scrubbed) {
            let run = super::digest::pair(super::digest::pair(before, last), word);
            (before, last) = (last, word);
            if !run.is_multiple_of(sampled) {
                continue;
            }
            let place = usize::try_from(run >> 8).unwrap_or(0) % PLACES;
            let mark = u32::try_from(run >> 32).unwrap_or(0);
            all += 1;
            if self.marks[place] != mark {
                new += 1;
                self.marks[place] = mark;
            }
        }
        if let Some(percent) = (new * 100).checked_div(all) {
            self.tally.count = self.tally.count.wrapping_add(1);
            self.tally.new_percent = self.tally.new_percent.wrapping_add(percent);
        }
    }
}

#[cfg(test)]
mod tests;
