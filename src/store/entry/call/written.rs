//! A call's row as text, by hand: every call writes one, and serde takes three times as long for it. What it
//! writes is the promise all the same; the tests compare the two on random rows.

use super::{CallBody, Tally};
use crate::store::entry::body::Text;
use serde::Serialize;

/// What stands between two fields of an entry.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

impl CallBody<'_> {
    /// Appends the entry's text.
    ///
    /// # Errors
    /// None that is known: writing to memory does not fail.
    pub(in crate::store) fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        // Whole, so that a new field breaks the build here.
        let Self {
            request,
            admitted,
            ended,
            owner,
            identity,
            task,
            task_from,
            agent,
            agent_from,
            role,
            role_from,
            parent,
            parent_from,
            on_behalf_of,
            on_behalf_of_from,
            trace,
            span,
            dialect,
            translated,
            hedge,
            model,
            route,
            asked,
            shadow,
            shadow_to,
            shadow_usd,
            provider,
            answered,
            answer_id,
            ending,
            reason,
            limit,
            quoted,
            charged,
            told,
            overrun,
            prices,
            tools,
            status,
            steps,
            invocation,
            invocation_from,
            joins,
            accounts,
        } = self;
        out.push(b'{');
        let mut row = Fields { out };
        row.text("\"request\":", request)?;
        row.number(key!("admitted"), *admitted)?;
        if *ended != 0 {
            row.number(key!("ended"), *ended)?;
        }
        row.text(key!("owner"), owner)?;
        if !identity.is_empty() {
            row.text(key!("identity"), identity)?;
        }
        row.text(key!("task"), task)?;
        row.maybe(key!("task_from"), task_from.as_ref())?;
        row.maybe(key!("agent"), agent.as_ref())?;
        row.maybe(key!("agent_from"), agent_from.as_ref())?;
        row.maybe(key!("role"), role.as_ref())?;
        row.maybe(key!("role_from"), role_from.as_ref())?;
        row.maybe(key!("parent"), parent.as_ref())?;
        row.maybe(key!("parent_from"), parent_from.as_ref())?;
        row.maybe(key!("on_behalf_of"), on_behalf_of.as_ref())?;
        row.maybe(key!("on_behalf_of_from"), on_behalf_of_from.as_ref())?;
        row.maybe(key!("trace"), trace.as_ref())?;
        row.maybe(key!("span"), span.as_ref())?;
        row.text(key!("dialect"), dialect)?;
        row.maybe(key!("translated"), translated.as_ref())?;
        row.maybe(key!("hedge"), hedge.as_ref())?;
        row.text(key!("model"), model)?;
        row.maybe(key!("route"), route.as_ref())?;
        row.maybe(key!("asked"), asked.as_ref())?;
        row.maybe(key!("shadow"), shadow.as_ref())?;
        row.maybe(key!("shadow_to"), shadow_to.as_ref())?;
        if let Some(usd) = shadow_usd {
            row.number(key!("shadow_usd"), *usd)?;
        }
        row.maybe(key!("provider"), provider.as_ref())?;
        row.maybe(key!("answered"), answered.as_ref())?;
        row.maybe(key!("answer_id"), answer_id.as_ref())?;
        row.text(key!("ending"), ending)?;
        row.maybe(key!("reason"), reason.as_ref())?;
        row.maybe(key!("limit"), limit.as_ref())?;
        row.tally(key!("quoted"), quoted)?;
        row.tally(key!("charged"), charged)?;
        if let Some(told) = told {
            row.number(key!("told"), *told)?;
        }
        if *overrun != 0 {
            row.number(key!("overrun"), *overrun)?;
        }
        row.text(key!("prices"), prices)?;
        if !tools.is_empty() {
            row.key(key!("tools"));
            serde_json::to_writer(&mut *row.out, tools)?;
        }
        if let Some(status) = status {
            row.number(key!("status"), *status)?;
        }
        row.maybe(key!("steps"), steps.as_ref())?;
        row.maybe(key!("invocation"), invocation.as_ref())?;
        row.maybe(key!("invocation_from"), invocation_from.as_ref())?;
        row.maybe(key!("joins"), joins.as_ref())?;
        if !accounts.is_empty() {
            row.list(key!("accounts"), accounts)?;
        }
        row.out.push(b'}');
        Ok(())
    }
}

/// The fields of an entry on their way to its text.
struct Fields<'o> {
    out: &'o mut Vec<u8>,
}

