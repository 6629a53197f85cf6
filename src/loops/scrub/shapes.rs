//! The shapes of what is volatile, each matched by hand at the start of a word.

use super::blank;

const TIME: &[u8] = b"<time>";
const ID: &[u8] = b"<id>";
const SPAN: &[u8] = b"<span>";
const ADDRESS: &[u8] = b"<addr>";
const SCRATCH: &[u8] = b"<tmp>";
const COUNT: &[u8] = b"<n>";

/// Names whose number only counts tries, or names a process: it says nothing of the world.
const COUNTERS: [&[u8]; 18] = [
    b"attempt",
    b"attempts",
    b"retry",
    b"retries",
    b"try",
    b"tries",
    b"iteration",
    b"seq",
    b"sequence",
    b"counter",
    b"nonce",
    b"pid",
    b"tid",
    b"port",
    b"took",
    b"uptime",
    b"timestamp",
    b"elapsed",
];
/// In front of these, even a short mixed word is an id.
const ID_PREFIXES: [&[u8]; 12] = [
    b"req", b"request", b"call", b"toolu", b"msg", b"run", b"resp", b"fc", b"trace", b"span",
    b"session", b"evt",
];
/// Units whose spans of time are measured, not planned: "took 12 ms", never "2 hours".
const UNITS: [&[u8]; 9] = [
    b"ns", b"us", b"ms", b"s", b"sec", b"secs", b"second", b"seconds", b"millis",
];
/// Letters and digits mixed in one word this long are an id, in bytes.
const LONG_WORD: usize = 20;
/// Hexadecimal digits this many are an id.
const LONG_HEX: usize = 8;

/// Whether a number of that name is a counter, or a span measured in milliseconds.
fn is_counter(name: &[u8]) -> bool {
    let last = name.rsplit(|byte| *byte == b'_').next().unwrap_or(name);
    let is = |known: &&[u8]| known.eq_ignore_ascii_case(last) || known.eq_ignore_ascii_case(name);
    last.eq_ignore_ascii_case(b"ms") || COUNTERS.iter().any(is)
}

/// Something volatile, found at the start of a word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Volatile {
    /// Its width in bytes.
    pub width: usize,
    /// How many bytes in front are kept: they say what kind of id it is.
    pub kept: usize,
    /// What stands for the rest.
    pub mark: &'static [u8],
}

impl From<(usize, &'static [u8])> for Volatile {
    fn from((width, mark): (usize, &'static [u8])) -> Self {
        Self {
            width,
            kept: 0,
            mark,
        }
    }
}

/// What volatile thing starts at `at`, where the word up to `end` stands. `name`: the word before.
pub(super) fn volatile(
    bytes: &[u8],
    at: usize,
    end: usize,
    has_digit: bool,
    name: Option<&[u8]>,
) -> Option<Volatile> {
    let word = &bytes[at..end];
    let next = bytes.get(end);
    if word.len() == LONG_HEX
        && next == Some(&b'-')
        && let Some(width) = uuid(bytes, at)
    {
        return Some(Volatile::from((width, ID)));
    }
    let may_be_base64 = word.len() >= LONG_BASE64 || matches!(next, Some(b'+' | b'/'));
    if may_be_base64 && let Some(width) = base64(bytes, at) {
        return Some(Volatile::from((width, ID)));
    }
    if !has_digit {
        return None;
    }
    if word[0].is_ascii_digit() {
        if let Some(width) = timestamp(bytes, at).or_else(|| clock(bytes, at)) {
            return Some(Volatile::from((width, TIME)));
        }
        if let Some(width) = ipv4(bytes, at) {
            return Some(Volatile::from((width, ADDRESS)));
        }
        if let Some((width, mark)) = number(bytes, at, end, name) {
            return Some(Volatile::from((width, mark)));
        }
        if word.len() > 5
            && word[..2].eq_ignore_ascii_case(b"0x")
            && word[2..].iter().all(u8::is_ascii_hexdigit)
        {
            return Some(Volatile::from((word.len(), ADDRESS)));
        }
    }
    id(word)
}

fn digits(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// True if no word goes on here.
fn ends(bytes: &[u8], at: usize) -> bool {
    !matches!(bytes.get(at), Some(byte) if byte.is_ascii_alphanumeric() || *byte == b'_')
}

fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match blank(bytes, at) {
            Some(width) => at += width,
            None => break,
        }
    }
    at
}

