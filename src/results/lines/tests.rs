use std::{collections::BTreeMap, path::Path};

use crate::results::{LogReading, Outcome, Tally};

fn read(name: &str, text: &[u8]) -> Outcome {
    Outcome::of_files(&BTreeMap::from([(name.to_owned(), text.to_vec())]))
}

fn log(text: &[u8]) -> Option<Outcome> {
    let mut log = LogReading::default();
    text.chunks(7).for_each(|chunk| log.push(chunk));
    log.finish(true)
}

fn recorded(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/results").join(path)).expect(path)
}

fn counts(outcome: &Outcome) -> (usize, usize, usize) {
    let Tally { passed, failed, skipped, .. } = outcome.tally();
    (passed, failed, skipped)
}

/// Recorded by running the tool; passed, failed, skipped.
const TABLE: [(&str, &str, (usize, usize, usize)); 17] = [
    ("go/passed.v.txt", "go test -v", (4, 0, 1)),
    ("go/failed.v.txt", "go test -v", (4, 3, 1)),
    ("go/panic.v.txt", "go test -v", (1, 1, 0)),
    ("go/build.v.txt", "go test -v", (4, 0, 1)),
    ("go/binary.v.txt", "go test -v", (4, 0, 1)),
    ("go/passed.json", "go test -json", (4, 0, 1)),
    ("go/failed.json", "go test -json", (4, 3, 1)),
    ("go/panic.json", "go test -json", (1, 1, 0)),
    ("go/build.json", "go test -json", (4, 1, 1)),
    ("tap/bats-passed.tap", "TAP", (1, 0, 1)),
    ("tap/bats-failed.tap", "TAP", (1, 1, 1)),
    ("tap/bats-failed.tap13", "TAP", (1, 1, 1)),
    ("tap/mocha-passed.tap", "TAP", (3, 0, 1)),
    ("tap/mocha-failed.tap", "TAP", (1, 2, 2)),
    ("tap/node-passed.tap", "TAP", (3, 0, 1)),
    ("tap/node-failed.tap", "TAP", (2, 3, 2)),
    ("tap/tape-failed.tap", "TAP", (1, 1, 0)),
];

#[test]
fn each_format_is_found_and_read_in_a_file_and_in_the_log() {
    for (path, format, expected) in TABLE {
        let bytes = recorded(path);
        let file = read(path, &bytes);
        let logged = log(&bytes).unwrap_or_default();
        for outcome in [&file, &logged] {
            assert_eq!(counts(outcome), expected, "{path}: {outcome:#?}");
            assert_eq!(outcome.formats, [format], "{path}");
        }
        // Go's build failure before the first test shows only in the last word.
        assert_eq!(file.problems.is_empty(), path != "go/build.v.txt", "{path}: {:?}", file.problems);
        let again = Outcome::of_kept(file.junit.as_ref().unwrap().text().as_bytes());
        assert_eq!(again.cases, file.cases, "{path}");
        assert_eq!(again.problems, file.problems, "{path}");
    }
}

#[test]
fn what_failed_says_why() {
    for (path, name, said) in [
        ("go/failed.v.txt", "TestBad", "got 1, want 2"),
        ("go/failed.v.txt", "TestSub/two_with_space", "two is bad"),
        ("go/failed.json", "example.com/e2e.TestBad", "got 1, want 2"),
        ("go/panic.json", "example.com/e2e/panic.TestPanic", "nil map"),
        ("go/panic.v.txt", "TestPanic", ""),
        ("tap/bats-failed.tap", "bad one", "in test file"),
        ("tap/node-failed.tap", "top bad", "1 == 2"),
    ] {
        let outcome = read(path, &recorded(path));
        let found = outcome.cases.iter().find(|c| name.ends_with(c.own_name()) && name.contains(&*c.suite));
        let words = format!("{:?}", found.map(|case| &case.verdict));
        assert!(words.starts_with("Some(Failed(") && words.contains(said), "{path}: {words}");
    }
}

#[test]
fn a_verdict_of_2017_is_read() {
    // What a test logs comes after its verdict, and nothing names the package of a program that is run by itself.
    let text = "=== RUN   TestServicesCreate\n--- PASS: TestServicesCreate (3.25s)\n=== RUN   TestServicesScale\n--- FAIL: TestServicesScale (12.00s)\n\tservices_test.go:80: \n\t\t\tError Trace:\tservices_test.go:80\n\t\t\tError:\t\tnot 3 tasks\n=== RUN   TestNode\n--- SKIP: TestNode (0.00s)\n\tnode_test.go:3: one node\nFAIL\n";
    let outcome = log(text.as_bytes()).unwrap();
    assert_eq!((counts(&outcome), outcome.problems.len()), ((1, 1, 1), 0), "{outcome:#?}");
    assert!(outcome.failures().next().unwrap().1.contains("not 3 tasks"));
    assert_eq!(outcome.cases[0].time.unwrap().as_millis(), 3250);
}

