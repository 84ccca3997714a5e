//! Options as a caller gave them: members of an object of JSON, taken one by one. What is left over is refused by
//! name. (Derived readers are compiled anew for every type, two to ten kilobytes of WebAssembly each.)

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// What a caller gave, less what was taken.
pub struct Given(Map<String, Value>);

/// The value of an option.
pub trait Member: Sized {
    /// What it has to be, in words that follow "must be".
    const WHAT: &'static str;

    /// The value, if it is one. An error repeats nothing of it: it may be a secret.
    fn of(value: Value) -> Option<Self>;
}

impl Given {
    /// The members of an object.
    pub fn of(value: Value) -> Result<Self, String> {
        match value {
            Value::Object(members) => Ok(Self(members)),
            _ => Err("Options must be an object".to_owned()),
        }
    }

    /// Takes an option, if it was given.
    pub fn take<T: Member>(&mut self, name: &str, into: &mut T) -> Result<(), String> {
        if let Some(value) = self.0.remove(name) {
            *into = T::of(value).ok_or_else(|| must_be(name, T::WHAT))?;
        }
        Ok(())
    }

    /// Nothing may be left.
    pub fn end(self) -> Result<(), String> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(format!("Unknown option `{name}`")),
        }
    }
}

fn must_be(name: &str, what: &str) -> String {
    format!("Option `{name}` must be {what}")
}

/// Reads a type from JSON by taking its fields, each under its own name or another; absent ones keep what
/// `Default` has. Of several names the last one given counts.
macro_rules! options {
    ($type:ty: $($field:ident $(= $($name:literal)|+)?),+ $(,)?) => {
        impl $type {
            fn of_given(value: serde_json::Value) -> Result<Self, String> {
                let mut given = $crate::model::Given::of(value)?;
                let mut read = Self::default();
                $($crate::model::options!(@take given, read.$field, $field $(, $($name)|+)?);)+
                given.end()?;
                Ok(read)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let value = <serde_json::Value as serde::Deserialize>::deserialize(from)?;
                Self::of_given(value).map_err(serde::de::Error::custom)
            }
        }
    };
    (@take $given:ident, $into:expr, $field:ident) => {
        $given.take(stringify!($field), &mut $into)?
    };
    (@take $given:ident, $into:expr, $field:ident, $($name:literal)|+) => {
        $($given.take($name, &mut $into)?);+
    };
}
pub(crate) use options;

impl<T: Member> Member for Option<T> {
    const WHAT: &'static str = T::WHAT;

    fn of(value: Value) -> Option<Self> {
        if value.is_null() { Some(None) } else { T::of(value).map(Some) }
    }
}

impl Member for Value {
    const WHAT: &'static str = "JSON";

    fn of(value: Value) -> Option<Self> {
        Some(value)
    }
}

impl Member for bool {
    const WHAT: &'static str = "true or false";

    fn of(value: Value) -> Option<Self> {
        value.as_bool()
    }
}

impl Member for String {
    const WHAT: &'static str = "text";

    fn of(value: Value) -> Option<Self> {
        if let Value::String(text) = value { Some(text) } else { None }
    }
}

impl Member for u64 {
    const WHAT: &'static str = "a whole number";

    fn of(value: Value) -> Option<Self> {
        value.as_u64()
    }
}

impl Member for u32 {
    const WHAT: &'static str = u64::WHAT;

    fn of(value: Value) -> Option<Self> {
        value.as_u64()?.try_into().ok()
    }
}

impl Member for usize {
    const WHAT: &'static str = u64::WHAT;

    fn of(value: Value) -> Option<Self> {
        value.as_u64()?.try_into().ok()
    }
}

impl<T: Member> Member for Vec<T> {
    const WHAT: &'static str = "an array of what belongs there";

    fn of(value: Value) -> Option<Self> {
        if let Value::Array(items) = value { items.into_iter().map(T::of).collect() } else { None }
    }
}

impl Member for Map<String, Value> {
    const WHAT: &'static str = "an object";

    fn of(value: Value) -> Option<Self> {
        if let Value::Object(members) = value { Some(members) } else { None }
    }
}

impl Member for BTreeMap<String, String> {
    const WHAT: &'static str = "an object of texts";

    fn of(value: Value) -> Option<Self> {
        let mut texts = BTreeMap::new();
        for (name, value) in Map::of(value)? {
            texts.insert(name, String::of(value)?);
        }
        Some(texts)
    }
}

#[cfg(test)]
mod tests {
    #[derive(Debug, Default, PartialEq)]
    struct Some3 {
        limit: Option<u32>,
        is_live: bool,
        names: Option<Vec<String>>,
    }
    options!(Some3: limit, is_live = "live" | "alive", names);

    fn read(json: &str) -> Result<Some3, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn takes_what_it_knows_and_refuses_the_rest_by_name() {
        assert_eq!(read("{}"), Ok(Some3::default()));
        let all = Some3 { limit: Some(3), is_live: true, names: Some(vec!["a".to_owned()]) };
        assert_eq!(read(r#"{"alive":true,"names":["a"],"limit":3}"#), Ok(all));
        assert_eq!(read(r#"{"limit":null,"names":null}"#), Ok(Some3::default()));
        for (bad, reason) in [
            ("[]", "Options must be an object"),
            (r#"{"is_live":true}"#, "Unknown option `is_live`"),
            (r#"{"live":null}"#, "Option `live` must be true or false"),
            (r#"{"limit":4294967296}"#, "Option `limit` must be a whole number"),
            (r#"{"limit":-1}"#, "Option `limit` must be a whole number"),
            (r#"{"limit":1.5}"#, "Option `limit` must be a whole number"),
            (r#"{"names":["a",1]}"#, "Option `names` must be an array of what belongs there"),
        ] {
            assert!(read(bad).unwrap_err().starts_with(reason), "{bad}: {:?}", read(bad));
        }
    }
}