/// `hh:mm:ss` with a fraction and a zone, both optional; without seconds it may be a timetable.
fn clock(bytes: &[u8], at: usize) -> Option<usize> {
    let colon = |at: usize| bytes.get(at) == Some(&b':');
    let is_clock = matches!(digits(bytes, at), 1 | 2);
    let hours = digits(bytes, at);
    let (minutes, seconds) = (at + hours + 1, at + hours + 4);
    if !is_clock || !colon(minutes - 1) || digits(bytes, minutes) != 2 {
        return None;
    }
    if !colon(seconds - 1) || digits(bytes, seconds) != 2 {
        return None;
    }
    let whole = seconds + 2;
    let fraction = match bytes.get(whole) {
        Some(b'.' | b',') => digits(bytes, whole + 1),
        _ => 0,
    };
    // What looks like a fraction may be another word behind a dot.
    let fine = zone(bytes, whole + 1 + fraction);
    let end = match fraction > 0 && ends(bytes, fine) {
        true => fine,
        false => zone(bytes, whole),
    };
    ends(bytes, end).then_some(end - at)
}

/// Where a time of day ends whose zone, if it has one, starts here.
fn zone(bytes: &[u8], at: usize) -> usize {
    let end = match bytes.get(at) {
        Some(b'Z' | b'z') => at + 1,
        Some(b'+' | b'-') => match digits(bytes, at + 1) {
            4 => at + 5,
            2 if bytes.get(at + 3) == Some(&b':') && digits(bytes, at + 4) == 2 => at + 6,
            2 => at + 3,
            _ => at,
        },
        _ => at,
    };
    match ends(bytes, end) {
        true => end,
        false => at,
    }
}

/// A date with a time of day. A date alone is content.
fn timestamp(bytes: &[u8], at: usize) -> Option<usize> {
    let separator = |at: usize| matches!(bytes.get(at), Some(b'-' | b'/' | b'.'));
    if digits(bytes, at) != 4 || !separator(at + 4) || digits(bytes, at + 5) != 2 {
        return None;
    }
    if !separator(at + 7) || digits(bytes, at + 8) != 2 {
        return None;
    }
    let day_end = at + 10;
    let time = match bytes.get(day_end)? {
        b'T' | b't' | b'_' => day_end + 1,
        _ => skip_blanks(bytes, day_end),
    };
    if time == day_end {
        return None;
    }
    if let Some(width) = clock(bytes, time) {
        return Some(time + width - at);
    }
    // `2024-05-06T16:45Z`
    let hours_and_minutes = digits(bytes, time) == 2
        && bytes.get(time + 2) == Some(&b':')
        && digits(bytes, time + 3) == 2;
    let end = zone(bytes, time + 5);
    (hours_and_minutes && ends(bytes, end)).then_some(end - at)
}

fn ipv4(bytes: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    for part in 0..4 {
        if part > 0 {
            if bytes.get(end) != Some(&b'.') {
                return None;
            }
            end += 1;
        }
        let width = digits(bytes, end);
        if !(1..=3).contains(&width) {
            return None;
        }
        end += width;
    }
    let port = digits(bytes, end + 1);
    let has_port = bytes.get(end) == Some(&b':') && (1..=5).contains(&port);
    if has_port && ends(bytes, end + 1 + port) {
        end += 1 + port;
    }
    ends(bytes, end).then_some(end - at)
}

/// A measured span, seconds since 1970, or the number of a counter.
fn number(
    bytes: &[u8],
    at: usize,
    word_end: usize,
    name: Option<&[u8]>,
) -> Option<(usize, &'static [u8])> {
    let whole = digits(bytes, at);
    let fraction = match bytes.get(at + whole) {
        Some(b'.') => digits(bytes, at + whole + 1),
        _ => 0,
    };
    let fine = at + whole + 1 + fraction;
    if fraction > 0
        && let Some(width) = unit(bytes, fine)
    {
        return Some((fine + width - at, SPAN));
    }
    if let Some(width) = unit(bytes, at + whole) {
        return Some((whole + width, SPAN));
    }
    if at + whole < word_end {
        return None;
    }
    // What looks like a fraction may be another word behind a dot.
    let end = match fraction > 0 && ends(bytes, fine) {
        true => fine,
        false => at + whole,
    };
    let is_epoch = bytes[at] == b'1' && matches!(whole, 10 | 13 | 16 | 19);
    match () {
        () if is_epoch => Some((end - at, TIME)),
        () if name.is_some_and(is_counter) => Some((end - at, COUNT)),
        () => None,
    }
}

