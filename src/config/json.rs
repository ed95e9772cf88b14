//! JSON as the reference's reader takes it, which serde's derived readers cannot do: member names in any letter case, a
//! member that is given twice, and unknown members that need only be JSON, whatever they hold.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What is read of an object, or of each object in a list: these members. All others are skipped.
pub struct Shape {
    /// Members that hold no members that count.
    pub values: &'static [&'static str],
    /// Members that hold an object or a list of objects, and what is read of these.
    pub objects: &'static [(&'static str, &'static Shape)],
}

const NO_MEMBERS: Shape = Shape { values: &[], objects: &[] };

impl Shape {
    /// Reads a document.
    pub fn read(&self, bytes: &[u8]) -> Result<Json, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let json = self.deserialize(&mut reader)?;
        reader.end().map(|()| json)
    }

    /// What is read of the member `name`; `None`: nothing.
    fn member(&self, name: &str) -> Option<&Shape> {
        let is_value = self.values.iter().any(|value| value.eq_ignore_ascii_case(name));
        let object = self.objects.iter().find(|(object, _)| object.eq_ignore_ascii_case(name));
        object.map(|(_, shape)| *shape).or(is_value.then_some(&NO_MEMBERS))
    }
}

/// A value. Members keep their order and their doubles.
#[derive(Debug)]
pub enum Json {
    Null,
    Bool(bool),
    Unsigned(u64),
    /// Below 0.
    Negative(i64),
    /// Anything with a fraction or an exponent, `-0`, or a whole number beyond 64 bits.
    Real(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// As an error names it: what was found.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Unsigned(value) => value.fmt(f),
            Self::Negative(value) => value.fmt(f),
            Self::Real(value) => write!(f, "{value:?}"),
            Self::Text(text) => write!(f, "the text {text:?}"),
            Self::List(_) => f.write_str("a list"),
            Self::Object(_) => f.write_str("an object"),
        }
    }
}

impl<'de> DeserializeSeed<'de> for &Shape {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Shape {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Negative(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Real(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(self)? {
            list.push(element);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = entries.next_key::<String>()? {
            match self.member(&name) {
                Some(shape) => members.push((name, entries.next_value_seed(shape)?)),
                None => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Json::Object(members))
    }
}

/// A value of a wrong type.
#[derive(Debug)]
pub struct WrongType {
    /// `stores[1].store_id`; empty: the whole document.
    path: String,
    expected: &'static str,
    found: String,
}

impl WrongType {
    fn new(expected: &'static str, found: &Json) -> Self {
        Self { path: String::new(), expected, found: found.to_string() }
    }

    /// The same error, seen from the value around it, whose part `name` is wrong.
    fn below(mut self, name: &str) -> Self {
        self.path = if self.path.is_empty() { name.to_owned() } else { format!("{name}.{}", self.path) };
        self
    }
}

impl fmt::Display for WrongType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

/// The members of an object; `null` is an object without any.
pub struct Members<'a>(&'a [(String, Json)]);

impl<'a> Members<'a> {
    pub fn of(json: &'a Json) -> Result<Self, WrongType> {
        match json {
            Json::Null => Ok(Self(&[])),
            Json::Object(members) => Ok(Self(members)),
            other => Err(WrongType::new("an object", other)),
        }
    }

    /// What `read` makes of the last member of this name, in any letter case, unless that is `null`.
    pub fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&'a Json) -> Result<T, WrongType>,
    ) -> Result<Option<T>, WrongType> {
        let last = self.0.iter().rfind(|(member, _)| member.eq_ignore_ascii_case(name));
        let value = last.map(|(_, value)| value).filter(|value| !matches!(value, Json::Null));
        value.map(read).transpose().map_err(|wrong| wrong.below(name))
    }

    pub fn text(&self, name: &str) -> Result<String, WrongType> {
        let read = |value: &Json| match value {
            Json::Text(text) => Ok(text.clone()),
            other => Err(WrongType::new("text", other)),
        };
        self.optional(name, read).map(Option::unwrap_or_default)
    }

    pub fn unsigned(&self, name: &str) -> Result<u64, WrongType> {
        let read = |value: &Json| match value {
            Json::Unsigned(number) => Ok(*number),
            other => Err(WrongType::new("a whole number from 0 to 2^64 - 1", other)),
        };
        self.optional(name, read).map(Option::unwrap_or_default)
    }

    pub fn signed(&self, name: &str) -> Result<i64, WrongType> {
        let read = |value: &Json| {
            let number = match value {
                Json::Unsigned(number) => i64::try_from(*number).ok(),
                Json::Negative(number) => Some(*number),
                _ => None,
            };
            number.ok_or_else(|| WrongType::new("a whole number", value))
        };
        self.optional(name, read).map(Option::unwrap_or_default)
    }

    pub fn list<T>(&self, name: &str, read: fn(&Json) -> Result<T, WrongType>) -> Result<Option<Vec<T>>, WrongType> {
        let elements = self.optional(name, |value| match value {
            Json::List(elements) => Ok(elements),
            other => Err(WrongType::new("a list", other)),
        })?;
        let read_at = |(at, element)| read(element).map_err(|wrong: WrongType| wrong.below(&format!("{name}[{at}]")));
        elements.map(|elements| elements.iter().enumerate().map(read_at).collect()).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDR: Shape = Shape { values: &["addr"], objects: &[] };

    fn text(json: &str) -> String {
        Members::of(&ADDR.read(json.as_bytes()).unwrap()).unwrap().text("addr").unwrap()
    }

    #[test]
    fn of_a_member_given_twice_the_last_one_counts_in_any_letter_case() {
        assert_eq!(text(r#"{"addr":"x","addr":"y"}"#), "y");
        assert_eq!(text(r#"{"addr":"x","ADDR":"y"}"#), "y");
        assert_eq!(text(r#"{"Addr":"y","addr":"x"}"#), "x");
        assert_eq!(text(r#"{"addr":"y","addr":null}"#), "");
    }

    #[test]
    fn only_text_is_text() {
        for json in ["1", "-1", "1.5", "true", "[]", "{}"] {
            let json = ADDR.read(format!("{{\"addr\":{json}}}").as_bytes()).unwrap();
            assert!(Members::of(&json).unwrap().text("addr").is_err());
        }
    }
}
