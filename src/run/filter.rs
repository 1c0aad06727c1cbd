//! How an image is told which cases to run: as many tools take names, each in its own way. Pure.

use crate::{
    api::{CaseFilter, E2ERunSpec, Escape, Tool, label},
    results::{Case, Outcome, Verdict},
};

/// The most cases that are run again by name, and the most bytes of their names. Where more than these fail it is no case
/// that is flaky; and they stand in an annotation, of which an object has 256 KiB.
const NAMES: (usize, usize) = (100, 8 * 1024);
/// The longest label that is read.
const LABEL: usize = 4096;
/// The most bytes of a container's arguments: what Linux takes by default, a quarter of the stack (execve(2)). A template
/// may be an image's, and so may the arguments that it repeats.
const ARGUMENTS: usize = 2 << 20;
/// Options that take a value, as the `e2e` suite and Rust's test programs have them: what comes
/// after one of these is no case's name.
const WITH_VALUE: [&str; 10] = [
    "--skip",
    "--shard",
    "--durations",
    "--test-threads",
    "--format",
    "--color",
    "--logfile",
    "--image",
    "--host",
    "--shuffle-seed",
];

/// The filter of a run: what its spec says, or else the label of its image.
///
/// # Errors
/// In words, where neither tells.
pub fn of(spec: &E2ERunSpec, labelled: Option<&str>) -> Result<CaseFilter, String> {
    if let Some(filter) = &spec.retries.filter {
        return Ok(filter.clone());
    }
    let (image, key) = (&spec.image, label::CASE_FILTER);
    let Some(text) = labelled.map(str::trim).filter(|text| !text.is_empty()) else {
        return Err(format!(
            "nothing tells how {image} is given names of cases: write spec.retries.filter, or give the image a label {key}"
        ));
    };
    let broken = |why: String| format!("label {key} of {image} is no filter of cases: {why}");
    if text.len() > LABEL {
        return Err(broken(format!("it is longer than {LABEL} bytes")));
    }
    let filter: CaseFilter = if text.starts_with('{') {
        serde_json::from_str(text).map_err(|e| broken(e.to_string()))?
    } else {
        let tool: Tool = serde_json::from_value(text.into()).map_err(|e| broken(e.to_string()))?;
        CaseFilter { tool: Some(tool), ..CaseFilter::default() }
    };
    match (&filter.tool, &filter.args) {
        (Some(_), None) => Ok(filter),
        (None, Some(args)) if args.iter().any(|arg| arg.contains("{names}")) => Ok(filter),
        _ => Err(broken("it has a tool, or args with {names} in one of them".to_owned())),
    }
}

/// The same for cases that the spec names: where nothing tells, names are given as the `e2e` suite and Rust's test programs
/// take them.
///
/// # Errors
/// In words, where the label is broken.
pub fn of_named(spec: &E2ERunSpec, labelled: Option<&str>) -> Result<CaseFilter, String> {
    if spec.retries.filter.is_none() && labelled.is_none_or(|text| text.trim().is_empty()) {
        return Ok(CaseFilter { tool: Some(Tool::Libtest), ..CaseFilter::default() });
    }
    of(spec, labelled)
}

