//! No text, however odd, makes the parser panic or its messages steer a terminal.

use proptest::prelude::*;
use valecast_config::{Config, parse_group, parse_meter, parse_port};

#[test]
fn a_terminal_is_not_steered() {
    let errors = Config::parse("vale.toml", "\u{feff}\tx = 'é\u{1F600}' # \u{9b}31m\n").expect_err("no TOML");
    assert!(!errors.to_string().contains('\u{9b}'), "{errors}");
    let shown = errors.to_string();
    assert!(shown.contains("\n  | \t^ "), "{shown}");
}

/// Text that looks enough like a configuration to get past the syntax.
fn toml_like() -> impl Strategy<Value = String> {
    let keys: Vec<&str> = valecast_config::SECTIONS.iter().flat_map(|s| s.keys).map(|k| k.name).collect();
    let headers: Vec<&str> =
        valecast_config::SECTIONS.iter().map(|s| s.header).filter(|h| h.starts_with('[')).collect();
    let values = vec![
        "0",
        "-1",
        "170141183460469231731687303715884105728",
        "0xff",
        "1e400",
        "nan",
        "true",
        "\"\"",
        "\"a\"",
        "\"1s\"",
        "[]",
        "[1, \"a\"]",
        "{}",
        "[{}]",
        "{ a.b = 1 }",
        "\"tap\"",
        "\"ring\"",
        "\"patch\"",
        "\"a:b\"",
        "\"é\"",
        "1979-05-27",
    ];
    let line = prop_oneof![
        3 => (proptest::sample::select(keys), proptest::sample::select(values)).prop_map(|(k, v)| format!("{k} = {v}\n")),
        1 => proptest::sample::select(headers).prop_map(|header| format!("{header}\n")),
    ];
    proptest::collection::vec(line, 0..12).prop_map(|lines| lines.concat())
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "(?s).{0,200}", like in toml_like()) {
        for text in [text, like] {
            if let Err(errors) = Config::parse("arbitrary", &text) {
                prop_assert!(!errors.diagnostics.is_empty());
                let _ = errors.to_string();
            }
            let _ = (parse_port("arbitrary", &text), parse_group("arbitrary", &text), parse_meter("arbitrary", &text));
            let _ = valecast_config::port_from_json(&text);
        }
    }
}
