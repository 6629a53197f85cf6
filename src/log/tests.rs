use super::*;
use crate::attribution::{Source, Sourced};
use parking_lot::Mutex;
use serde_json::Value;
use std::io;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::JsonFields;

/// Lines that were written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    fn all(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

fn call(task: &str, trace: u128) -> CallContext {
    let sourced = |text: &str| Sourced {
        value: text.into(),
        source: Source::Header,
    };
    CallContext {
        request: "req_1".into(),
        ids: TraceIds { trace, span: 0xab },
        whose: Arc::new(Attribution {
            owner: "o".into(),
            identity: "i".into(),
            task: sourced(task),
            agent: None,
            role: None,
            invocation: None,
            parent: None,
            on_behalf_of: None,
            joined: None,
        }),
    }
}

fn json_log(lines: &Lines) -> impl Subscriber + use<> {
    let format = tracing_subscriber::fmt::format().json();
    tracing_subscriber::fmt()
        .fmt_fields(JsonFields::new())
        .event_format(InContext::json(format))
        .with_writer(lines.clone())
        .finish()
}

#[test]
fn a_line_of_json_has_its_call_and_other_lines_have_none() {
    let lines = Lines::default();
    tracing::subscriber::with_default(json_log(&lines), || {
        tracing::warn!("before");
        at(Some(call("a \"task\"\n", 7)), || {
            tracing::warn!(n = 1, "within")
        });
        tracing::warn!("behind");
    });
    let read = |line: &String| serde_json::from_str::<Value>(line).unwrap();
    let lines: Vec<Value> = lines.all().iter().map(read).collect();
    assert_eq!(lines.len(), 3);
    let within = &lines[1];
    assert_eq!(within["fields"]["message"], "within");
    assert_eq!(within["trace_id"], format!("{:032x}", 7));
    assert_eq!(within["span_id"], "00000000000000ab");
    assert_eq!(
        (&within["request"], &within["task"]),
        (&"req_1".into(), &"a \"task\"\n".into())
    );
    assert!(within.get("agent").is_none(), "it has none");
    for other in [&lines[0], &lines[2]] {
        assert!(other.get("trace_id").is_none() && other.get("task").is_none());
    }
}

#[test]
fn a_line_of_text_stays_one_line() {
    let lines = Lines::default();
    let format = tracing_subscriber::fmt::format().with_ansi(false);
    let log = tracing_subscriber::fmt()
        .event_format(InContext::text(format))
        .with_writer(lines.clone())
        .finish();
    tracing::subscriber::with_default(log, || {
        at(Some(call("t\n", 7)), || tracing::warn!("within"))
    });
    let lines = lines.all();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let told = format!(
        "trace_id={:032x} span_id=00000000000000ab request=\"req_1\" task=\"t\\n\" owner=\"o\"",
        7
    );
    assert!(lines[0].ends_with(&told), "{lines:?}");
}

#[tokio::test]
async fn calls_that_take_turns_on_a_thread_keep_to_their_own() {
    let lines = Lines::default();
    let _log = tracing::subscriber::set_default(json_log(&lines));
    let one = |trace: u128| {
        within(Some(call(&trace.to_string(), trace)), async move {
            for _ in 0..3 {
                tracing::warn!(trace = trace.to_string(), "a step");
                tokio::task::yield_now().await;
            }
            // In a task of its own it is the same call still.
            let apart =
                inherited(async move { tracing::warn!(trace = trace.to_string(), "a step") });
            tokio::spawn(apart).await.unwrap();
        })
    };
    tokio::join!(one(1), one(2), one(3));
    let lines = lines.all();
    assert_eq!(lines.len(), 12);
    for line in lines {
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["task"], line["fields"]["trace"], "{line}");
    }
}
