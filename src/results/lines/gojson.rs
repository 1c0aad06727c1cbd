//! `go test -json`: one event a line, from any number of packages at once.

use std::collections::HashMap;

use serde::Deserialize;

use super::{
    End, Format, OPEN, TOO_MANY, record,
    room::{Room, Tests},
};
use crate::results::{
    case::{MESSAGE, Sink},
    junit::speaks_of_failure,
    text::{self, Ends},
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    action: String,
    #[serde(default)]
    package: String,
    #[serde(default)]
    import_path: String,
    test: Option<String>,
    #[serde(default)]
    output: String,
    elapsed: Option<f64>,
    failed_build: Option<String>,
}

/// The reader.
#[derive(Default)]
pub(super) struct GoJson {
    packages: HashMap<String, Package>,
    /// What building a package said, by what was built.
    builds: Tests,
    room: Room,
}

#[derive(Default)]
struct Package {
    tests: Tests,
    said: Option<Ends>,
    failed: bool,
    done: bool,
}

/// Whether a line can only be such an event.
pub(super) fn begins(line: &str) -> bool {
    line.starts_with('{')
        && serde_json::from_str::<Event>(line).is_ok_and(|e| {
            let known = ["start", "run", "output", "pass", "fail", "skip", "build-output", "build-fail"];
            known.contains(&e.action.as_str())
                && !(e.package.is_empty() && e.import_path.is_empty() && e.test.is_none())
        })
}

impl Format for GoJson {
    fn line(&mut self, line: &str, sink: &mut dyn Sink) {
        match serde_json::from_str::<Event>(line) {
            Ok(event) => self.event(event, sink),
            Err(_) if line.starts_with('{') => sink.problem("an event of go test cannot be read".to_owned()),
            Err(_) if speaks_of_failure(line) => {
                sink.problem(format!("a line between the events looks like a failure: {:?}", text::name(line, 200)));
            }
            Err(_) => {}
        }
    }

    fn end(&mut self, sink: &mut dyn Sink) {
        let mut open: Vec<_> = self.packages.drain().filter(|(_, package)| !package.done).collect();
        open.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, package) in open {
            let mut tests = package.tests;
            for (test, mut said) in self.room.drain(&mut tests) {
                said.push("\nit did not end");
                sink.case(record(&name, &test, End::Failed, said, None));
            }
            sink.problem(format!("the events end before package {:?} does", text::name(&name, 200)));
        }
    }
}

impl GoJson {
    fn event(&mut self, event: Event, sink: &mut dyn Sink) {
        let Event { action, package: name, import_path, test, output, elapsed, failed_build } = event;
        if action.starts_with("build") {
            let known = self.builds.contains_key(&import_path);
            if (known || self.room.begin(&mut self.builds, &import_path))
                && let Some(said) = self.builds.get_mut(&import_path)
            {
                self.room.say(said, &output);
            }
            return;
        }
        if !self.packages.contains_key(&name) && (self.packages.len() >= OPEN || !self.room.take(&name)) {
            return sink.problem("there are more packages than there is room for: the others are not read".to_owned());
        }
        let package = self.packages.entry(name.clone()).or_default();
        let ended = match action.as_str() {
            "start" => {
                // A package that is tested again has its own end again.
                package.done = false;
                return;
            }
            "run" => {
                package.done = false;
                if !self.room.begin(&mut package.tests, &test.unwrap_or_default()) {
                    sink.problem(TOO_MANY.to_owned());
                }
                return;
            }
            "output" => {
                let said = test.and_then(|test| package.tests.get_mut(&test));
                let said = said.unwrap_or_else(|| package.said.get_or_insert_with(|| Ends::new(MESSAGE)));
                self.room.say(said, &output);
                return;
            }
            "pass" => End::Passed,
            "fail" => End::Failed,
            "skip" => End::Skipped,
            "pause" | "cont" | "bench" | "attr" | "artifacts" => return,
            other => return sink.problem(format!("event {:?} of go test is not known", text::name(other, 100))),
        };
        if let Some(test) = test {
            let said = self.room.end(&mut package.tests, &test).unwrap_or_else(|| Ends::new(MESSAGE));
            package.failed |= ended == End::Failed;
            return sink.case(record(&name, &test, ended, said, elapsed));
        }
        package.done = true;
        let own = package.said.take();
        own.iter().for_each(|said| self.room.forget(said));
        for (test, mut said) in self.room.drain(&mut package.tests) {
            package.failed = true;
            said.push("\nit did not end");
            sink.case(record(&name, &test, End::Failed, said, None));
        }
        if ended == End::Failed && !std::mem::take(&mut package.failed) {
            let built = failed_build.and_then(|build| self.room.end(&mut self.builds, &build));
            let said = built.or(own).unwrap_or_else(|| Ends::new(MESSAGE));
            sink.case(record(&name, &format!("{name} (the package itself)"), End::Failed, said, elapsed));
        }
    }
}
