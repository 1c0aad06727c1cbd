//! Any bytes as a file of results, as XML and as they are, and as a log: however they come, the outcome is the same, and what
//! is kept of it says the same when it is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use testkit_fuzz::{
    pieces::Pieces,
    results::{LogReading, Outcome, Reading, each, outputs},
};

fuzz_target!(|bytes: &[u8]| {
    for name in ["r.xml", "r.txt"] {
        let (mut whole, mut pieces) = (Reading::new(), Reading::new());
        whole.file(name, bytes).expect("bytes in memory");
        pieces.file(name, Pieces::of(bytes)).expect("bytes in memory");
        let (whole, pieces) = (whole.finish(), pieces.finish());
        assert_eq!((&whole.cases, &whole.problems), (&pieces.cases, &pieces.problems));
        is_kept(&whole);
    }
    let (whole, pieces) = (log([bytes].into_iter()), log(Pieces::of(bytes)));
    assert_eq!(whole.as_ref().map(|o| (&o.cases, &o.problems)), pieces.as_ref().map(|o| (&o.cases, &o.problems)));
    whole.iter().for_each(is_kept);
});

fn log<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Option<Outcome> {
    let mut log = LogReading::default();
    pieces.for_each(|piece| log.push(piece));
    log.finish(true)
}

/// The document of an outcome is well-formed, holds nothing that steers a terminal, and says the same.
fn is_kept(outcome: &Outcome) {
    let Some(junit) = &outcome.junit else { return assert_eq!(outcome.total(), 0) };
    let text = junit.text();
    assert!(!text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')), "{text:?}");
    let mut reader = quick_xml::Reader::from_str(&text);
    reader.config_mut().check_end_names = true;
    loop {
        match reader.read_event().expect("well-formed") {
            quick_xml::events::Event::Eof => break,
            quick_xml::events::Event::Start(tag) | quick_xml::events::Event::Empty(tag) => {
                tag.attributes().for_each(|attribute| drop(attribute.expect("a well-formed attribute")));
            }
            _ => {}
        }
    }
    let again = Outcome::of_kept(text.as_bytes());
    assert_eq!((&again.cases, &again.problems), (&outcome.cases, &outcome.problems), "{text}");
    let mut count = 0;
    each(text.as_bytes(), |_| count += 1);
    assert_eq!(count, outputs(text.as_bytes(), |_| true).len());
}
