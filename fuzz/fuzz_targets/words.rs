//! Single words and lines: durations, quantities, ports, places, paths into objects, what a node's kernel says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use testkit_fuzz::{
    api::{Duration, Quantity},
    cli::{
        output::path::Path,
        shell::quote::quoted,
        verbs::{
            cp::place::Place,
            port_forward::spec::{Spec, Where},
            top::node::Load,
        },
    },
};

fuzz_target!(|bytes: &[u8]| {
    let text = &*String::from_utf8_lossy(bytes);
    if let Ok(duration) = text.parse::<Duration>() {
        assert_eq!(duration.to_string().parse(), Ok(duration));
    }
    let quantity: Quantity = serde_json::from_value(text.into()).expect("any text is read");
    if let (Some(nanos), Some(whole)) = (quantity.nanos(), quantity.whole()) {
        assert_eq!(whole, nanos.div_ceil(1_000_000_000));
    }
    if let Ok(spec) = text.parse::<Spec>() {
        assert!(spec.port > 0);
        if let Some(Where::Node(name) | Where::Service(name) | Where::Any(name)) = spec.at {
            assert!(!name.is_empty() && !name.contains('/'));
        }
    }
    if let Place::There { cluster, path, .. } = Place::of(text) {
        assert!(!cluster.is_empty() && !path.is_empty());
    }
    if let Ok(path) = Path::relaxed(text) {
        let value = serde_json::json!({"a": [{"b": "c"}, 1, null], "d-e": {"f/g": "h"}});
        let _ = path.find(&value, &value);
    }
    if let Some(load) = Load::read(text) {
        assert!(load.cpu >= 0.0 && load.cpu <= f64::from(load.cpus), "{load:?}");
    }
    is_one_word(text);
});

/// A shell takes a quoted word for that word: nothing in it but what is in single quotes.
fn is_one_word(word: &str) {
    let quoted = quoted(word);
    let (mut plain, mut within, mut rest) = (String::new(), false, quoted.chars());
    while let Some(c) = rest.next() {
        match c {
            '\'' => within = !within,
            '\\' if !within => plain.extend(rest.next()),
            c => {
                assert!(within || c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c), "{quoted}");
                plain.push(c);
            }
        }
    }
    assert_eq!((plain.as_str(), within), (word, false), "{quoted}");
}
