//! What a call's journal row keeps, so that calls after a restart find what came before them: digests
//! only, with a key that is in no row.

use super::arguments::{Argument, MOST_ARGUMENTS};
use super::line::{Handed, MOST_IDS, MOST_OPEN, Open};
use super::portrait::Fingerprint;

/// The first byte: how the rest is written.
const VERSION: u8 = 1;

/// Where a call stands among the conversations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stand {
    /// Which agent it is likely to be of.
    pub print: Fingerprint,
    /// The digest of its first message.
    pub first: u128,
    /// The digest of all its messages.
    pub mark: u128,
}

/// Writes it: numbers as bytes, little end first, lists behind their length in one byte.
#[must_use]
pub fn write(stand: &Stand, handed: &Handed) -> Vec<u8> {
    let mut out = vec![VERSION];
    for digest in [stand.print.0, stand.first, stand.mark] {
        out.extend(digest.to_le_bytes());
    }
    out.extend(handed.said.to_le_bytes());
    let ids = &handed.ids[..handed.ids.len().min(MOST_IDS)];
    out.push(count(ids.len()));
    ids.iter().for_each(|id| out.extend(id.to_le_bytes()));
    let open = &handed.open[..handed.open.len().min(MOST_OPEN)];
    out.push(count(open.len()));
    for open in open {
        out.extend(open.id.to_le_bytes());
        out.push(u8::from(open.hands_off));
        let arguments = &open.arguments[..open.arguments.len().min(MOST_ARGUMENTS)];
        out.push(count(arguments.len()));
        for Argument {
            beginning,
            bytes,
            whole,
        } in arguments
        {
            out.extend(beginning.to_le_bytes());
            out.extend(bytes.to_le_bytes());
            out.extend(whole.to_le_bytes());
        }
    }
    out
}

fn count(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

/// Reads it; `None` if another version of Bursar wrote it, or nobody did.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<(Stand, Handed)> {
    let mut rest = bytes;
    let [version] = take(&mut rest)?;
    if version != VERSION {
        return None;
    }
    let mut digest = || Some(u128::from_le_bytes(take(&mut rest)?));
    let stand = Stand {
        print: Fingerprint(digest()?),
        first: digest()?,
        mark: digest()?,
    };
    let mut handed = Handed {
        said: number(&mut rest)?,
        ..Handed::default()
    };
    let [ids] = take(&mut rest)?;
    for _ in 0..ids {
        handed.ids.push(number(&mut rest)?);
    }
    let [open] = take(&mut rest)?;
    for _ in 0..open {
        let id = number(&mut rest)?;
        let [hands_off, arguments] = take(&mut rest)?;
        let mut open = Open {
            id,
            hands_off: hands_off != 0,
            arguments: smallvec::SmallVec::new(),
        };
        for _ in 0..arguments {
            open.arguments.push(Argument {
                beginning: number(&mut rest)?,
                bytes: u32::from_le_bytes(take(&mut rest)?),
                whole: number(&mut rest)?,
            });
        }
        handed.open.push(open);
    }
    rest.is_empty().then_some((stand, handed))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*first)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(take(rest)?))
}
