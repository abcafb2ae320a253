//! Which keys there are, for people: what the types of the configuration say of themselves.

use super::{Common, Section, Settings, variable};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde::Serialize;
use serde_json::Value;

/// One thing that can be set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Key {
    /// Its name in the file, `table.key`.
    pub name: String,
    /// The variable that sets it, which wins over the file.
    pub variable: String,
    /// What it is when nothing sets it; null: it is absent then.
    pub default: Value,
    /// Whether its value must not be shown.
    pub is_secret: bool,
    /// What it means, in one line.
    pub meaning: String,
}

/// What concerns every service, in the order of the names.
pub fn common() -> Vec<Key> {
    of_type::<Common>(None)
}

/// The table of one service, in the order of the names.
pub fn section<T: Section + JsonSchema>() -> Vec<Key> {
    of_type::<T>(Some(T::NAME))
}

fn of_type<T: JsonSchema>(table: Option<&str>) -> Vec<Key> {
    let settings = SchemaSettings::default().with(|settings| settings.inline_subschemas = true);
    let schema = SchemaGenerator::new(settings).into_root_schema_for::<T>().to_value();
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .map(|(key, property)| {
            let path: Vec<&str> = table.into_iter().chain([key.as_str()]).collect();
            Key {
                name: path.join("."),
                variable: variable(&path),
                default: property["default"].clone(),
                is_secret: property["writeOnly"].as_bool().unwrap_or_default(),
                meaning: property["description"].as_str().unwrap_or_default().replace('\n', " "),
            }
        })
        .collect()
}

impl Settings {
    /// Whether anything of the table `name` is set, known or not.
    pub fn has_table(&self, name: &str) -> bool {
        self.figment.find_value(name).is_ok()
    }

    /// What `key` is set to, as text; a secret shows itself as `…`, and so does who logs in where an address says it.
    /// `None`: nothing sets it.
    pub fn set_to(&self, key: &Key) -> Option<String> {
        let value = self.figment.find_value(&key.name).ok()?;
        if key.is_secret {
            return Some("…".into());
        }
        let value = serde_json::to_value(value).ok()?;
        Some(without_logins(&value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
    }
}

/// The text with `…` for what stands between `://` and `@` in each of its addresses.
fn without_logins(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(['/', ',', '?', '#', '"', ' ']).unwrap_or(part.len());
        let (authority, rest) = part.split_at(end);
        let host = authority.rsplit_once('@').map(|(_, host)| format!("…@{host}"));
        shown.push_str(&format!("://{}{rest}", host.as_deref().unwrap_or(authority)));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_what_it_is_called_what_it_means_and_what_it_is_by_itself() {
        let keys = common();
        let of = |name: &str| keys.iter().find(|key| key.name == name).unwrap();
        let drain = of("drain_s");
        assert_eq!((drain.variable.as_str(), &drain.default), ("MASTWATCH_DRAIN_S", &Value::from(25)));
        assert!(drain.meaning.contains("in seconds") && !drain.is_secret, "{drain:?}");
        assert_eq!(of("durability").default, "always");
        let password = of("nats_password");
        assert!(password.is_secret && password.default.is_null(), "{password:?}");
    }

    #[test]
    fn what_is_set_is_told_and_a_secret_is_not() {
        let given = [
            ("MASTWATCH_DRAIN_S", "5"),
            ("MASTWATCH_NATS_PASSWORD", "hunter2"),
            ("MASTWATCH_NATS_URL", "nats://u:hunter2@a:1,b:2,nats://c:3"),
            ("MASTWATCH_VM_URL", "http://u:hunter2@vm:8428/p@q"),
        ];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = Settings::from_parts(None, given).unwrap();
        let set: Vec<(String, String)> =
            common().iter().filter_map(|key| Some((key.name.clone(), settings.set_to(key)?))).collect();
        let told = [
            ("drain_s", "5"),
            ("nats_password", "…"),
            ("nats_url", "nats://…@a:1,b:2,nats://c:3"),
            ("vm_url", "http://…@vm:8428/p@q"),
        ];
        assert_eq!(set, told.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
