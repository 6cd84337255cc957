//! Fields of objects that are not decoded yet.

use serde_json::{Map, Value};

/// The map in a field, which is created if it is absent or `null`.
pub(super) fn map<'f>(
    fields: &'f mut Map<String, Value>,
    name: &str,
) -> &'f mut Map<String, Value> {
    let value = fields.entry(name).or_insert(Value::Null);
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("the lines above make the value a map")
}
