//! The load: closed loops for throughput, a steady rate for latency, streams that end and streams
//! that stay open. Requests are made once and patched in place, so that no two are the same call and
//! none costs more to make than to send.

use crate::Fault;
use crate::wire::Wire;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

/// Tasks that the load's calls belong to.
const TASKS: u64 = 64;

/// A request to be sent many times.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    /// Where the eight digits stand that make each call another.
    serial_at: usize,
    /// Where the two digits of the task stand.
    task_at: usize,
}

impl Template {
    /// A chat call whose body has about `body_bytes` bytes, in messages of at most 4 kB.
    pub fn chat(model: &str, body_bytes: usize, stream: bool) -> Result<Self, Fault> {
        let system = "You are a researcher in a small company. Answer in one paragraph, name your sources and say what you do not know.";
        let line = "On the third day the \\\"north\\\" survey found the cistern dry;\\nthe ledger says otherwise. ";
        let mut messages = format!(r#"{{"role":"system","content":"{system}"}}"#);
        let mut left = body_bytes.saturating_sub(messages.len() + 420);
        for turn in 0.. {
            let role = ["user", "assistant"][turn % 2];
            let text = line.repeat(left.min(4_000) / line.len());
            messages += &format!(r#",{{"role":"{role}","content":"{text}"}}"#);
            left = left.saturating_sub(4_000);
            if left < 200 {
                break;
            }
        }
        let asked = if stream { r#","stream":true"# } else { "" };
        let body = format!(
            r#"{{"model":"{model}","messages":[{messages},{{"role":"user","content":"Call 00000000: what did the survey find?"}}],"max_tokens":256,"temperature":0.2,"tools":[{{"type":"function","function":{{"name":"look_up","description":"Look a fact up","parameters":{{"type":"object","properties":{{"query":{{"type":"string"}}}},"required":["query"]}}}}}}]{asked}}}"#
        );
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\naccept: application/json\r\nuser-agent: bench\r\nx-bursar-task-id: bench-00\r\nx-bursar-agent-id: researcher-1\r\nx-bursar-agent-role: researcher\r\ncontent-length: {}\r\n\r\n",
            crate::subject::KEY,
            body.len()
        );
        let bytes = (head + &body).into_bytes();
        let at = |text: &[u8]| memchr::memmem::find(&bytes, text).ok_or("a marker is missing");
        let (serial_at, task_at) = (at(b"Call 00000000")? + 5, at(b"bench-00")? + 6);
        Ok(Self {
            bytes,
            serial_at,
            task_at,
        })
    }

    fn make_unique(&mut self, serial: u64) {
        let digits = format!("{:08}", serial % 100_000_000);
        self.bytes[self.serial_at..self.serial_at + 8].copy_from_slice(digits.as_bytes());
        let task = format!("{:02}", serial % TASKS);
        self.bytes[self.task_at..self.task_at + 2].copy_from_slice(task.as_bytes());
    }
}

/// What a closed loop got done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Calls answered with 200.
    pub calls: u64,
    /// Events of their streams.
    pub events: u64,
    /// Other statuses.
    pub refused: u64,
    /// One of those.
    pub status: u16,
}

/// Where a loop's serials begin: no call of a run is sent twice, for an agent that says the same again and
/// again goes round in circles, and is stopped.
fn fresh_serials() -> u64 {
    /// More than one loop uses.
    const EACH: u64 = 40_009;
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(EACH, Ordering::Relaxed)
}

/// Keeps `connections` calls in flight for `time`.
pub async fn closed(
    to: SocketAddr,
    template: &Template,
    connections: u64,
    time: Duration,
) -> Result<Done, Fault> {
    let until = Instant::now() + time;
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        workers.spawn(one_loop(to, template.clone(), fresh_serials(), until));
    }
    let mut sum = Done::default();
    while let Some(done) = workers.join_next().await {
        let done = done??;
        sum.calls += done.calls;
        sum.events += done.events;
        sum.refused += done.refused;
        sum.status = sum.status.max(done.status);
    }
    Ok(sum)
}

async fn one_loop(
    to: SocketAddr,
    mut template: Template,
    mut serial: u64,
    until: Instant,
) -> Result<Done, Fault> {
    let mut done = Done::default();
    let mut wire = Wire::new(TcpStream::connect(to).await?)?;
    while Instant::now() < until {
        template.make_unique(serial);
        serial += 1;
        wire.write(&template.bytes).await?;
        let message = wire.read().await?.ok_or("closed instead of an answer")?;
        if message.status == 200 {
            done.calls += 1;
            done.events += message.events;
        } else {
            done.refused += 1;
            done.status = message.status;
        }
    }
    Ok(done)
}

/// Sends a call every `1 s / per_second`, whether or not the ones before it were answered, and returns
/// each one's time to its last byte.
pub async fn steady(
    to: SocketAddr,
    template: &Template,
    per_second: u32,
    time: Duration,
) -> Result<Vec<Duration>, Fault> {
    let idle: Arc<Mutex<Vec<(Wire, Template)>>> = Arc::default();
    let (times, mut seen) = mpsc::unbounded_channel();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
    let until = Instant::now() + time;
    let mut serial = fresh_serials();
    let mut calls = JoinSet::new();
    while Instant::now() < until {
        ticks.tick().await;
        let (mut wire, mut template) = match idle.lock().await.pop() {
            Some(pair) => pair,
            None => (Wire::new(TcpStream::connect(to).await?)?, template.clone()),
        };
        template.make_unique(serial);
        serial += 1;
        let (idle, times) = (idle.clone(), times.clone());
        calls.spawn(async move {
            let start = Instant::now();
            wire.write(&template.bytes).await?;
            let message = wire.read().await?.ok_or("closed instead of an answer")?;
            if message.status != 200 {
                return Err(format!("an answer of {}", message.status).into());
            }
            // The bench ends with the receiver; a time that nobody reads is no loss.
            let _ = times.send(start.elapsed());
            idle.lock().await.push((wire, template));
            Ok::<(), Fault>(())
        });
        while let Some(done) = calls.try_join_next() {
            done??;
        }
    }
    while let Some(done) = calls.join_next().await {
        done??;
    }
    drop(times);
    let mut all = Vec::new();
    while let Some(time) = seen.recv().await {
        all.push(time);
    }
    Ok(all)
}

/// Opens `count` streams, each read up to the last event before its pause, and keeps them.
pub async fn open(to: SocketAddr, template: &Template, count: u64) -> Result<Vec<Wire>, Fault> {
    /// Opened at once; more would overflow the listeners' backlogs and measure that.
    const BATCH: u64 = 50;
    let mut open = Vec::new();
    let first = fresh_serials();
    let mut from = 0;
    while from < count {
        let mut batch = JoinSet::new();
        for serial in from..(from + BATCH).min(count) {
            let mut template = template.clone();
            batch.spawn(async move {
                let mut wire = Wire::new(TcpStream::connect(to).await?)?;
                template.make_unique(first + serial);
                wire.write(&template.bytes).await?;
                let seen = wire.read_events(crate::provider::HELD_CHUNKS).await?;
                match seen.status {
                    200 => Ok(wire),
                    status => Err(Fault::from(format!("a stream was refused with {status}"))),
                }
            });
        }
        while let Some(wire) = batch.join_next().await {
            open.push(wire??);
        }
        from += BATCH;
    }
    Ok(open)
}