/// The width of a unit of measured time that follows a number.
fn unit(bytes: &[u8], after: usize) -> Option<usize> {
    let at = skip_blanks(bytes, after);
    let rest = bytes.get(at..).unwrap_or_default();
    let in_word = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
    let letters = rest.iter().take_while(in_word).count();
    UNITS
        .contains(&&rest[..letters])
        .then_some(at + letters - after)
}

fn uuid(bytes: &[u8], at: usize) -> Option<usize> {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let mut end = at;
    for (i, width) in GROUPS.into_iter().enumerate() {
        if i > 0 {
            if bytes.get(end) != Some(&b'-') {
                return None;
            }
            end += 1;
        }
        let group = bytes.get(end..end + width)?;
        if !group.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        end += width;
    }
    ends(bytes, end).then_some(end - at)
}

/// Base64 of at least this many bytes is an id or a payload.
const LONG_BASE64: usize = 32;
/// So much of a run is looked at to tell base64 from a path, in bytes.
const MOST_LOOKED_AT: usize = 512;

/// A long run of base64, perhaps with slashes or pluses in it. A path looks alike but for its letters,
/// which seldom change case.
fn base64(bytes: &[u8], at: usize) -> Option<usize> {
    let in_run = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let rest = &bytes[at..];
    let looked_at = rest.iter().take(MOST_LOOKED_AT).take_while(in_run).count();
    if looked_at < LONG_BASE64 {
        return None;
    }
    let text = &rest[..looked_at];
    let turns = text
        .windows(2)
        .filter(|two| two[0].is_ascii_lowercase() && two[1].is_ascii_uppercase())
        .count();
    if !text.iter().any(u8::is_ascii_digit) || turns * 12 < looked_at {
        return None;
    }
    let run = rest.iter().take_while(in_run).count();
    let padding = rest[run..].iter().take_while(|byte| **byte == b'=').count();
    ends(bytes, at + run + padding).then_some(run + padding)
}

/// A word that is an id, or ends in one: the prefix stays, for it says what kind of thing it is.
fn id(word: &[u8]) -> Option<Volatile> {
    let last_at = word
        .iter()
        .rposition(|byte| *byte == b'_')
        .map_or(0, |i| i + 1);
    let (prefix, last) = word.split_at(last_at);
    let has = |test: fn(&u8) -> bool| last.iter().any(test);
    let has_digit = has(u8::is_ascii_digit);
    let has_letter = has(u8::is_ascii_alphabetic);
    let hex =
        last.len() >= LONG_HEX && has_digit && has_letter && last.iter().all(u8::is_ascii_hexdigit);
    let mixed = last.len() >= LONG_WORD
        && has_digit
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase);
    let name = prefix.strip_suffix(b"_").unwrap_or(prefix);
    let named = last.len() >= 6
        && has_digit
        && ID_PREFIXES
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name));
    (hex || mixed || named).then_some(Volatile {
        width: word.len(),
        kept: last_at,
        mark: ID,
    })
}

/// A path under a folder for temporary files: the segment that was made up for this run.
pub(super) fn scratch(bytes: &[u8], at: usize) -> Option<(usize, &'static [u8])> {
    const FOLDERS: [&[u8]; 2] = [b"/tmp/", b"/var/folders/"];
    let rest = &bytes[at..];
    let folder = FOLDERS.iter().find(|folder| rest.starts_with(folder))?;
    let in_segment =
        |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let name = &rest[folder.len()..];
    let mut width = name.iter().take_while(in_segment).count();
    let made_up = |name: &[u8]| {
        name.starts_with(b"tmp") || name.starts_with(b".") || name.iter().any(u8::is_ascii_digit)
    };
    if width == 0 || !(made_up(&name[..width]) || folder.len() > 5) {
        return None;
    }
    if folder.len() > 5 {
        // `/var/folders/xx/…/T/`: all of it is made up.
        width = name
            .iter()
            .take_while(|byte| in_segment(byte) || **byte == b'/')
            .count();
    }
    Some((folder.len() + width, SCRATCH))
}