#[test]
fn text_that_only_looks_like_results_passes_nothing() {
    for text in [
        "=== RUN   TestA\n--- PASS: TestA (0.00s)\n",
        "=== RUN   TestA\nPASS\n",
        "=== RUN   TestA\n--- PASS: TestA (0.00s)\n--- FAIL: TestB (0.00s)\nPASS\n",
        "=== RUN   TestA\n--- PASS: TestA (0.00s)\nFAIL\n",
        "{\"Action\":\"run\",\"Package\":\"p\",\"Test\":\"TestA\"}\n{\"Action\":\"pass\",\"Package\":\"p\",\"Test\":\"TestA\"}\n",
        "{\"Action\":\"run\",\"Package\":\"p\",\"Test\":\"TestA\"}\n{\"Action\":\"pass\",\"Package\":\"p\"}\n",
        "{\"Action\":\"run\",\"Package\":\"p\",\"Test\":\"TestA\"}\n{\"Action\":\"pass\",\"Package\":\"p\",\"Test\":\"TestA\"}\n{\"Action\":\"fail\",\"Package\":\"p\"}\n",
        "ok 1 a\nok 2 b\n",
        "1..3\nok 1 a\nok 2 b\n",
        "1..1\nok 1 a\nok 2 b\n",
        "1..2\nok 1 a\nBail out! no database\nok 2 b\n",
        "1..1\n    not ok 1 - sub\n    1..1\nok 1 - a\n",
        "1..1\nok 1 a\n# fail 2\n",
        "running 2 tests\ntest a ... ok\ntest b ... ok\n",
        "running 2 tests\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n",
        "running 1 test\ntest a ... FAILED\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n",
        "running 1 test\ntest a ... ok\n\ntest result: ok. 18446744073709551615 passed; 0 failed; 0 ignored; 2 measured\n",
        "PASS\nok  \tpkg\t0.1s\n",
        "all tests passed\n",
    ] {
        if let Some(outcome) = log(text.as_bytes()) {
            assert!(!outcome.problems.is_empty() || outcome.failed() > 0, "{text}: {outcome:#?}");
        }
    }
}

#[test]
fn what_rusts_test_programs_write_is_read() {
    let text = "\nrunning 4 tests\ntest a::good ... ok\ntest a::bad ... FAILED\ntest a::talks ... said something\nok\ntest a::later ... ignored, needs 3 nodes\n\nfailures:\n\n---- a::bad stdout ----\nthread 'a::bad' panicked at src/lib.rs:1:1:\nboom\n\n\nfailures:\n    a::bad\n\ntest result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\nerror: test failed, to rerun pass `--lib`\n";
    let outcome = log(text.as_bytes()).unwrap();
    assert_eq!((counts(&outcome), outcome.problems.len()), ((2, 1, 1), 0), "{outcome:#?}");
    assert!(outcome.failures().next().unwrap().1.contains("boom"));
    let none = "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\n";
    let two = log(format!("{none}{text}").as_bytes()).unwrap();
    assert_eq!((counts(&two), two.problems.len()), ((2, 1, 1), 0));
}

#[test]
fn of_many_tests_that_failed_each_is_found_at_once() {
    let failed: String = (0..9000).map(|n| format!("test a::number_{n:05} ... FAILED\n")).collect();
    // One after the other in a list this is compared two thousand million times, and does not end.
    let said = "---- a::number_09999 ----\n".repeat(250_000);
    let text = format!("running 9000 tests\n{failed}\nfailures:\n\n---- a::number_00001 stdout ----\nboom\n{said}");
    let outcome = read("r.txt", text.as_bytes());
    assert_eq!((outcome.failed(), outcome.problems.len()), (9000, 1), "{:?}", outcome.problems);
    assert!(outcome.failures().any(|(name, said)| name == "a::number_00001" && said.contains("boom")));
}

#[test]
fn more_tests_than_there_is_room_for_are_a_problem() {
    let name = "x".repeat(1000);
    let run = |n: usize| format!("{{\"Action\":\"run\",\"Package\":\"p{}\",\"Test\":\"{name}{n}\"}}\n", n % 50);
    let json: String = (0..12_000).map(run).collect();
    let plain: String = (0..12_000).map(|n| format!("=== RUN   {name}{n}\n")).collect();
    let rust: String = (0..12_000).map(|n| format!("test {name}{n} ... FAILED\n")).collect();
    for text in [json, plain, format!("running 12000 tests\n{rust}")] {
        let outcome = read("r.txt", text.as_bytes());
        let said = |problem: &String| problem.contains("than there is room for");
        assert!(outcome.problems.iter().any(said), "{:?}", outcome.problems);
    }
}

#[test]
fn cut_off_at_every_byte_what_failed_is_no_pass() {
    for (path, _, (_, failed, _)) in TABLE {
        let whole = recorded(path);
        if failed == 0 || path == "go/build.json" {
            continue;
        }
        for cut in 0..whole.len() {
            let outcome = read(path, &whole[..cut]);
            let passes = outcome.problems.is_empty() && outcome.failed() == 0 && outcome.passed() > 0;
            assert!(!passes, "{path} at {cut}");
        }
    }
}

#[test]
fn beside_junit_other_formats_may_not_say_more_of_failures() {
    let events = recorded("go/failed.json");
    let junit = |failure: &str| {
        let case = |name: &str| format!("<testcase classname='example.com/e2e' name='{name}'>{failure}</testcase>");
        format!("<testsuite>{}{}{}</testsuite>", case("TestBad"), case("TestSub/two_with_space"), case("TestSub"))
            .into_bytes()
    };
    let both = |failure: &str| {
        let files = [("a.json".to_owned(), events.clone()), ("r.xml".to_owned(), junit(failure))];
        Outcome::of_files(&BTreeMap::from(files))
    };
    let agrees = both("<failure/>");
    assert_eq!((counts(&agrees), agrees.problems.len()), ((0, 3, 0), 0), "{agrees:#?}");
    assert_eq!(agrees.formats, ["go test -json", "JUnit"]);
    assert_eq!(both("").problems.len(), 1);
}