/// The names of the cases that failed and count, each once, as their tool knows them; to be run again.
///
/// # Errors
/// In words, where that has no use: not each of them can be named, or the results are not whole.
pub fn failed(outcome: &Outcome, filter: &CaseFilter, counts: impl Fn(&Case) -> bool) -> Result<Vec<String>, String> {
    let whole = outcome.junit.as_ref().is_some_and(|junit| !junit.is_shortened());
    if !outcome.problems.is_empty() || outcome.left_out.total() > 0 || !whole {
        return Err("the results are not whole".to_owned());
    }
    let mut names: Vec<String> = Vec::new();
    for case in outcome.cases.iter().filter(|case| matches!(case.verdict, Verdict::Failed(_)) && counts(case)) {
        let name = case.own_name();
        if name.is_empty() || !case.is_named_wholly() {
            return Err(format!("case {:?} has no name of its own", case.name));
        }
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    if names.len() > NAMES.0 || names.iter().map(String::len).sum::<usize>() > NAMES.1 {
        return Err(format!("there are more than {} of them, or their names are too long", NAMES.0));
    }
    arguments(filter, &[], &names)?;
    Ok(names)
}

/// The arguments of a container that is to run these cases, in place of `args`.
///
/// # Errors
/// In words, where a name cannot be given to the tool.
pub fn arguments(filter: &CaseFilter, args: &[String], names: &[String]) -> Result<Vec<String>, String> {
    let known = filter.tool.map(|tool| of_tool(tool, names)).transpose()?;
    let (template, separator, escape, names) = match &known {
        Some(Known { template, separator, names }) => {
            (template.iter().map(|arg| (*arg).to_owned()).collect(), *separator, None, names.as_slice())
        }
        None => (filter.args.clone().unwrap_or_default(), filter.separator.as_deref(), filter.escape, names),
    };
    let names: Vec<String> = names
        .iter()
        .map(|name| match escape {
            Some(Escape::Regex) => regex(name),
            None => name.clone(),
        })
        .collect();
    let joined = names.join(separator.unwrap_or_default());
    let (mut all, mut left) = (Vec::new(), ARGUMENTS);
    for arg in &template {
        let size: usize = match arg.as_str() {
            "{args}" | "{options}" => args.iter().map(String::len).sum(),
            arg => arg.matches("{names}").count().saturating_mul(joined.len()).saturating_add(arg.len()),
        };
        left = left
            .checked_sub(size)
            .ok_or_else(|| format!("they make arguments of more than {} MiB of the template", ARGUMENTS >> 20))?;
        match (arg.as_str(), separator) {
            ("{args}", _) => all.extend_from_slice(args),
            ("{options}", _) => all.extend(options(args)),
            ("{names}", None) => match names.iter().find(|name| name.starts_with('-')) {
                Some(name) => return Err(format!("the name of case {name:?} would be taken for an option")),
                None => all.extend_from_slice(&names),
            },
            (arg, None) if arg.contains("{names}") && names.len() > 1 => {
                return Err(format!(
                    "{arg} takes one name, and {} cases failed: say by spec.retries.filter.separator what is between names",
                    names.len()
                ));
            }
            (arg, _) => all.push(arg.replace("{names}", &joined)),
        }
    }
    Ok(all)
}

/// What a tool takes.
struct Known {
    template: &'static [&'static str],
    separator: Option<&'static str>,
    names: Vec<String>,
}

fn of_tool(tool: Tool, names: &[String]) -> Result<Known, String> {
    let (template, separator): (&'static [&'static str], _) = match tool {
        Tool::Pytest => (&["{args}", "-k", "{names}"], Some(" or ")),
        // With its prefix it is taken by go test and by a test binary alike, and the last one counts.
        Tool::GoTest => (&["{args}", "-test.run=^({names})$"], Some("|")),
        // Reporters write the whole name, or what comes after that of the suite.
        Tool::Jest => (&["{args}", "-t", "(^| )({names})$"], Some("|")),
        Tool::Nextest => (&["{args}", "-E", "{names}"], Some(" | ")),
        Tool::Libtest => (&["{options}", "--exact", "{names}"], None),
    };
    let mut told: Vec<String> = Vec::new();
    for name in names {
        let name = match tool {
            Tool::Pytest => keyword(name)?,
            // A subtest is run by its test.
            Tool::GoTest => regex(name.split('/').next().unwrap_or_default()),
            Tool::Jest => regex(name),
            Tool::Nextest => format!("test(={})", matcher(name)?),
            Tool::Libtest => name.clone(),
        };
        if !told.contains(&name) {
            told.push(name);
        }
    }
    Ok(Known { template, separator, names: told })
}

/// A case of pytest's for `-k`, without its parameters: in an expression they would be more than a name. Of its words
/// none may be one of the expression's own.
fn keyword(name: &str) -> Result<String, String> {
    let name = name.split('[').next().unwrap_or_default();
    let word = |c: char| c.is_alphanumeric() || "_.:+-/\\".contains(c);
    let own = ["and", "or", "not", "None", "True", "False"];
    if name.is_empty() || !name.chars().all(word) || own.contains(&name) {
        return Err(format!("case {name:?} cannot be named in an expression of pytest's -k"));
    }
    Ok(name.to_owned())
}

