//! One case of a run: why it failed and what it wrote, from the kept results.

use kube::ResourceExt;

use crate::cli::{
    Context,
    failure::Failure,
    kubernetes::Kubernetes,
    suggest,
    terminal::{Printer, Style},
    verbs::results,
};
use crate::{
    api::E2ERun,
    results::{Case, Output, Verdict, each, outputs},
};

/// Prints the case; a run may have it more than once.
pub async fn print(context: &Context, kubernetes: &Kubernetes, run: &E2ERun, name: &str) -> Result<(), Failure> {
    let printer = &context.printer;
    let junit = results::junit(kubernetes, run).await?;
    let cases = outputs(&junit, |case| case.name == name);
    let run = run.name_any();
    if cases.is_empty() {
        let mut names = Vec::new();
        each(&junit, |case| names.push(case.name.clone()));
        let failure = Failure::new(format!("run {run:?} has no case {name:?}"));
        return Err(suggest::among(failure, name, "case", Some(&names))
            .help(format!("kubectl testkit results {run} lists its cases")));
    }
    for (case, output) in &cases {
        let silent = output.out.is_empty() && output.err.is_empty();
        match &case.verdict {
            Verdict::Passed if silent => {
                printer.note(format_args!("{name} passed, and nothing it wrote is in the results of {run}."));
            }
            Verdict::Skipped if silent => printer.note(format_args!("{name} was skipped, and wrote nothing.")),
            _ => printer.bytes(text(printer, case, output).as_bytes())?,
        }
    }
    Ok(())
}

/// Why it failed, and then what it wrote.
fn text(printer: &Printer, case: &Case, output: &Output) -> String {
    let mut text = String::new();
    let mut part = |heading: Option<&str>, content: &str| {
        if content.trim().is_empty() {
            return;
        }
        if let Some(heading) = heading {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&printer.paint(Style::Strong, heading));
            text.push('\n');
        }
        text.push_str(content.trim_matches('\n'));
        text.push('\n');
    };
    let mut failed = true;
    match &case.verdict {
        Verdict::Failed(why) => part(Some("Why it failed:"), why),
        Verdict::Flaky(why) => part(Some("Why it failed before it passed:"), why),
        Verdict::Passed | Verdict::Skipped => failed = false,
    }
    // With one thing to print there is nothing to tell apart.
    let several = failed || !(output.out.is_empty() || output.err.is_empty());
    part(several.then_some("What it wrote:"), &output.out);
    part(several.then_some("What it wrote to standard error:"), &output.err);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(junit: &str) -> String {
        let cases = outputs(junit.as_bytes(), |_| true);
        cases.iter().map(|(case, output)| text(&Printer::plain(), case, output)).collect()
    }

    #[test]
    fn a_case_says_why_it_failed_and_what_it_wrote() {
        let junit = "<testsuites><testsuite name=\"e2e\"><properties/>\
            <testcase classname=\"e2e\" name=\"A\"><failure message=\"m\">m\n\nat x</failure><system-out>one &lt; two\n</system-out>\
            <system-err><![CDATA[oh]]></system-err></testcase></testsuite><system-out>not the case's</system-out></testsuites>";
        assert_eq!(
            printed(junit),
            "Why it failed:\nm\n\nat x\n\nWhat it wrote:\none < two\n\nWhat it wrote to standard error:\noh\n"
        );
    }

    #[test]
    fn one_thing_needs_no_heading() {
        let junit = "<testsuite><testcase name=\"A\"><system-out>\nhello\n</system-out></testcase></testsuite>";
        assert_eq!(printed(junit), "hello\n");
    }
}
