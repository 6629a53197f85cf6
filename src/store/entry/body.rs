//! The bodies of journal rows, and how texts, amounts, caps and account keys are written in them.

use super::super::{TaskRecord, TaskState};
use crate::ledger::{AccountKey, Caps, Dimension};
use crate::units::{Amounts, Meter};
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Text that is borrowed from the row where it has no escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<'a>(pub Cow<'a, str>);

impl Text<'_> {
    /// No text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Read)
    }
}

/// Amounts as an object of the meters that are not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums(pub Amounts);

impl Sums {
    fn is_zero(&self) -> bool {
        self.0.is_zero()
    }
}

impl Serialize for Sums {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for meter in Meter::ALL {
            if self.0[meter] != 0 {
                map.serialize_entry(meter.name(), &self.0[meter])?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Sums {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Amounts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("quantities by meter")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Amounts, A::Error> {
                let mut amounts = Amounts::ZERO;
                while let Some(name) = map.next_key::<Text<'de>>()? {
                    let meter = Meter::from_name(name.as_str())
                        .ok_or_else(|| de::Error::custom(format!("no meter `{}`", name.0)))?;
                    amounts[meter] = map.next_value()?;
                }
                Ok(amounts)
            }
        }
        deserializer.deserialize_map(Read).map(Sums)
    }
}

/// The body of [`super::Kind::TaskOpened`] and [`super::Kind::TaskChanged`]: the task as it is from now on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskBody<'a> {
    /// Its owner.
    #[serde(borrow)]
    pub owner: Text<'a>,
    /// Its id.
    pub task: Text<'a>,
    /// Its state.
    pub state: Text<'a>,
    /// Its own caps, by meter.
    pub caps: CapsBody,
    /// Who did it.
    pub by: Text<'a>,
}

impl<'a> TaskBody<'a> {
    pub(in super::super) fn new(record: &'a TaskRecord, by: &'a str) -> Self {
        Self {
            owner: Text::from(record.key.owner.as_str()),
            task: Text::from(record.key.task.as_str()),
            state: Text::from(TaskState::name(record.state)),
            caps: CapsBody(record.caps),
            by: Text::from(by),
        }
    }
}

/// Caps as an object of the meters that have one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapsBody(pub Caps);

impl Serialize for CapsBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for meter in Meter::ALL {
            if let Some(cap) = self.0.0[meter as usize] {
                map.serialize_entry(meter.name(), &cap)?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for CapsBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let named = std::collections::BTreeMap::<String, u64>::deserialize(deserializer)?;
        let mut caps = Caps::default();
        for (name, cap) in named {
            let meter = Meter::from_name(&name)
                .ok_or_else(|| de::Error::custom(format!("no meter `{name}`")))?;
            caps.0[meter as usize] = Some(cap);
        }
        Ok(Self(caps))
    }
}

/// The body of [`super::Kind::Account`] and [`super::Kind::Seed`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccountBody {
    /// Its number, by which calls name it.
    pub account: i64,
    /// The limit, the values of `per`, the window.
    pub key: KeyBody,
    /// Settled on opening.
    #[serde(default, skip_serializing_if = "Sums::is_zero")]
    pub settled: Sums,
    /// In doubt on opening.
    #[serde(default, skip_serializing_if = "Sums::is_zero")]
    pub in_doubt: Sums,
}

/// An account's key as `[limit, [[dimension, value], …], window]`; also its text in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyBody(pub AccountKey);

impl Serialize for KeyBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (
            &self.0.limit,
            &self.0.per,
            self.0.window.map(|window| window.0),
        )
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for KeyBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type Tuple = (Arc<str>, Vec<(String, Arc<str>)>, Option<i64>);
        let (limit, per, window) = Tuple::deserialize(deserializer)?;
        let per = per
            .into_iter()
            .map(|(name, value)| {
                dimension(&name)
                    .map(|name| (name, value))
                    .ok_or_else(|| de::Error::custom(format!("no dimension `{name}`")))
            })
            .collect::<Result<Vec<Dimension>, _>>()?;
        Ok(Self(AccountKey {
            limit,
            per: per.into(),
            window: window.map(crate::units::UnixMs),
        }))
    }
}

/// What `per` may name, as the ledger holds it.
fn dimension(name: &str) -> Option<&'static str> {
    const DIMENSIONS: [&str; 12] = [
        "owner",
        "identity",
        "on_behalf_of",
        "task",
        "agent",
        "role",
        "model",
        "provider",
        "dialect",
        "tool",
        "parent",
        "call",
    ];
    DIMENSIONS.into_iter().find(|known| *known == name)
}

/// The body of [`super::Kind::TopUp`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TopUpBody<'a> {
    /// The account's number.
    pub account: i64,
    /// By how much.
    pub amounts: Sums,
    /// Who did it.
    #[serde(borrow)]
    pub by: Text<'a>,
}

/// The body of [`super::Kind::Crash`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CrashBody {
    /// The account's number.
    pub account: i64,
    /// Granted and not proven, hence in doubt.
    pub amounts: Sums,
}

/// The body of [`super::Kind::Release`] and [`super::Kind::Reconcile`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DoubtBody<'a> {
    /// The number of the row that raised the doubt.
    pub doubt: i64,
    /// The call, unless a crash raised it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Text<'a>>,
    /// What was in doubt and is so no longer.
    pub amounts: Sums,
    /// What of it (or beyond it) was spent.
    #[serde(default, skip_serializing_if = "Sums::is_zero")]
    pub settled: Sums,
    /// The accounts that count it.
    pub accounts: Vec<i64>,
    /// Who did it.
    pub by: Text<'a>,
}

/// The body of [`super::Kind::Switch`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SwitchBody<'a> {
    /// The identity; absent: everybody.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Text<'a>>,
    /// Pressed or lifted.
    pub on: bool,
    /// Who did it.
    pub by: Text<'a>,
}

/// The body of the rows that are notes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NoteBody<'a> {
    /// Who did it.
    #[serde(borrow)]
    pub by: Text<'a>,
    /// To what.
    pub subject: Text<'a>,
    /// More.
    pub detail: Text<'a>,
}

/// The body of [`super::Kind::Mark`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MarkBody<'a> {
    /// The task's owner.
    #[serde(borrow)]
    pub owner: Text<'a>,
    /// The task.
    pub task: Text<'a>,
    /// The rule.
    pub rule: Text<'a>,
    /// The agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Text<'a>>,
    /// Who received what it handed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_by: Option<Text<'a>>,
    /// More.
    pub detail: Text<'a>,
    /// The calls it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Text<'a>>,
}

/// The body of [`super::Kind::Started`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StartBody {
    /// The process's epoch.
    pub epoch: i64,
    /// The version of Bursar.
    pub version: String,
    /// The process before it did not stop in good order.
    pub after_crash: bool,
}

/// The body of [`super::Kind::Stopped`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StopBody {
    /// The process's epoch.
    pub epoch: i64,
    /// Every hold had ended.
    pub clean: bool,
}

/// The body of [`super::Kind::Checkpoint`]: proof that the rows kept follow the rows that left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckpointBody {
    /// The number of the last row that left.
    pub through: i64,
    /// Its hash, hex.
    pub hash: String,
    /// How many rows left.
    pub rows: i64,
    /// The archive's file name; absent: dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
}
