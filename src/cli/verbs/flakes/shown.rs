//! Cases as rows, and as objects for programs.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    gather::{Gathered, Why},
    history::{Mark, Past, Story},
    state::State,
};
use crate::cli::{
    output,
    terminal::{Cell, Style, Table, age, counted},
};

/// How many marks a row has. With all columns it has all.
const MARKS: usize = 20;
/// How many runs are named of those that left nothing.
const NAMES: usize = 5;

/// Which columns are shown besides those that always are.
pub struct Columns {
    /// The namespace.
    pub namespace: bool,
    /// The suite.
    pub suite: bool,
    /// All there is to say.
    pub wide: bool,
}

/// A row a case. Its name is last: it may be long.
pub fn table(stories: &[Story<'_>], shown: &Columns, now: Timestamp) -> Table {
    let mut headings = Vec::new();
    headings.extend(shown.namespace.then_some("NAMESPACE"));
    headings.extend(shown.suite.then_some("SUITE"));
    headings.extend(["STATE", "PASSED", "FAILED", "FLAKY", "SKIPPED", "RUNS", "HISTORY", "LAST FAILED", "IN", "SINCE"]);
    headings.push("MEDIAN");
    if shown.wide {
        headings.extend(["QUARANTINE", "JUNIT SUITE", "CLASS"]);
    }
    headings.push("CASE");
    let mut table = Table::new(&headings);
    for story in stories {
        table.row(row(story, shown, now));
    }
    table
}

fn row(story: &Story<'_>, shown: &Columns, now: Timestamp) -> Vec<Cell> {
    let last = story.run(story.last_failed);
    let mut cells: Vec<Cell> = Vec::new();
    cells.extend(shown.namespace.then(|| Cell::optional(last.map(|run| &run.namespace))));
    cells.extend(shown.suite.then(|| Cell::optional(last.map(|run| &run.suite))));
    let style = match story.state {
        State::Broken(_) => Style::Bad,
        State::Flaky => Style::Attention,
        State::Fixed(_) => Style::Good,
    };
    cells.push(Cell::styled(style, story.state.word()));
    cells.extend([Mark::Passed, Mark::Failed, Mark::Flaky, Mark::Skipped].map(|mark| story.count(mark).into()));
    cells.extend([
        story.suite.read().into(),
        story.marks(if shown.wide { usize::MAX } else { MARKS }).into(),
        Cell::optional(last.map(|run| age(now.duration_since(run.ended).try_into().unwrap_or_default()))),
        Cell::optional(last.map(|run| &run.name)),
        Cell::optional(story.state.since().and_then(|run| story.run(run)).map(|run| &run.name)),
        Cell::optional(story.median_seconds().map(|seconds| format!("{seconds:.1}s"))),
    ]);
    if shown.wide {
        let quarantine = story.quarantine().map(|item| {
            let ended = if item.holds(now) { "" } else { ", which is over" };
            format!("{} until {}{ended}", item.owner, item.until)
        });
        cells.extend([
            Cell::optional(quarantine),
            Cell::optional(some(&story.case.suite)),
            Cell::optional(some(&story.case.class)),
        ]);
    }
    cells.push(story.case.name.clone().into());
    cells
}

/// A List with an object a case, and beside them what the results do not tell.
pub fn list(stories: &[Story<'_>], gathered: &Gathered) -> Value {
    let items: Vec<Value> = stories.iter().map(object).collect();
    let mut list = output::list(&items);
    list["metadata"] = json!({ "warnings": gathered.warnings() });
    list
}

fn object(story: &Story<'_>) -> Value {
    let at = |run: Option<&Past>| run.map(|run| json!({"run": run.name, "time": run.ended.to_string()}));
    let last = story.run(story.last_failed);
    let case = json!({"name": story.case.name, "suite": story.case.suite, "class": story.case.class});
    let history: Vec<Value> = story
        .seen
        .iter()
        .filter_map(|seen| {
            let run = story.run(seen.run)?;
            let time = run.ended.to_string();
            Some(json!({"run": run.name, "time": time, "image": run.image, "result": seen.mark.shown().1, "seconds": seen.seconds}))
        })
        .collect();
    let quarantine = story.quarantine();
    json!({
        "kind": "Case",
        "metadata": {"name": story.case.name, "namespace": last.map(|run| &run.namespace)},
        "suite": last.map(|run| &run.suite),
        "case": case,
        "state": story.state.word(),
        "since": at(story.state.since().and_then(|run| story.run(run))),
        "passed": story.count(Mark::Passed),
        "failed": story.count(Mark::Failed),
        "flaky": story.count(Mark::Flaky),
        "skipped": story.count(Mark::Skipped),
        "runs": story.suite.read(),
        "lastFailed": at(last),
        "medianSeconds": story.median_seconds(),
        "quarantine": quarantine,
        "history": history,
    })
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

impl Gathered {
    /// How much was read of suites of which there is more.
    pub fn extents(&self) -> Vec<String> {
        let more = self.suites.iter().filter(|(_, suite)| suite.older > 0 || suite.read() < suite.runs.len());
        more.map(|((namespace, name), suite)| {
            let (read, of) = (suite.read(), counted(suite.runs.len(), "run"));
            let older = if suite.older > 0 {
                format!(", {} older ones are not read (--last)", suite.older)
            } else {
                String::new()
            };
            format!("Suite {name} in namespace {namespace}: results of {read} of its last {of} are read{older}.")
        })
        .collect()
    }

    /// What the results do not tell, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let without: Vec<&str> = self.lacks.iter().filter(|l| l.why == Why::None).map(|l| l.run.as_str()).collect();
        let others = self.lacks.iter().filter(|lack| lack.why != Why::None);
        let mut all: Vec<String> = others.map(ToString::to_string).collect();
        if !without.is_empty() {
            let more = if without.len() > NAMES { ", …" } else { "" };
            let names = without[..without.len().min(NAMES)].join(", ");
            all.push(format!("{} left no results: {names}{more}", counted(without.len(), "run")));
        }
        for ((_, name), suite) in &self.suites {
            if suite.left_out > 0 {
                all.push(format!(
                    "suite {name} has too many cases: {} of its results are not looked at",
                    suite.left_out
                ));
            }
        }
        if self.cut_off > 0 {
            let runs = counted(self.cut_off, "run");
            all.push(format!(
                "{runs} not read that did not end by themselves: cancelled, or lost with a machine or a cluster"
            ));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        api::Quarantined,
        cli::{
            terminal::Printer,
            verbs::flakes::history::{Suite, worst_first},
        },
        results::Outcome,
    };

    fn gathered() -> Gathered {
        let run = |at: i64, quarantine: &[Quarantined]| Past {
            namespace: "ci".into(),
            name: format!("r{at}"),
            uid: format!("u{at}"),
            suite: "team/e2e".into(),
            image: Some("team/e2e@sha256:1".into()),
            ended: Timestamp::from_second(at * 3600).unwrap(),
            results: None,
            counted: 0,
            quarantine: quarantine.to_vec(),
        };
        let item = Quarantined {
            name: "c.a".into(),
            owner: "net-team".into(),
            until: "1970-01-02".into(),
            ..Quarantined::default()
        };
        let mut suite = Suite::of(vec![run(0, &[]), run(1, &[]), run(2, &[item])], 0);
        for (at, first) in [(0, ""), (1, "<failure/>"), (2, "")] {
            let xml = format!(
                r#"<testsuite name="s"><testcase classname="c" name="a" time="1.25">{first}</testcase><testcase name="b&#27;[31m"><failure/></testcase></testsuite>"#
            );
            suite.add(at, &Outcome::of_files(&BTreeMap::from([("a.xml".to_owned(), xml.into_bytes())])));
        }
        suite.finish();
        Gathered { suites: BTreeMap::from([(("ci".to_owned(), "team/e2e".to_owned()), suite)]), ..Gathered::default() }
    }

    #[test]
    fn a_case_is_a_row() {
        let gathered = gathered();
        let mut stories: Vec<_> = gathered.suites.values().flat_map(Suite::stories).collect();
        worst_first(&mut stories);
        let now = Timestamp::from_second(3 * 3600).unwrap();
        let text = |namespace, suite, wide| {
            table(&stories, &Columns { namespace, suite, wide }, now).render(&Printer::plain())
        };
        assert_eq!(
            text(false, false, false),
            "STATE    PASSED   FAILED   FLAKY   SKIPPED   RUNS   HISTORY   LAST FAILED   IN   SINCE   MEDIAN   CASE\n\
             broken   0        3        0       0         3      FFF       60m           r2   r0      -        b\n\
             flaky    2        1        0       0         3      .F.       120m          r1   -       1.2s     c.a\n"
        );
        let wide = text(true, true, true);
        assert!(wide.contains("ci          team/e2e   flaky"), "{wide}");
        assert!(wide.contains("net-team until 1970-01-02   s             c       c.a"), "{wide}");
    }

    #[test]
    fn a_case_is_an_object_that_quarantine_takes() {
        let mut gathered = gathered();
        gathered.cut_off = 1;
        let mut stories: Vec<_> = gathered.suites.values().flat_map(Suite::stories).collect();
        worst_first(&mut stories);
        let list = list(&stories, &gathered);
        assert_eq!(list["items"][1]["case"], json!({"name": "c.a", "suite": "s", "class": "c"}));
        assert_eq!(list["items"][1]["quarantine"]["owner"], "net-team");
        assert_eq!((&list["items"][0]["since"]["run"], &list["items"][0]["state"]), (&json!("r0"), &json!("broken")));
        assert_eq!(list["items"][1]["history"][1]["result"], "failed");
        assert_eq!(gathered.extents(), Vec::<String>::new());
        assert!(list["metadata"]["warnings"][0].as_str().unwrap().starts_with("1 run not read"));
        // What is under `case` is one of spec.quarantine, beside owner and until.
        let mut item = list["items"][1]["case"].clone();
        (item["owner"], item["until"]) = ("me".into(), "2026-12-24".into());
        let item: Quarantined = serde_json::from_value(item).unwrap();
        assert!(stories[1].case.quarantined(std::slice::from_ref(&item)).is_some());
    }
}
