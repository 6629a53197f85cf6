//! Programs that tests run: never waited for without a bound.

use super::LONGEST;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A command that is run to its end.
pub trait Ends {
    /// Runs it to its end.
    ///
    /// # Panics
    /// If it does not start or does not end.
    fn ended(&mut self) -> Output;
}

impl Ends for Command {
    fn ended(&mut self) -> Output {
        let mut child = self
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let stdout = reading(child.stdout.take().expect("piped"));
        let stderr = reading(child.stderr.take().expect("piped"));
        let status = ends_within(&mut child, LONGEST);
        let [stdout, stderr] = [stdout, stderr].map(|reading| reading.join().expect("a reader"));
        let Some(status) = status else {
            let said = String::from_utf8_lossy(&stderr);
            panic!("{self:?} does not end: {said}");
        };
        Output {
            status,
            stdout,
            stderr,
        }
    }
}

fn reading(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = pipe.read_to_end(&mut all);
        all
    })
}

/// How it ended; `None` if it did not, and then it has been killed.
pub fn ends_within(child: &mut Child, most: Duration) -> Option<ExitStatus> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return Some(status);
        }
        if began.elapsed() > most {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
