//! `key=value` on the command line -> TOML, as it would stand in the configuration file.

use serde_json::Value;
use toml::{Table, Value as Toml};

use super::client::Failure;

/// `[switch:]name` apart.
pub fn target(text: &str) -> (Option<&str>, &str) {
    match text.split_once(':') {
        Some((switch, name)) => (Some(switch), name),
        None => (None, text),
    }
}

/// The fragment of a file that these arguments stand for; `name` comes first when it is given apart.
///
/// # Errors
/// When an argument is no `key=value`.
pub fn toml_text(name: Option<&str>, args: &[String]) -> Result<String, Failure> {
    let mut text = String::new();
    if let Some(name) = name {
        text += &format!("name = {}\n", quoted(name));
    }
    for arg in args {
        let (key, value) = arg.split_once('=').ok_or_else(|| {
            Failure::Usage(format!(
                "{arg:?} is no key=value, such as kind=tap or 'addresses=[\"10.0.0.1/24\"]'"
            ))
        })?;
        let (key, value) = (key.trim(), value.trim());
        let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if key.is_empty() || !key.chars().all(bare) {
            return Err(Failure::Usage(format!("{arg:?}: {key:?} cannot be a key")));
        }
        text += &format!("{key} = {}\n", if is_value(value) { value.to_owned() } else { quoted(value) });
    }
    Ok(text)
}

/// Whether it can stand after `key =` as it is, and is one value.
fn is_value(text: &str) -> bool {
    // A date or time would never be meant: no key takes one.
    let table = toml::from_str::<Table>(&format!("v = {text}")).ok();
    table.is_some_and(|t| t.len() == 1 && !matches!(t.get("v"), None | Some(Toml::Datetime(_))))
}

fn quoted(text: &str) -> String {
    Toml::String(text.to_owned()).to_string()
}

/// The same as JSON, for the daemon.
///
/// # Errors
/// When it is not TOML.
pub fn json(text: &str) -> Result<Value, Failure> {
    let wrong = |e: String| Failure::Usage(e);
    let table: Table = toml::from_str(text).map_err(|e| wrong(e.to_string()))?;
    serde_json::to_value(table).map_err(|e| wrong(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(name: Option<&str>, args: &[&str]) -> String {
        toml_text(name, &args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn bare_words_are_quoted() {
        let args = ["kind=tap", "netns=green", "queues=2", "offload=false", r#"addresses=["10.77.0.3/24"]"#];
        let fragment = text(Some("c"), &args);
        assert_eq!(
            fragment,
            "name = \"c\"\nkind = \"tap\"\nnetns = \"green\"\nqueues = 2\noffload = false\naddresses = [\"10.77.0.3/24\"]\n"
        );
        let want = json!({"name": "c", "kind": "tap", "netns": "green", "queues": 2, "offload": false,
            "addresses": ["10.77.0.3/24"]});
        assert_eq!(json(&fragment).unwrap(), want);
        assert!(valecast_config::parse_port("arguments", &fragment).is_ok());
    }

    #[test]
    fn values_of_many_kinds() {
        for (arg, want) in [
            ("rate=1Gbit/s", json!("1Gbit/s")),
            ("address=01:00:5e:00:00:01", json!("01:00:5e:00:00:01")),
            ("peer=vale1:x", json!("vale1:x")),
            ("name=\"quoted\"", json!("quoted")),
            ("name=it's", json!("it's")),
            ("name=", json!("")),
            ("write=/tmp/a b.pcap", json!("/tmp/a b.pcap")),
            ("name=2024-01-01", json!("2024-01-01")),
            ("name = spaced", json!("spaced")),
            (
                r#"buckets=[{port="b"}, {port="c", set_dst="02:00:00:00:00:01"}]"#,
                json!([{"port": "b"}, {"port": "c", "set_dst": "02:00:00:00:00:01"}]),
            ),
        ] {
            let value = json(&text(None, &[arg])).unwrap();
            assert_eq!(value.as_object().unwrap().values().next(), Some(&want), "{arg}");
        }
    }

    #[test]
    fn nothing_is_smuggled_in() {
        let value = json(&text(None, &["a=1\nkind=\"tap\"", "b=x # y"])).unwrap();
        assert_eq!(value, json!({"a": "1\nkind=\"tap\"", "b": "x # y"}));
        for arg in ["kind", "=x", "a b=1", "a.b=1", "\"a\"=1"] {
            assert!(toml_text(None, &[arg.to_owned()]).is_err(), "{arg}");
        }
    }

    #[test]
    fn targets() {
        assert_eq!(target("vale0:c"), (Some("vale0"), "c"));
        assert_eq!(target("c"), (None, "c"));
    }
}
