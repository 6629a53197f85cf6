//! A journal on a disk that changes bytes: reading it never panics, and what verifies against a head
//! noted earlier is what was written.
#![no_main]

use bursar::ledger::{AccountKey, Caps};
use bursar::store::{
    Grant, Head, Options, Reader, SqliteStore, Store as _, StoreError, TaskOpening, VerifyOptions,
};
use bursar::units::{Amounts, Meter, TaskKey};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

#[derive(Debug, Arbitrary)]
struct Damage {
    at: u32,
    byte: u8,
}

struct Sound {
    _directory: tempfile::TempDir,
    path: PathBuf,
    bytes: Vec<u8>,
    rows: Vec<String>,
    head: Head,
}

static SOUND: LazyLock<Sound> = LazyLock::new(|| write().expect("a sound journal"));

fn rows(reader: &Reader) -> Result<Vec<String>, StoreError> {
    let mut rows = Vec::new();
    reader.rows(0, |row| {
        rows.push(row.to_json());
        Ok(true)
    })?;
    Ok(rows)
}

/// A small journal: a few tasks, grants and top-ups.
fn write() -> Result<Sound, StoreError> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("bursar.db");
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(async {
        let (store, _) = SqliteStore::open(Options::new(&path))?;
        store.set_limits(vec!["task".into()]).await?;
        for task in 0..8 {
            let name: Arc<str> = format!("t-{task}").into();
            let key = AccountKey {
                limit: "task".into(),
                per: [("task", Arc::clone(&name))].into(),
                window: None,
            };
            let upto = Amounts::ZERO.with(Meter::Usd, 1_000);
            let grant = Grant {
                key: key.clone(),
                upto,
                seed: None,
            };
            let task = TaskKey {
                owner: "research".into(),
                task: (&*name).into(),
            };
            let opening = TaskOpening {
                key: task,
                caps: Caps::default(),
                by: "somebody".into(),
            };
            store.open(Some(opening), vec![grant]).await?;
            store.top_up(key, upto, "somebody".into()).await?;
        }
        store.stop(Duration::from_secs(5)).await?;
        Ok::<_, StoreError>(())
    })?;
    let reader = Reader::open(&path)?;
    let (rows, head) = (rows(&reader)?, reader.head()?);
    drop(reader);
    let bytes = std::fs::read(&path).expect("the file");
    Ok(Sound {
        _directory: directory,
        path,
        bytes,
        rows,
        head,
    })
}

fuzz_target!(|damages: Vec<Damage>| {
    let sound = &*SOUND;
    let mut bytes = sound.bytes.clone();
    for Damage { at, byte } in damages {
        let at = at as usize % bytes.len();
        bytes[at] = byte;
    }
    let path = sound.path.with_extension("damaged");
    std::fs::write(&path, bytes).expect("a copy");
    let Ok(reader) = Reader::open(&path) else {
        return;
    };
    let found = rows(&reader);
    let options = VerifyOptions {
        archive_dir: None,
        head: Some(sound.head),
    };
    if let Ok(verdict) = reader.verify(&options)
        && verdict.is_ok()
    {
        assert_eq!(found.expect("rows that were verified"), sound.rows);
    }
});
