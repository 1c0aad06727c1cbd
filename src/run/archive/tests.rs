use std::io::Read as _;

use flate2::read::GzDecoder;
use proptest::prelude::*;

use super::*;

fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut all).unwrap();
    all
}

/// Bytes that do not compress, the same each time.
fn noise(mut seed: u64, count: usize) -> Vec<u8> {
    std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u8
    })
    .take(count)
    .collect()
}

fn log(chunks: &[&[u8]]) -> Log {
    let mut log = Log::default();
    chunks.iter().for_each(|chunk| log.push(chunk));
    log
}

fn text(log: &Log, most: usize) -> Vec<u8> {
    let mut text = Vec::new();
    assert_eq!(log.write(most, &mut text).unwrap(), text.len());
    text
}

#[test]
fn a_log_is_kept_whole_while_it_fits() {
    let log = log(&[b"one\n", b"two\n"]);
    assert_eq!(unpacked(&log.packed(BUDGET).unwrap()), b"one\ntwo\n");
    assert_eq!(log.end(6), b"e\ntwo\n");
}

#[test]
fn of_a_long_log_both_ends_are_kept_and_the_gap_is_said() {
    let line = [b'x'; 1 << 20];
    let mut log = log(&[b"begin\n"]);
    (0..20).for_each(|_| log.push(&line));
    log.push(b"\nend\n");
    let text = String::from_utf8(text(&log, LOG_END)).unwrap();
    let whole = 6 + (20 << 20) + 5;
    assert!(text.starts_with("begin\n") && text.ends_with("\nend\n"));
    assert!(text.contains(&format!("[testkit: {} bytes are left out here", whole - 2 * LOG_END)), "{}", text.len());
    assert_eq!(log.end(4), b"end\n");
}

#[test]
fn of_a_log_too_slow_to_be_read_the_last_lines_follow_the_first() {
    let mut log = log(&[b"begin\n", b"more\n"]);
    log.break_off();
    log.push(b"end\n");
    assert_eq!(String::from_utf8(text(&log, LOG_END)).unwrap(), format!("begin\nmore\n{UNREAD}end\n"));
    assert_eq!(log.end(100), b"end\n");
}

#[test]
fn a_log_that_does_not_compress_is_cut_to_the_budget() {
    for size in [1 << 20, 9 << 20] {
        let packed = log(&[b"begin\n", &noise(7, size), b"\nend\n"]).packed(BUDGET).unwrap();
        assert!(packed.len() <= BUDGET && packed.len() > BUDGET / 2, "{size}: {}", packed.len());
        let text = unpacked(&packed);
        assert!(text.starts_with(b"begin\n") && text.ends_with(b"\nend\n"), "{size}");
    }
}

#[test]
fn everything_kept_is_within_the_budget_and_can_be_read() {
    let message: String =
        noise(3, 8 << 20).iter().map(|b| char::from(b'!' + b % 90)).filter(|c| !"<&>".contains(*c)).collect();
    let xml = format!(
        r#"<testsuite><testcase name="a"><failure>{}</failure><system-out>{message}</system-out></testcase></testsuite>"#,
        &message[..4000]
    );
    let outcome = Outcome::of_files(&BTreeMap::from([("r.xml".to_owned(), xml.into_bytes())]));
    let left = Left { outcome: outcome.clone(), log: log(&[&noise(5, 2 << 20)]), ..Left::default() };
    let data = contents(left).unwrap();
    assert!(data.values().map(|b| b.0.len()).sum::<usize>() <= BUDGET);
    let again = Outcome::of_files(&BTreeMap::from([("r.xml".to_owned(), unpacked(&data["junit.xml.gz"].0))]));
    assert_eq!((again.passed(), again.failed()), (outcome.passed(), outcome.failed()));
}

proptest! {
    #[test]
    fn chunks_do_not_matter(bytes in prop::collection::vec(any::<u8>(), 0..3000), at in prop::collection::vec(1..500usize, 1..10)) {
        let whole = log(&[&bytes]);
        let mut parts = Log::default();
        let (mut rest, mut sizes) = (&bytes[..], at.iter().cycle());
        while !rest.is_empty() {
            let (chunk, more) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            parts.push(chunk);
            rest = more;
        }
        prop_assert_eq!(text(&whole, LOG_END), bytes);
        prop_assert_eq!(text(&whole, 100), text(&parts, 100));
    }
}
