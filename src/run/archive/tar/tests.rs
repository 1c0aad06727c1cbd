use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use futures::stream;

use super::*;

const GOOD: &[u8] = br#"<testsuite><testcase name="a"/></testsuite>"#;

fn archive(files: &[(&str, ::tar::EntryType, &[u8])]) -> Vec<u8> {
    let mut tar = ::tar::Builder::new(Vec::new());
    for (name, kind, bytes) in files {
        let mut header = ::tar::Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn results_are_found_in_the_archive() {
    let bytes = archive(&[
        ("results/", ::tar::EntryType::Directory, b""),
        ("results/deep/er/A.XML", ::tar::EntryType::Regular, GOOD),
        ("results/b.zip", ::tar::EntryType::Regular, b"PK\x03\x04<testsuite><testcase"),
        ("results/c.xml", ::tar::EntryType::Regular, b"<testsuite>"),
    ]);
    let outcome = unpack(bytes.as_slice(), "/results");
    assert_eq!((outcome.passed(), outcome.problems.len()), (1, 1));
    assert!(outcome.problems[0].starts_with("c.xml: "), "{:?}", outcome.problems);
    assert!(!unpack(&bytes[..1500], "/results").problems.is_empty(), "an archive that breaks off");
    let two = archive(&[
        ("results/a.xml", ::tar::EntryType::Regular, GOOD),
        ("results/b.xml", ::tar::EntryType::Regular, b"<"),
    ]);
    assert!(!unpack(&two[..1024], "/results").problems.is_empty(), "an archive that breaks off between two files");
    assert_eq!(unpack(&[][..], "/results"), Outcome::default());
}

#[test]
fn what_is_no_file_is_no_result() {
    use ::tar::EntryType::{Block, Char, Fifo, Link, Regular, Symlink};
    let mut tar = ::tar::Builder::new(Vec::new());
    for (kind, name, target) in [
        (Symlink, "results/a.xml", "/etc/passwd"),
        (Link, "results/b.xml", "../../etc/passwd"),
        (Char, "results/c.xml", ""),
        (Block, "results/d.xml", ""),
        (Fifo, "results/e.xml", ""),
        (Regular, "results/../../f.xml", ""),
    ] {
        let mut header = ::tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        if !target.is_empty() {
            header.set_link_name_literal(target).unwrap();
        }
        let content = if kind == Regular { GOOD } else { &[] };
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, content).unwrap();
    }
    let outcome = unpack(tar.into_inner().unwrap().as_slice(), "/results");
    // Nothing is written anywhere, so a file is a file, whatever it is called.
    assert_eq!((outcome.passed(), outcome.total(), outcome.problems.len()), (1, 1, 0), "{outcome:?}");
}

/// Pieces of an archive; how many were taken.
fn pieces(
    parts: Vec<Result<Bytes, SwarmError>>,
    taken: &Arc<AtomicUsize>,
) -> impl Stream<Item = Result<Bytes, SwarmError>> + Unpin {
    let taken = taken.clone();
    stream::iter(parts).inspect(move |_| {
        taken.fetch_add(1, Ordering::SeqCst);
    })
}

#[tokio::test]
async fn what_is_no_result_may_be_as_large_as_it_likes() {
    let large = archive(&[
        ("results/a-trace.zip", ::tar::EntryType::Regular, &vec![7; 80 << 20]),
        ("results/junit.xml", ::tar::EntryType::Regular, GOOD),
    ]);
    let parts = Bytes::from(large);
    let parts =
        (0..parts.len()).step_by(64 << 10).map(|at| Ok(parts.slice(at..parts.len().min(at + (64 << 10))))).collect();
    let outcome = outcome(pieces(parts, &Arc::default()), "/results").await.unwrap();
    assert_eq!((outcome.passed(), outcome.problems.len()), (1, 0), "{outcome:?}");
}

#[tokio::test]
async fn a_refusal_is_a_problem_and_a_lost_connection_is_tried_again() {
    let refused = vec![Err(SwarmError::NotFound("no such path".to_owned()))];
    let refused = outcome(pieces(refused, &Arc::default()), "/results").await.unwrap();
    assert_eq!(refused.problems, ["/results cannot be read: no such path"]);
    let begin = Bytes::from(archive(&[("results/junit.xml", ::tar::EntryType::Regular, GOOD)])).slice(..700);
    let lost = vec![Ok(begin.clone()), Err(SwarmError::Unreachable("reset".to_owned()))];
    assert_eq!(outcome(pieces(lost, &Arc::default()), "/results").await, Err("reset".to_owned()));
    let ended = outcome(pieces(vec![Ok(begin)], &Arc::default()), "/results").await.unwrap();
    assert!(!ended.problems.is_empty(), "an archive without its end");
}

#[tokio::test]
async fn nothing_is_read_on_for_nobody() {
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = taken.clone();
    let endless = stream::poll_fn(move |context| {
        // Gives way, as a stream from outside does.
        if counted.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Bytes::from_static(&[0x41; 512]))))
    });
    let mut reading = Box::pin(outcome(endless, "/results"));
    assert!(futures::poll!(&mut reading).is_pending());
    drop(reading);
    let before = taken.load(Ordering::SeqCst);
    tokio::task::yield_now().await;
    assert_eq!(taken.load(Ordering::SeqCst), before);
}
