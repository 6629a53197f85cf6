//! Ids that frameworks put into bodies: whose call this is, as far as the body says so.

use super::{Cursor, DecodeError, Dialect, Key, Range, Reader};
use crate::json::{Cursor as Scan, without_members};

/// The longest id, in bytes of visible ASCII.
const ID_BYTES_MAX: usize = 256;

/// Members of `metadata` that are Bursar's own.
const OURS: [&str; 3] = ["user_task_id", "agent_id", "agent_role"];

impl<'a> Reader<'a> {
    /// `metadata`. Anthropic takes `user_id` alone; completions and embeddings have no such field.
    pub(super) fn metadata(
        &mut self,
        cursor: &mut Cursor<'a>,
        key: &Key,
    ) -> Result<(), DecodeError> {
        if !self.enter(cursor, "metadata")? {
            return Ok(());
        }
        let mut members: Vec<(Range<usize>, bool)> = Vec::new();
        let mut met = [false; OURS.len() + 1];
        let mut ours = false;
        cursor.object(|cursor, key| {
            let name = key.name(self.body);
            let is_user = *name == *b"user_id";
            let known = OURS.iter().position(|ours| ours.as_bytes() == &*name);
            if let Some(bit) = known.or(is_user.then_some(OURS.len())) {
                if met[bit] {
                    let name = key.text(self.body);
                    return Err(super::values::duplicate(&name, key.at.start));
                }
                met[bit] = true;
            }
            match known {
                Some(index) => {
                    ours = true;
                    let id = self.explicit_id(cursor, OURS[index])?;
                    let ids = &mut self.call.ids;
                    *[&mut ids.task, &mut ids.agent, &mut ids.role][index] = id;
                }
                None if is_user && self.call.dialect == Dialect::AnthropicMessages => {
                    let user = self.string(cursor, "metadata.user_id")?;
                    self.call.ids.session = user.and_then(|user| session(&user));
                }
                None => cursor.skip().map(drop)?,
            }
            members.push((key.at.start..cursor.offset(), is_user));
            Ok(())
        })?;
        self.call.ids.foreign = match self.call.dialect {
            Dialect::AnthropicMessages => without_members(&members),
            Dialect::OpenaiCompletions | Dialect::OpenaiEmbeddings if ours => {
                vec![self.whole_member(cursor, key)]
            }
            _ => Vec::new(),
        };
        Ok(())
    }

    /// The member that has just been read, with one comma.
    fn whole_member(&self, cursor: &Cursor<'a>, key: &Key) -> Range<usize> {
        if self.last_end > 0 {
            return self.last_end..cursor.offset();
        }
        // The first member takes the comma behind it along, up to the next key.
        let behind = &self.body[cursor.offset()..];
        let next = memchr::memchr(b'"', behind).unwrap_or(0);
        key.at.start..cursor.offset() + next
    }

    /// An id that was given for Bursar to read: malformed, it is an error.
    fn explicit_id(
        &self,
        cursor: &mut Cursor<'a>,
        name: &str,
    ) -> Result<Option<String>, DecodeError> {
        let param = format!("metadata.{name}");
        let Some(id) = self.string(cursor, &param)? else {
            return Ok(None);
        };
        if !is_id(&id) {
            let message = format!("must be 1 to {ID_BYTES_MAX} bytes of visible ASCII");
            return Err(DecodeError::field(&param, message));
        }
        Ok(Some(id.into_owned()))
    }

    /// `user` or `safety_identifier`: recorded if it looks like an id, never trusted.
    pub(super) fn user(&mut self, cursor: &mut Cursor<'a>, name: &str) -> Result<(), DecodeError> {
        let user = self.string(cursor, name)?.filter(|user| is_id(user));
        if self.call.ids.user.is_none() {
            self.call.ids.user = user.map(|user| user.into_owned());
        }
        Ok(())
    }
}

fn is_id(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// The session in Anthropic's `metadata.user_id` as its clients write it: a JSON object with
/// `session_id`, or `user_…_account_…_session_<uuid>`.
fn session(user_id: &str) -> Option<String> {
    let found = if user_id.starts_with('{') {
        let mut found = None;
        let mut scan = Scan::new(user_id.as_bytes()).ok()?;
        scan.object(|scan, key| {
            let is_session = key.text(user_id.as_bytes()) == "session_id";
            let value = scan.skip()?;
            if is_session {
                found = value.text(user_id.as_bytes()).map(|id| id.into_owned());
            }
            Ok::<(), crate::json::JsonError>(())
        })
        .ok()?;
        found?
    } else {
        user_id.rsplit_once("_session_")?.1.to_owned()
    };
    is_id(&found).then_some(found)
}