/// A regular expression of exactly this text, for Go, JavaScript and most others.
fn regex(text: &str) -> String {
    escaped(text, r"\.+*?()|[]{}^$")
}

/// A name in a filterset of nextest's, which has no way to write others than these.
/// <https://nexte.st/docs/filtersets/reference/>
fn matcher(name: &str) -> Result<String, String> {
    if name.trim() != name || name.chars().any(char::is_control) {
        return Err(format!("case {name:?} cannot be named in a filterset of nextest's"));
    }
    Ok(escaped(name, r"\),/"))
}

/// The text with a backslash before each of the `special` characters.
fn escaped(text: &str, special: &str) -> String {
    let mut all = String::with_capacity(text.len());
    for c in text.chars() {
        if special.contains(c) {
            all.push('\\');
        }
        all.push(c);
    }
    all
}

/// The options among the arguments, with their values, without filters and what makes filters whole names.
#[must_use]
pub fn options(args: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        if word == "--exact" || !word.starts_with('-') {
            continue;
        }
        kept.push(word.clone());
        if WITH_VALUE.contains(&word.as_str()) {
            kept.extend(words.next().cloned());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    fn tool(tool: Tool) -> CaseFilter {
        CaseFilter { tool: Some(tool), ..CaseFilter::default() }
    }

    fn template(args: &[&str], separator: Option<&str>, escape: Option<Escape>) -> CaseFilter {
        CaseFilter { tool: None, args: Some(words(args)), separator: separator.map(str::to_owned), escape }
    }

    #[test]
    fn each_tool_is_told_in_its_own_way() {
        use Tool::{GoTest, Jest, Libtest, Nextest, Pytest};
        type Row<'a> = (CaseFilter, &'a [&'a str], &'a [&'a str], Result<&'a [&'a str], &'a str>);
        let table: [Row<'_>; 17] = [
            (tool(Pytest), &["tests", "-v"], &["test_a", "test_b"], Ok(&["tests", "-v", "-k", "test_a or test_b"])),
            (tool(Pytest), &[], &["test_a[1-x y]", "test_a[2]"], Ok(&["-k", "test_a"])),
            (tool(Pytest), &[], &["two words"], Err("two words")),
            (tool(Pytest), &[], &["not"], Err("not")),
            (tool(GoTest), &["-test.v"], &["TestA", "TestB"], Ok(&["-test.v", "-test.run=^(TestA|TestB)$"])),
            (tool(GoTest), &[], &["TestA/x", "TestA/y", "Test$"], Ok(&[r"-test.run=^(TestA|Test\$)$"])),
            (
                tool(Jest),
                &["--ci"],
                &["cart adds (twice)", "a|b"],
                Ok(&["--ci", "-t", r"(^| )(cart adds \(twice\)|a\|b)$"]),
            ),
            (tool(Nextest), &["run"], &["a::b", "c"], Ok(&["run", "-E", "test(=a::b) | test(=c)"])),
            (tool(Nextest), &[], &[r"f(x),\"], Ok(&["-E", r"test(=f(x\)\,\\)"])),
            (tool(Nextest), &[], &[" a"], Err("cannot be named")),
            (
                tool(Libtest),
                &["Services", "--disruptive", "--skip", "Lb", "--exact", "--format=json"],
                &["A", "B"],
                Ok(&["--disruptive", "--skip", "Lb", "--format=json", "--exact", "A", "B"]),
            ),
            (tool(Libtest), &[], &["--list"], Err("taken for an option")),
            (template(&["{args}", "{names}"], None, None), &["-x"], &["a b", "c"], Ok(&["-x", "a b", "c"])),
            (template(&["--grep={names}"], Some("|"), None), &["-x"], &["a", "b"], Ok(&["--grep=a|b"])),
            (template(&["{names}"], Some(","), None), &[], &["a", "b"], Ok(&["a,b"])),
            (template(&["^({names})$"], Some("|"), Some(Escape::Regex)), &[], &["a.b", "c+"], Ok(&[r"^(a\.b|c\+)$"])),
            // What a name holds is not looked at again.
            (template(&["{names}"], None, None), &["-x"], &["{args}"], Ok(&["{args}"])),
        ];
        for (filter, args, names, wanted) in table {
            let got = arguments(&filter, &words(args), &words(names));
            match wanted {
                Ok(wanted) => assert_eq!(got, Ok(words(wanted)), "{filter:?} {names:?}"),
                Err(part) => assert!(got.as_ref().is_err_and(|e| e.contains(part)), "{filter:?} {names:?}: {got:?}"),
            }
        }
    }

    fn spec(retries: &serde_json::Value) -> E2ERunSpec {
        serde_json::from_value(json!({"clusterRef": {"name": "foo"}, "image": "suite:1", "retries": retries})).unwrap()
    }

    #[test]
    fn the_spec_counts_before_the_label_and_a_label_may_be_a_tool_or_a_template() {
        let (none, own) = (spec(&json!({})), spec(&json!({"filter": {"tool": "Jest"}})));
        assert_eq!(of(&own, Some("Pytest")), Ok(tool(Tool::Jest)));
        assert_eq!(of(&none, Some(" Pytest ")), Ok(tool(Tool::Pytest)));
        let json = r#"{"args": ["{args}", "-g", "{names}"], "separator": "|", "escape": "Regex"}"#;
        let wanted = template(&["{args}", "-g", "{names}"], Some("|"), Some(Escape::Regex));
        assert_eq!(of(&none, Some(json)), Ok(wanted));
        for (label, words) in [
            (None, "write spec.retries.filter"),
            (Some("PyTest"), "PyTest"),
            (Some("{"), "no filter of cases"),
            (Some(r#"{"args": ["-g"]}"#), "{names}"),
            (Some(r#"{"tool": "Jest", "args": ["{names}"]}"#), "{names}"),
            (Some("{}"), "{names}"),
        ] {
            assert!(of(&none, label).is_err_and(|e| e.contains(words)), "{label:?}: {:?}", of(&none, label));
        }
    }

    #[test]
    fn no_label_of_an_image_makes_more_of_names_than_a_machine_bears() {
        let names: Vec<String> = (0..100).map(|n| format!("{n:080}")).collect();
        let many = "{names}".repeat(290);
        let label = json!({"args": [many], "separator": "|".repeat(2000)}).to_string();
        let hostile = of(&spec(&json!({})), Some(&label)).unwrap();
        let own = words(&[&"x".repeat(100 << 10)]);
        let repeated: Vec<&str> = ["{args}"; 400].into_iter().chain(["{names}"]).collect();
        for (filter, args) in [(hostile, &[][..]), (template(&repeated, None, None), &own[..])] {
            assert!(arguments(&filter, args, &names).is_err_and(|why| why.contains("more than 2 MiB")));
        }
        let once = template(&["{args}", "-k={names}"], Some("|"), None);
        assert_eq!(arguments(&once, &own, &names).unwrap().len(), 2);
    }

    #[test]
    fn what_failed_is_run_again_only_where_each_of_it_can_be_named() {
        let names = |xml: &str, by: Tool| {
            let files = BTreeMap::from([("a.xml".to_owned(), xml.as_bytes().to_vec())]);
            failed(&Outcome::of_files(&files), &tool(by), |_| true)
        };
        let case =
            |name: &str| format!("<testcase classname=\"c\" name=\"{name}\"><failure message=\"m\"/></testcase>");
        let suite = |cases: &str| format!("<testsuite name=\"s\"><testcase name=\"good\"/>{cases}</testsuite>");
        assert_eq!(names(&suite(&(case("a") + &case("b"))), Tool::Libtest), Ok(words(&["a", "b"])));
        assert_eq!(names(&suite(&(case("a") + &case("a"))), Tool::Libtest), Ok(words(&["a"])));
        let many: String = (0..101).map(|n| case(&format!("n{n}"))).collect();
        for (xml, by, why) in [
            (suite(&case("a")).replace("</testsuite>", ""), Tool::Libtest, "not whole"),
            (suite(&case("")), Tool::Libtest, "no name"),
            (suite(&case(&"x".repeat(5000))), Tool::Libtest, "name"),
            (suite(&many), Tool::Libtest, "more than 100"),
            (suite(&(case("a") + &case("a b"))), Tool::Pytest, "pytest"),
        ] {
            let got = names(&xml, by);
            assert!(got.as_ref().is_err_and(|e| e.contains(why)), "{why}: {got:?}");
        }
    }
}
