//! The values of keys: services as JSON objects.

use serde_json::Value;

use crate::skydns::Service;

/// Reads a value. As in CoreDNS, the letter case of field names does not matter, because Go ignores
/// it.
pub(super) fn read(value: &[u8]) -> Result<Service, String> {
    let value: Value = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    let object = match value {
        Value::Object(object) => object,
        Value::Null => return Ok(Service::default()),
        _ => return Err("it is not a JSON object".to_owned()),
    };
    let mut service = Service::default();
    for (name, value) in object {
        if value.is_null() {
            continue;
        }
        let bad = || format!("the field {name:?} has a value of another kind: {value}");
        let text = || value.as_str().map(str::to_owned).ok_or_else(bad);
        let number = || value.as_i64().ok_or_else(bad);
        match name.to_ascii_lowercase().as_str() {
            "host" => service.host = text()?,
            "port" => service.port = number()?,
            "priority" => service.priority = number()?,
            "weight" => service.weight = number()?,
            "text" => service.text = text()?,
            "mail" => service.mail = value.as_bool().ok_or_else(bad)?,
            "ttl" => service.ttl = u32::try_from(number()?).map_err(|_| bad())?,
            // A negative number strips nothing.
            "targetstrip" => service.target_strip = usize::try_from(number()?).unwrap_or(0),
            "group" => service.group = text()?,
            _ => {}
        }
    }
    Ok(service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_go_reads_them() {
        let check = |text: &str, expected: Option<Service>| {
            assert_eq!(read(text.as_bytes()).ok(), expected, "{text}");
        };
        let host = |host: &str| Service { host: host.to_owned(), ..Service::default() };
        check(r#"{"host":"192.0.2.1"}"#, Some(host("192.0.2.1")));
        check(r#"{"Host":"a.example","unknown":[1]}"#, Some(host("a.example")));
        check(r#"{"host":"a","port":8080,"ttl":null}"#, Some(Service { port: 8080, ..host("a") }));
        check(r#"{"host":"a","targetstrip":-1}"#, Some(host("a")));
        check("{}", Some(Service::default()));
        check("null", Some(Service::default()));
        for bad in
            ["", "192.0.2.1", "[]", r#"{"host":1}"#, r#"{"port":"80"}"#, r#"{"ttl":-1}"#, "{"]
        {
            check(bad, None);
        }
    }
}
