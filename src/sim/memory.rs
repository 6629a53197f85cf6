//! What the simulated providers remember between calls: cached prompt prefixes, and answers that a later
//! call may build on (`previous_response_id`) or fetch.
//!
//! Each memory is two generations of bounded maps: when the young one is full it becomes the old one, and
//! the old one is forgotten. Nothing on the bill depends on it surviving.

use super::plan::Plan;
use super::prices::Tokens;
use super::tally::{Mark, Tally, Term};
use crate::dialect::Dialect;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// Prefixes in one generation.
const MOST_PREFIXES: usize = 262_144;
/// Answers in one generation.
const MOST_ANSWERS: usize = 65_536;
/// Shorter prefixes are not cached, in tokens.
const LEAST_CACHED: u64 = 1_024;
/// OpenAI's cached tokens come in multiples of this.
const CACHE_STEP: u64 = 128;

#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    most: usize,
}

impl<K: Eq + Hash, V: Clone> Generations<K, V> {
    fn new(most: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            most,
        }
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    fn put(&mut self, key: K, value: V) {
        if self.young.len() >= self.most {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

/// An answer that a later call may build on.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// Tokens of the conversation up to and with the answer.
    pub tokens: u64,
    pub plan: Arc<Plan>,
    /// The tools that a thread was begun with, as JSON: later calls do not repeat them.
    pub tools: Option<Arc<str>>,
}

#[derive(Debug)]
pub struct Memory {
    prefixes: Mutex<Generations<u64, ()>>,
    answers: Mutex<Generations<Box<str>, Remembered>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            prefixes: Mutex::new(Generations::new(MOST_PREFIXES)),
            answers: Mutex::new(Generations::new(MOST_ANSWERS)),
        }
    }
}

/// A prompt as the cache sees it.
#[derive(Clone, Copy, Debug)]
pub struct Cacheable<'a> {
    pub dialect: Dialect,
    pub model: &'a str,
    pub dense: bool,
    pub frame: &'a Tally,
    pub marks: &'a [Mark],
    /// All input tokens.
    pub input: u64,
}

impl Cacheable<'_> {
    fn key(&self, tally: &Tally) -> u64 {
        let seed = match self.dialect {
            Dialect::AnthropicMessages | Dialect::Bedrock => 1,
            Dialect::Gemini => 2,
            _ => 0,
        };
        let model = xxhash_rust::xxh3::xxh3_64_with_seed(self.model.as_bytes(), seed);
        xxhash_rust::xxh3::xxh3_64_with_seed(&tally.digest.to_le_bytes(), model)
    }
}

impl Memory {
    /// Splits the input into fresh, cached and written tokens, and remembers what is now cached.
    pub fn split(&self, prompt: &Cacheable<'_>) -> Tokens {
        let fresh = Tokens {
            input: prompt.input,
            ..Tokens::default()
        };
        match prompt.dialect {
            // Too short to be cached: the common case takes no lock.
            _ if prompt.input < LEAST_CACHED => fresh,
            Dialect::OpenaiChat | Dialect::OpenaiResponses | Dialect::Gemini => {
                self.automatic(prompt, fresh)
            }
            Dialect::AnthropicMessages | Dialect::Bedrock => self.asked_for(prompt, fresh),
            Dialect::OpenaiEmbeddings | Dialect::OpenaiCompletions => fresh,
        }
    }

    /// OpenAI's way: every prefix is cached, and a write costs nothing extra.
    fn automatic(&self, prompt: &Cacheable<'_>, mut tokens: Tokens) -> Tokens {
        let mut prefixes = self.prefixes.lock();
        let ends = prompt.marks.iter().map(|mark| &mark.before).rev();
        for end in ends.chain([prompt.frame]) {
            let length = end.tokens(prompt.dense).min(prompt.input);
            if length < LEAST_CACHED {
                break;
            }
            let key = prompt.key(end);
            let known = prefixes.get(&key).is_some();
            prefixes.put(key, ());
            if known {
                tokens.cache_read = length / CACHE_STEP * CACHE_STEP;
                tokens.input = prompt.input - tokens.cache_read;
                break;
            }
        }
        tokens
    }

    /// Anthropic's way: what stands before a `cache_control` is written once and then read.
    fn asked_for(&self, prompt: &Cacheable<'_>, mut tokens: Tokens) -> Tokens {
        let Some(at) = prompt.marks.iter().rposition(|mark| mark.write.is_some()) else {
            return tokens;
        };
        let last = &prompt.marks[at];
        let until = last.before.tokens(prompt.dense).min(prompt.input);
        if until < LEAST_CACHED {
            return tokens;
        }
        let mut prefixes = self.prefixes.lock();
        let mut read = 0;
        for mark in prompt.marks[..=at].iter().rev() {
            let key = prompt.key(&mark.before);
            let length = mark.before.tokens(prompt.dense).min(prompt.input);
            if length >= LEAST_CACHED && prefixes.get(&key).is_some() {
                read = length;
                break;
            }
        }
        for mark in prompt.marks[..=at]
            .iter()
            .filter(|mark| mark.write.is_some())
        {
            prefixes.put(prompt.key(&mark.before), ());
        }
        tokens.cache_read = read;
        match last.write {
            Some(Term::Hour) => tokens.cache_write_1h = until - read,
            _ => tokens.cache_write_5m = until - read,
        }
        tokens.input = prompt.input - until;
        tokens
    }

    /// Remembers an answer under its id.
    pub fn remember(&self, id: &str, remembered: Remembered) {
        self.answers.lock().put(id.into(), remembered);
    }

    /// The answer of that id.
    pub fn recall(&self, id: &str) -> Option<Remembered> {
        self.answers.lock().get(&id.into()).cloned()
    }
}