impl Fields<'_> {
    fn key(&mut self, key: &str) {
        self.out.extend_from_slice(key.as_bytes());
    }

    fn text(&mut self, key: &str, text: &Text<'_>) -> serde_json::Result<()> {
        self.key(key);
        let text = text.as_str();
        if !is_plain(text) {
            return serde_json::to_writer(&mut *self.out, text);
        }
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(b'"');
        Ok(())
    }

    fn maybe(&mut self, key: &str, text: Option<&Text<'_>>) -> serde_json::Result<()> {
        text.map_or(Ok(()), |text| self.text(key, text))
    }

    fn number(&mut self, key: &str, number: impl Serialize) -> serde_json::Result<()> {
        self.key(key);
        serde_json::to_writer(&mut *self.out, &number)
    }

    fn tally(&mut self, key: &str, tally: &Tally) -> serde_json::Result<()> {
        if tally.is_zero() {
            return Ok(());
        }
        self.list(key, tally.used())
    }

    fn list(&mut self, key: &str, numbers: &[impl Serialize]) -> serde_json::Result<()> {
        self.key(key);
        self.out.push(b'[');
        for (at, number) in numbers.iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            serde_json::to_writer(&mut *self.out, number)?;
        }
        self.out.push(b']');
        Ok(())
    }
}

/// JSON writes it as it is.
fn is_plain(text: &str) -> bool {
    // Without an early end, so that many bytes are looked at in one step.
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    text.bytes().fold(true, |so_far, byte| so_far & plain(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Amounts;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = Text<'static>> {
        // Quotes, control characters and what is beyond ASCII among the rest.
        "[a-z0-9:\"\\\\\\x00-\\x1f\\x7f\u{e9}\u{1f600}]{0,24}".prop_map(Text::from)
    }

    fn tally() -> impl Strategy<Value = Tally> {
        let amounts = proptest::array::uniform12(prop_oneof![Just(0), any::<u64>()]);
        amounts.prop_map(|amounts| Tally(Amounts(amounts)))
    }

    prop_compose! {
        fn rows()(
            texts in proptest::collection::vec(text(), 8),
            maybes in proptest::collection::vec(proptest::option::of(text()), 23),
            numbers in (any::<i64>(), prop_oneof![Just(0), any::<i64>()]),
            counts in proptest::collection::vec(proptest::option::of(any::<u64>()), 3),
            (quoted, charged) in (tally(), tally()),
            tools in proptest::collection::vec((text(), any::<u64>()), 0..3),
            status in proptest::option::of(any::<u16>()),
            accounts in proptest::collection::vec(any::<i64>(), 0..4),
        ) -> CallBody<'static> {
            let (mut texts, mut maybes) = (texts.into_iter(), maybes.into_iter());
            let mut text = || texts.next().unwrap();
            let mut maybe = || maybes.next().unwrap();
            CallBody {
                request: text(),
                admitted: numbers.0,
                ended: numbers.1,
                owner: text(),
                identity: text(),
                task: text(),
                task_from: maybe(),
                agent: maybe(),
                agent_from: maybe(),
                role: maybe(),
                role_from: maybe(),
                parent: maybe(),
                parent_from: maybe(),
                on_behalf_of: maybe(),
                on_behalf_of_from: maybe(),
                trace: maybe(),
                span: maybe(),
                dialect: text(),
                translated: maybe(),
                hedge: maybe(),
                model: text(),
                route: maybe(),
                asked: maybe(),
                shadow: maybe(),
                shadow_to: maybe(),
                shadow_usd: counts[0],
                provider: maybe(),
                answered: maybe(),
                answer_id: maybe(),
                ending: text(),
                reason: maybe(),
                limit: maybe(),
                quoted,
                charged,
                told: counts[1],
                overrun: counts[2].unwrap_or(0),
                prices: text(),
                tools,
                status,
                steps: maybe(),
                invocation: None,
                invocation_from: None,
                joins: None,
                accounts,
            }
        }
    }

    proptest! {
        #[test]
        fn a_row_is_what_serde_writes(row in rows(), rest in proptest::array::uniform3(proptest::option::of(text()))) {
            let [invocation, invocation_from, joins] = rest;
            let row = CallBody { invocation, invocation_from, joins, ..row };
            let mut written = Vec::new();
            row.write(&mut written).unwrap();
            let written = String::from_utf8(written).unwrap();
            prop_assert_eq!(written, serde_json::to_string(&row).unwrap());
        }
    }
}
