//! What it costs at most to compile a schema and to check a value against it, in steps: one for each
//! place of the schema that is met by a place of the value. Schemas come from callers and values from
//! models, and a few hundred bytes of both can ask for more steps than anybody has time for.

use serde_json::{Map, Value};

/// Most steps that a schema may take to compile.
const COMPILE_STEPS_MAX: u64 = 20_000;
/// Most steps that a check may take: some tens of milliseconds.
const CHECK_STEPS_MAX: u64 = 100_000;
/// Deepest nesting of a schema with what it names, in levels.
const DEPTH_MAX: usize = 64;

/// Keywords that are not checked: what they cost cannot be bounded by looking, or they name what is
/// elsewhere. `nullable` is another standard's, and means what this one has other words for.
const UNCHECKED: [&str; 11] = [
    "$anchor",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$recursiveAnchor",
    "$recursiveRef",
    "$vocabulary",
    "id",
    "nullable",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// Keywords that apply schemas to the value at hand.
const HERE: [&str; 7] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else"];
/// Keywords that apply schemas to what is in it.
const WITHIN: [&str; 6] = [
    "items",
    "prefixItems",
    "additionalItems",
    "additionalProperties",
    "contains",
    "propertyNames",
];
/// Keywords that hold schemas by the name of a member.
const BY_NAME: [&str; 2] = ["properties", "patternProperties"];
/// Keywords that hold schemas by the name of a member, for the value at hand.
const HERE_BY_NAME: [&str; 2] = ["dependentSchemas", "dependencies"];

/// More steps than allowed, or something that is not checked.
struct TooMuch;

/// The schema can be compiled, and each value's cost be told.
pub(super) fn is_bounded(schema: &Value) -> bool {
    let mut walk = Walk {
        root: schema,
        left: COMPILE_STEPS_MAX,
    };
    walk.expand(schema, &mut Vec::new()).is_ok()
}

/// The value can be checked in time.
pub(super) fn is_affordable(schema: &Value, value: &Value) -> bool {
    let mut walk = Walk {
        root: schema,
        left: CHECK_STEPS_MAX,
    };
    walk.meet(schema, value, 0).is_ok()
}

struct Walk<'a> {
    root: &'a Value,
    left: u64,
}

impl<'a> Walk<'a> {
    fn spend(&mut self, steps: usize) -> Result<(), TooMuch> {
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(steps).ok_or(TooMuch)?;
        Ok(())
    }

    /// What `$ref` names, within this schema.
    fn named(&self, schema: &'a Map<String, Value>) -> Result<Option<&'a Value>, TooMuch> {
        let Some(name) = schema.get("$ref") else {
            return Ok(None);
        };
        let pointer = name.as_str().and_then(|name| name.strip_prefix('#'));
        let pointer = pointer.filter(|pointer| !pointer.contains('%'));
        let found = pointer.and_then(|pointer| self.root.pointer(pointer));
        found.map(Some).ok_or(TooMuch)
    }

    /// Steps through every schema in this one and those that it names; `above` are those on the way.
    fn expand(&mut self, schema: &'a Value, above: &mut Vec<&'a Value>) -> Result<(), TooMuch> {
        self.spend(1)?;
        let Value::Object(members) = schema else {
            return Ok(());
        };
        if above.len() > DEPTH_MAX {
            return Err(TooMuch);
        }
        if above.iter().any(|other| std::ptr::eq(*other, schema)) {
            return Ok(());
        }
        if UNCHECKED.iter().any(|word| members.contains_key(*word)) {
            return Err(TooMuch);
        }
        above.push(schema);
        if let Some(named) = self.named(members)? {
            self.expand(named, above)?;
        }
        for (keyword, value) in members {
            let keyword = keyword.as_str();
            match value {
                _ if HERE.contains(&keyword) || WITHIN.contains(&keyword) => match value {
                    Value::Array(several) => {
                        for one in several {
                            self.expand(one, above)?;
                        }
                    }
                    one => self.expand(one, above)?,
                },
                Value::Object(named) if by_name(keyword) => {
                    for one in named.values() {
                        self.expand(one, above)?;
                    }
                }
                Value::Array(several) => self.spend(several.len())?,
                _ => {}
            }
        }
        above.pop();
        Ok(())
    }

    /// Steps through every pair of a schema and a place of the value that it is applied to.
    fn meet(&mut self, schema: &'a Value, value: &Value, depth: usize) -> Result<(), TooMuch> {
        self.spend(1)?;
        let Value::Object(members) = schema else {
            return Ok(());
        };
        if depth > 2 * DEPTH_MAX {
            return Err(TooMuch);
        }
        if let Some(named) = self.named(members)? {
            self.meet(named, value, depth + 1)?;
        }
        for (keyword, rule) in members {
            let keyword = keyword.as_str();
            match rule {
                _ if HERE.contains(&keyword) => {
                    self.each(rule, |walk, one| walk.meet(one, value, depth + 1))?;
                }
                _ if WITHIN.contains(&keyword) => {
                    self.each(rule, |walk, one| walk.meet_within(one, value, depth + 1))?;
                }
                Value::Object(named) if BY_NAME.contains(&keyword) => {
                    for (name, one) in named {
                        match value.get(name) {
                            Some(member) if keyword == "properties" => {
                                self.meet(one, member, depth + 1)?;
                            }
                            None if keyword == "properties" => self.spend(1)?,
                            _ => self.meet_within(one, value, depth + 1)?,
                        }
                    }
                }
                Value::Object(named) if HERE_BY_NAME.contains(&keyword) => {
                    for one in named.values() {
                        self.meet(one, value, depth + 1)?;
                    }
                }
                // Each of `enum` may be compared.
                Value::Array(several) => self.spend(several.len())?,
                _ => {}
            }
        }
        Ok(())
    }

    fn meet_within(
        &mut self,
        schema: &'a Value,
        value: &Value,
        depth: usize,
    ) -> Result<(), TooMuch> {
        match value {
            Value::Array(items) => items
                .iter()
                .try_for_each(|item| self.meet(schema, item, depth)),
            Value::Object(members) => members
                .values()
                .try_for_each(|member| self.meet(schema, member, depth)),
            _ => Ok(()),
        }
    }

    fn each(
        &mut self,
        rule: &'a Value,
        mut visit: impl FnMut(&mut Self, &'a Value) -> Result<(), TooMuch>,
    ) -> Result<(), TooMuch> {
        match rule {
            Value::Array(several) => several.iter().try_for_each(|one| visit(self, one)),
            one => visit(self, one),
        }
    }
}

fn by_name(keyword: &str) -> bool {
    BY_NAME.contains(&keyword) || HERE_BY_NAME.contains(&keyword)
}
