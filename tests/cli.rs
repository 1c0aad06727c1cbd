//! `kubectl testkit` as a person meets it: the built program, its texts, its exit codes.
//!
//! What needs an API server runs against the one KUBECONFIG names if TESTKIT_COMPONENT says that
//! it may be changed, as `make test` does; without it, that test says so.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]
#![allow(clippy::print_stdout, reason = "what a test could not try is said where its result is")]

use std::{fs, io::Write as _, process::Command, time::Instant};

use clap::Command as Clap;

#[path = "cli/bed.rs"]
mod bed;

use bed::{Bed, PROGRAM, Scratch, plugin, said};

fn verbs() -> Vec<Clap> {
    testkit::cli::command().get_subcommands().cloned().collect()
}

#[test]
fn every_verb_explains_itself() {
    for verb in verbs() {
        let name = verb.get_name().to_owned();
        let help = plugin(&[&name, "--help"], &[]);
        assert_eq!((help.code, help.err.as_str()), (0, ""), "{name}");
        let about = verb.get_about().unwrap_or_else(|| panic!("{name} does not say what it does")).to_string();
        assert!(help.out.starts_with(&about), "{name}: {}", help.out);
        assert!(help.out.contains(&format!("Usage: kubectl testkit {name}")), "{name}: {}", help.out);
        for arg in verb.get_arguments().filter(|a| !a.is_hide_set()) {
            assert!(arg.get_help().is_some(), "{name}: {} is not explained", arg.get_id());
        }
    }
}

#[test]
fn every_example_in_a_help_text_parses() {
    let mut examples = 0;
    for verb in verbs() {
        let Some(text) = verb.get_after_help().map(ToString::to_string) else { continue };
        for line in text.lines().filter_map(|l| l.trim().strip_prefix("kubectl testkit ")) {
            // Two blanks begin the explanation; what a shell would do with the output is not ours.
            let line = line.split("  ").next().unwrap_or_default();
            let line =
                [" > ", " | tar", " &"].iter().fold(line, |line, end| line.split(end).next().unwrap_or_default());
            if line.contains(" | source") {
                continue;
            }
            let split =
                Command::new("sh").args(["-c", &format!("for w in {line}; do echo \"$w\"; done")]).output().unwrap();
            let split = String::from_utf8(split.stdout).unwrap();
            let parsed =
                testkit::cli::command().try_get_matches_from(["kubectl-testkit"].into_iter().chain(split.lines()));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            examples += 1;
        }
    }
    assert!(examples > 15, "only {examples} examples were found");
}

#[test]
fn wrong_usage_is_2_and_names_what_is_near() {
    let wrong = plugin(&["lss"], &[]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("'ls'"), "{}", wrong.err);
    assert_eq!(plugin(&["load", "x"], &[]).code, 2);
}

#[test]
fn without_a_kubeconfig_it_says_how_to_name_one() {
    let none = plugin(&["ls"], &[]);
    assert_eq!((none.code, none.out.as_str()), (1, ""));
    assert!(
        none.err.contains("error: there is no kubeconfig") && none.err.contains("--kubeconfig FILE"),
        "{}",
        none.err
    );
    let gone = plugin(&["ls", "--kubeconfig", "/nonexistent/config"], &[]);
    assert!(gone.err.contains("/nonexistent/config cannot be read"), "{}", gone.err);
}

#[test]
fn a_server_that_is_not_there_is_named_with_its_context() {
    let file = Scratch::file(
        "unreachable",
        r#"{"apiVersion": "v1", "kind": "Config", "current-context": "away",
            "contexts": [{"name": "away", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
            "users": [{"name": "u", "user": {}}]}"#,
    );
    let away = plugin(&["ls"], &[("KUBECONFIG", file.path())]);
    assert_eq!(away.code, 1);
    for words in ["http://127.0.0.1:9", "context \"away\"", "cannot be reached", "kubectl --context away cluster-info"]
    {
        assert!(away.err.contains(words), "{words}: {}", away.err);
    }
    let typo = plugin(&["ls", "--context", "awya"], &[("KUBECONFIG", file.path())]);
    assert!(typo.err.contains("no context \"awya\"") && typo.err.contains("did you mean \"away\"?"), "{}", typo.err);
}

/// A kubeconfig of a server that is not there: what needs none is done all the same.
fn nowhere(name: &str) -> Scratch {
    Scratch::file(
        name,
        r#"{"apiVersion": "v1", "kind": "Config", "current-context": "away",
            "contexts": [{"name": "away", "context": {"cluster": "there", "user": "somebody"}}],
            "clusters": [{"name": "there", "cluster": {"server": "http://127.0.0.1:9"}}],
            "users": [{"name": "somebody", "user": {"token": "hunter2"}}]}"#,
    )
}

#[test]
fn kubectls_options_say_who_asks_whom() {
    let file = nowhere("options");
    for (args, words) in [
        (&["ls", "--user", "sombody"][..], "no user \"sombody\""),
        (&["ls", "--cluster", "thre"], "no cluster \"thre\""),
        (&["rerun", "x", "--cluster", "other", "--kube-cluster", "thre"], "no cluster \"thre\""),
        (&["ls", "--cluster", "there", "--user", "somebody"], "http://127.0.0.1:9 (context \"away\")"),
        (&["ls", "-s", "http://127.0.0.1:10"], "http://127.0.0.1:10 (context \"away\")"),
        (&["ls", "--as", "ci"], "(context \"away\", as \"ci\")"),
        (&["ls", "--certificate-authority", "/nonexistent/ca"], "/nonexistent/ca cannot be read"),
        (&["ls", "-s", "http://"], "is no address"),
    ] {
        let said = plugin(args, &[("KUBECONFIG", file.path())]);
        assert!(said.code == 1 || (said.code == 3 && args[0] == "rerun"), "{args:?}: {} {}", said.code, said.err);
        assert!(said.err.contains(words) && !said.err.contains("hunter2"), "{args:?}: {}", said.err);
    }
    let alone = plugin(&["ls", "--server", "127.0.0.1:9", "--token", "hunter2"], &[]);
    assert!(alone.err.contains("http://127.0.0.1:9 (the server of --server)"), "{}", alone.err);
    assert!(!alone.err.contains("hunter2"));
    // Nobody is asked past a proxy that is meant and cannot be read.
    let way = ("HTTPS_PROXY", "http://me:hunter2@pro xy:3128");
    for environment in [&[way][..], &[way, ("KUBECONFIG", file.path())]] {
        let past = plugin(&["ls", "--server", "https://192.0.2.1:9"], environment);
        assert!(past.code == 1 && past.err.contains("HTTPS_PROXY is \"http://…@pro xy:3128\""), "{}", past.err);
        assert!(!past.err.contains("hunter2"), "{}", past.err);
        // None leads to this machine.
        let here = plugin(&["ls", "--server", "https://127.0.0.1:9"], environment);
        assert!(here.err.contains("https://127.0.0.1:9"), "{}", here.err);
    }
    for wrong in [&["ls", "--as-group", "x"][..], &["ls", "--request-timeout", "soon"]] {
        assert_eq!(plugin(wrong, &[]).code, 2, "{wrong:?}");
    }
}

#[test]
fn objects_have_kubectls_forms() {
    let file = nowhere("forms");
    let create = ["create", "foo", "--managers", "3", "--region", "us-east-1", "--dry-run", "-o"];
    for (form, text) in [
        ("name", "swarmcluster.testkit.dev/foo\n"),
        ("jsonpath={.metadata.name} has {.spec.managers}", "foo has 3"),
        ("jsonpath={range .spec.provider.*}{.region}{\"\\n\"}{end}", "us-east-1\n"),
        ("custom-columns=NAME:.metadata.name,WORKERS:.spec.workers", "NAME   WORKERS\nfoo    <none>\n"),
    ] {
        let said = plugin(&[&create[..], &[form]].concat(), &[("KUBECONFIG", file.path())]);
        assert_eq!((said.code, said.out.as_str()), (0, text), "{form}: {}", said.err);
    }
    for (wrong, words) in [
        (&["ls", "-o", "jsn"][..], "write name, json, yaml"),
        (&["ls", "-o", "jsonpath={.x"], "a } is missing"),
        (&["ls", "-o", "go-template={{.x}}"], "jsonpath=…"),
        (&["ls", "--sort-by", ".x["], "is no path"),
        (&["create", "-o", "wide"], "write name, json, yaml"),
        (&["ls", "nightly", "-l", "a=b"], "names do not go with"),
        (&["ls", "pod/x"], "names neither a cluster nor a run"),
        (&["port-forward", "x", "web"], "is no port"),
    ] {
        let said = plugin(wrong, &[("KUBECONFIG", file.path())]);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{wrong:?}: {}", said.err);
        assert!(said.err.contains(words), "{wrong:?}: {}", said.err);
    }
}

#[test]
fn what_is_wrong_with_a_copy_is_said_before_anybody_is_asked() {
    let folder = Scratch::folder("copies");
    let missing = folder.0.join("missing");
    for (args, words) in [
        (["cp", "a", "b"], "neither SRC nor DST is on a node"),
        (["cp", "x:/a", "y/m0:/b"], "kubectl testkit cp x:/a - | kubectl testkit cp - y/m0:/b"),
        (["cp", missing.to_str().unwrap(), "x:/a"], "there is no file or directory"),
        (["cp", "/dev/null", "x:/a"], "neither a file nor a directory"),
    ] {
        let wrong = plugin(&args, &[]);
        assert_eq!((wrong.code, wrong.out.as_str()), (1, ""), "{args:?}");
        assert!(wrong.err.contains(words), "{args:?}: {}", wrong.err);
    }
}

#[test]
fn what_is_for_a_pipe_has_no_colour_and_no_bars() {
    let none = plugin(&["ls"], &[("CLICOLOR_FORCE", "1"), ("TERM", "xterm-256color")]);
    assert!(!none.err.contains('\x1b'), "{:?}", none.err);
}

#[test]
fn completion_scripts_are_what_their_shells_accept() {
    for shell in ["bash", "zsh", "fish"] {
        let script = plugin(&["completion", shell], &[]);
        assert_eq!(script.code, 0);
        assert!(script.out.contains("kubectl-testkit"), "{shell}");
        let file = Scratch::file(shell, &script.out);
        match Command::new(shell).args(["-n", file.path()]).output() {
            Ok(output) => assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr)),
            Err(e) => println!("the script for {shell} was not given to it: {e}"),
        }
    }
}

#[test]
fn kubectl_is_answered_in_the_form_it_reads() {
    let folder = Scratch::folder("complete");
    let link = folder.0.join("kubectl_complete-testkit");
    std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
    let answer = said(Command::new(&link).arg("l").env("KUBECONFIG", "/nonexistent").output().unwrap());
    let lines: Vec<&str> = answer.out.lines().collect();
    let words: Vec<&str> = lines.iter().filter_map(|l| l.split('\t').next()).collect();
    assert_eq!(words, ["ls", "load", "logs", ":4"], "{}", answer.out);
    assert!(lines[0].contains("\tList clusters"), "{}", answer.out);
}

/// Everything that needs an API server, in one test: its parts build on each other.
#[test]
fn against_an_api_server() {
    let Some(bed) = Bed::find() else {
        println!(
            "skipped: TESTKIT_COMPONENT and KUBECONFIG do not name an API server that may be changed (make test does)"
        );
        return;
    };
    if bed.kubectl(&["get", "crd", "swarmclusters.testkit.dev"]).code == 0 {
        println!("skipped one part: the custom resources are installed already");
    } else {
        let unknown = bed.plugin(&["ls"]);
        assert_eq!(unknown.code, 1);
        assert!(unknown.err.contains("testkit is not installed there"), "{}", unknown.err);
        assert!(unknown.err.contains("kubectl apply -k deploy/base"), "{}", unknown.err);
    }
    bed.install();
    versions(&bed);
    let empty = bed.plugin(&["ls"]);
    assert_eq!((empty.code, empty.out.as_str()), (0, ""), "{}", empty.err);
    assert!(empty.err.contains("no clusters and no runs"), "{}", empty.err);

    let made = bed.plugin(&["create", "nightly", "--managers", "3", "--region", "us-east-1", "--ttl", "4h"]);
    assert_eq!((made.code, made.out.as_str()), (0, "swarmcluster.testkit.dev/nightly created\n"), "{}", made.err);
    let twice = bed.plugin(&["create", "nightly", "--region", "us-east-1"]);
    assert!(twice.code == 1 && twice.err.contains("is there already"), "{}", twice.err);
    let even = bed.plugin(&["create", "--managers", "4", "--region", "us-east-1"]);
    assert!(even.code == 1 && even.err.contains("write 1, 3, 5 or 7"), "{}", even.err);
    let dry = bed.plugin(&["create", "dry", "--region", "us-east-1", "--dry-run=server"]);
    assert!(dry.code == 0 && dry.out.contains("t3.medium"), "{}{}", dry.out, dry.err);
    assert_eq!(bed.plugin(&["ls", "-o", "name"]).out, "swarmcluster.testkit.dev/nightly\n");
    let list: serde_json::Value = serde_json::from_str(&bed.plugin(&["ls", "-o", "json"]).out).unwrap();
    assert_eq!((&list["kind"], &list["items"][0]["kind"]), (&"List".into(), &"SwarmCluster".into()));

    for (args, text) in [
        (&["ls", "nightly", "-o", "jsonpath={.metadata.name}"][..], "nightly"),
        (&["ls", "clusters", "-o", "jsonpath={.items[*].spec.managers}"], "3"),
        (&["ls", "runs", "-o", "name"], ""),
        (&["ls", "--field-selector", "metadata.name=other", "-o", "name"], ""),
        (&["ls", "-o", "custom-columns=NAME:.metadata.name,TTL:.spec.ttl", "--no-headers"], "nightly   4h\n"),
        (&["ls", "nope", "nightly", "--ignore-not-found", "-o", "name"], "swarmcluster.testkit.dev/nightly\n"),
        (&["rm", "nightly", "--dry-run"], "swarmcluster.testkit.dev/nightly deleted (dry run)\n"),
        (&["rm", "--all", "--dry-run=server"], "swarmcluster.testkit.dev/nightly deleted (server dry run)\n"),
        (&["events", "nightly", "-o", "name"], ""),
    ] {
        let said = bed.plugin(args);
        assert_eq!((said.code, said.out.as_str()), (0, text), "{args:?}: {}", said.err);
    }
    let absent = bed.plugin(&["ls", "nigthly"]);
    assert!(absent.code == 1 && absent.err.contains("did you mean \"nightly\"?"), "{}", absent.err);
    let other = bed.plugin(&["ls", "--as", "nobody-in-particular"]);
    assert!(other.code == 4 && other.err.contains("nobody-in-particular"), "{}", other.err);
    let late = bed.plugin(&["create", "slow", "--region", "us-east-1", "--wait", "--timeout", "1s"]);
    assert!(late.code == 1 && late.err.contains("is not ready after 1s"), "{}", late.err);
    assert_eq!(bed.plugin(&["rm", "slow", "--wait"]).code, 0);

    let typo = bed.plugin(&["describe", "nigthly"]);
    assert!(
        typo.err.contains("no cluster \"nigthly\"") && typo.err.contains("did you mean \"nightly\"?"),
        "{}",
        typo.err
    );
    let young = bed.plugin(&["ssh", "nightly"]);
    assert!(young.code == 255 && young.err.contains("cluster \"nightly\" is not ready"), "{}", young.err);
    let lost = bed.plugin(&["logs", "nope"]);
    assert!(lost.code == 1 && lost.err.contains("there is no run \"nope\""), "{}", lost.err);
    let nowhere = bed.plugin(&["run", "nigthly", "--image", "e2e"]);
    assert!(nowhere.code == 2 && nowhere.err.contains("did you mean \"nightly\"?"), "{}", nowhere.err);

    for (args, permission) in [
        (&["ls"][..], "list"),
        (&["create", "x", "--region", "us-east-1"], "create swarmclusters.testkit.dev"),
        (&["describe", "nightly"], "get swarmclusters.testkit.dev"),
        (&["rm", "nightly"], "delete swarmclusters.testkit.dev"),
        (&["logs", "x"], "get e2eruns.testkit.dev"),
        (&["rerun", "x"], "get e2eruns.testkit.dev"),
        (&["cp", "nightly:/etc/hosts", "."], "get swarmclusters.testkit.dev"),
        (&["diagnose", "nightly"], "get swarmclusters.testkit.dev"),
        (&["purge", "--older-than", "1h"], "list"),
    ] {
        let refused = bed.plugin_as_nobody(args);
        assert_eq!(refused.code, 4, "{}", refused.err);
        let words = format!("you may not {permission}");
        assert!(refused.err.contains(&words), "{words}: {}", refused.err);
        assert!(refused.err.contains(&bed.namespace) && refused.err.contains("kubectl auth can-i"), "{}", refused.err);
    }

    accounts_without_rights(&bed);
    account_that_may_not_watch(&bed);
    bundle_of_a_young_cluster(&bed);
    ended_run(&bed);

    // One that is not there does not keep the others.
    let gone = bed.plugin(&["rm", "nope", "nightly", "--wait", "--timeout", "1m"]);
    assert_eq!((gone.code, gone.out.as_str()), (1, "swarmcluster.testkit.dev/nightly deleted\n"), "{}", gone.err);
    assert!(gone.err.contains("there is no cluster \"nope\""), "{}", gone.err);
    let gone = bed.plugin(&["rm", "nope", "nightly", "run/nope", "--ignore-not-found"]);
    assert_eq!((gone.code, gone.out.as_str()), (0, ""), "{}", gone.err);
    purging(&bed);
    assert_eq!(bed.plugin(&["ls", "-o", "name"]).out, "");
}

/// A service account that nobody gave a role, and a token that is none.
fn accounts_without_rights(bed: &Bed) {
    assert_eq!(bed.kubectl(&["create", "serviceaccount", "nothing", "-n", &bed.namespace]).code, 0);
    let token = bed.kubectl(&["create", "token", "nothing", "-n", &bed.namespace]);
    assert_eq!(token.code, 0, "{}", token.err);
    for (name, token, words) in [
        ("nothing", token.out.trim(), "you may not list"),
        ("wrong-token", "not-a-token", "does not accept the credentials of context"),
    ] {
        let mut config = bed.config();
        config["users"][0]["user"] = serde_json::json!({"token": token});
        let file = Scratch::file(name, &config.to_string());
        let refused = plugin(&["-n", &bed.namespace, "ls"], &[("KUBECONFIG", file.path())]);
        assert_eq!((refused.code, refused.out.as_str()), (4, ""), "{name}");
        assert!(refused.err.contains(words) && refused.err.contains("try:"), "{name}: {}", refused.err);
    }
}

/// No operator looked at it: that is what the bundle says, and that is no failure.
fn bundle_of_a_young_cluster(bed: &Bed) {
    let folder = Scratch::folder("bundle");
    let target = folder.0.join("bundle");
    let made = bed.plugin(&["diagnose", "nightly", "-o", target.to_str().unwrap()]);
    assert_eq!((made.code, made.out.trim()), (0, target.to_str().unwrap()), "{}", made.err);
    assert!(made.err.contains("the operator has not looked at it yet"), "{}", made.err);
    let summary = fs::read_to_string(target.join("summary.txt")).unwrap();
    assert!(summary.contains("the operator has not looked at it yet"), "{summary}");
    assert!(fs::read_to_string(target.join("swarmcluster.yaml")).unwrap().contains("name: nightly"));
    let again = bed.plugin(&["diagnose", "nightly", "-o", target.to_str().unwrap()]);
    assert!(again.code == 1 && again.err.contains("is there already"), "{}", again.err);
}

/// A run whose cluster and container are gone, with what the operator kept of it.
fn ended_run(bed: &Bed) {
    let junit = "<testsuites><testsuite name=\"e2e\"><testcase classname=\"e2e\" name=\"Good\"/>\
        <testcase classname=\"e2e\" name=\"Bad\"><failure message=\"oh no\">oh no</failure>\
        <system-out>said this</system-out></testcase></testsuite></testsuites>";
    let status = serde_json::json!({
        "phase": "Failed", "message": "1 of 2 cases failed: Bad", "passed": 1, "failed": 1, "results": "old-results",
        "conditions": [{"type": "Failed", "status": "True", "reason": "CasesFailed", "message": "1 of 2 cases failed",
                        "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    });
    bed.apply(&serde_json::json!([
        {"apiVersion": "testkit.dev/v1alpha1", "kind": "E2ERun", "metadata": {"name": "old"},
         "spec": {"clusterRef": {"name": "gone"}, "image": "e2e", "args": ["Services", "--skip", "Lb"]}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "old-results"},
         "binaryData": {"junit.xml.gz": packed(junit), "log.gz": packed("the whole log\n")}},
    ]));
    let patch = serde_json::json!({"status": status}).to_string();
    let patched = bed.kubectl(&[
        "patch",
        "e2erun",
        "old",
        "-n",
        &bed.namespace,
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ]);
    assert_eq!(patched.code, 0, "{}", patched.err);

    assert_eq!(bed.plugin(&["logs", "old"]).out, "the whole log\n");
    assert!(bed.plugin(&["results", "old"]).out.contains("failed   Bad"));
    let case = bed.plugin(&["logs", "old", "--case", "Bad"]);
    assert_eq!(case.out, "Why it failed:\noh no\n\nWhat it wrote:\nsaid this\n", "{}", case.err);
    let typo = bed.plugin(&["logs", "old", "--case", "Goood"]);
    assert!(typo.code == 1 && typo.err.contains("did you mean \"Good\"?"), "{}", typo.err);
    // A person waits for it, so it gives up after two seconds: on a busy machine not each time.
    let mut tries = (0..8).map(|_| bed.complete(&["logs", "old", "--case", ""]));
    let names = tries.find(|names| !names.is_empty()).unwrap_or_default();
    assert_eq!(names, ["Good", "Bad"]);

    history_of_a_run(bed);
    let nowhere = bed.plugin(&["rerun", "old", "--failed"]);
    assert!(nowhere.code == 2 && nowhere.err.contains("no cluster \"gone\""), "{}", nowhere.err);
    assert!(nowhere.err.contains("--cluster NAME"), "{}", nowhere.err);
    let made = bed.plugin(&["rerun", "old", "--failed", "--cluster", "nightly", "--name", "again", "--detach"]);
    assert_eq!((made.code, made.out.as_str()), (0, "e2erun.testkit.dev/again created\n"), "{}", made.err);
    let again = bed.kubectl(&["get", "e2erun", "again", "-n", &bed.namespace, "-o", "json"]).out;
    let again: serde_json::Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["spec"]["args"], serde_json::json!(["Services", "--skip", "Lb"]));
    assert_eq!(again["spec"]["cases"], serde_json::json!(["Bad"]));
    assert_eq!(again["spec"]["clusterRef"]["name"], "nightly");
    assert_eq!(again["metadata"]["labels"]["testkit.dev/rerun-of"], "old");
    assert_eq!(bed.plugin(&["rm", "run/again"]).code, 0);
}

/// What is served says its version, and so does an operator; one that does not fit is no success.
fn versions(bed: &Bed) {
    let version = env!("CARGO_PKG_VERSION");
    let ask = || bed.plugin(&["version", "--operator-namespace", &bed.namespace]);
    // What the definitions say is served a moment after they are.
    let deadline = Instant::now() + bed::SERVED;
    let told = loop {
        let said = ask();
        if said.out.contains("custom resources") || Instant::now() > deadline {
            break said;
        }
    };
    assert_eq!(told.out, format!("kubectl-testkit {version}\ncustom resources {version}\n"), "{}", told.err);
    assert!(told.code == 0 && told.err.contains("the operator's version is not known"), "{}", told.err);
    bed.apply(&serde_json::json!([{"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "testkit-operator-version"}, "data": {"version": "999.0.0"}}]));
    let other = ask();
    assert_eq!(other.code, 1, "{}", other.err);
    assert!(
        other.out.contains("operator 999.0.0") && other.err.contains("install the plugin of 999.0.0"),
        "{}",
        other.err
    );
}

/// One that may make and list, and neither watch nor delete: what it lacks is said, and nothing is waited for.
fn account_that_may_not_watch(bed: &Bed) {
    let group = "rbac.authorization.k8s.io";
    let version = "rbac.authorization.k8s.io/v1";
    bed.apply(&serde_json::json!([
        {"apiVersion": version, "kind": "Role", "metadata": {"name": "lists"}, "rules": [
            {"apiGroups": ["testkit.dev"], "resources": ["swarmclusters", "e2eruns"], "verbs": ["get", "list", "create"]}]},
        {"apiVersion": version, "kind": "RoleBinding", "metadata": {"name": "lists"},
         "roleRef": {"apiGroup": group, "kind": "Role", "name": "lists"},
         "subjects": [{"apiGroup": group, "kind": "User", "name": "lists-only"}]},
    ]));
    let lister = |args: &[&str]| bed.plugin(&[&["--as", "lists-only"], args].concat());
    // The API server takes a moment to go by a new role.
    assert!((0..50).any(|_| lister(&["ls"]).code == 0), "{}", lister(&["ls"]).err);
    for (args, permission) in [
        (&["create", "unwatched", "--region", "us-east-1", "--wait"][..], "watch swarmclusters.testkit.dev"),
        (&["rm", "unwatched"], "delete swarmclusters.testkit.dev"),
        (&["purge", "--older-than", "1s", "--yes"], "delete swarmclusters.testkit.dev"),
    ] {
        let refused = lister(args);
        assert_eq!(refused.code, 4, "{args:?}: {}", refused.err);
        assert!(refused.err.contains(&format!("you may not {permission}")), "{args:?}: {}", refused.err);
    }
    assert_eq!(bed.plugin(&["rm", "unwatched", "--wait"]).code, 0);
}

/// The results of a run are its own by the run's UID alone.
fn history_of_a_run(bed: &Bed) {
    let gone = bed.plugin(&["flakes"]);
    assert!(gone.code == 0 && gone.out.is_empty() && gone.err.contains("of run old are gone"), "{}", gone.err);
    let uid = bed.kubectl(&["get", "e2erun", "old", "-n", &bed.namespace, "-o", "jsonpath={.metadata.uid}"]).out;
    let label = format!("testkit.dev/run-uid={uid}");
    assert_eq!(bed.kubectl(&["label", "configmap", "old-results", "-n", &bed.namespace, &label]).code, 0);
    let flakes = bed.plugin(&["flakes"]);
    assert!(flakes.code == 0 && flakes.out.starts_with("STATE "), "{}{}", flakes.out, flakes.err);
    assert!(flakes.out.contains("\nbroken   0        1        0       0         1      F "), "{}", flakes.out);
    assert_eq!(bed.plugin(&["flakes", "--suite", "e2e:any", "-o", "name"]).out, "case/Bad\n");
    assert_eq!(bed.plugin(&["flakes", "--suite", "other", "-o", "name"]).out, "");
    let json: serde_json::Value = serde_json::from_str(&bed.plugin(&["flakes", "-o", "json"]).out).unwrap();
    assert_eq!(json["items"][0]["case"], serde_json::json!({"name": "Bad", "suite": "e2e", "class": "e2e"}));
}

fn packed(text: &str) -> String {
    use base64::Engine as _;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    base64::engine::general_purpose::STANDARD.encode(gzip.finish().unwrap())
}

/// A cluster that is old enough goes, and a run only where that is asked for.
fn purging(bed: &Bed) {
    assert_eq!(bed.plugin(&["create", "aged", "--region", "us-east-1"]).code, 0);
    let young = bed.plugin(&["purge", "--older-than", "1h", "--yes"]);
    assert!(young.code == 0 && young.out.is_empty() && young.err.contains("Nothing is older"), "{}", young.err);
    let named =
        bed.kubectl(&["wait", "swarmcluster/aged", "-n", &bed.namespace, "--for=jsonpath={.metadata.name}=aged"]);
    assert_eq!(named.code, 0, "{}", named.err);
    // An age counts in whole seconds.
    let dry = loop {
        let dry = bed.plugin(&["purge", "--older-than", "1s", "--dry-run"]);
        if dry.out.contains("aged") {
            break dry;
        }
        assert!(dry.code == 0 && dry.err.contains("Nothing is older"), "{}", dry.err);
    };
    assert!(dry.out.contains("KIND") && !dry.out.contains("old"), "{}", dry.out);
    let unasked = bed.plugin(&["purge", "--older-than", "1s"]);
    assert!(unasked.code == 2 && unasked.err.contains("--yes deletes without asking"), "{}", unasked.err);
    assert_eq!(bed.plugin(&["ls", "-o", "name"]).out, "swarmcluster.testkit.dev/aged\ne2erun.testkit.dev/old\n");
    let other = bed.plugin(&["purge", "--older-than", "1s", "--yes", "-l", "team=net"]);
    assert!(other.err.contains("Nothing is older"), "{}", other.err);
    let gone = bed.plugin(&["purge", "--older-than", "1s", "--yes"]);
    assert_eq!((gone.code, gone.out.as_str()), (0, "swarmcluster.testkit.dev/aged deleted\n"), "{}", gone.err);
    assert_eq!(bed.plugin(&["ls", "-o", "name"]).out, "e2erun.testkit.dev/old\n");
    let runs = bed.plugin(&["purge", "--older-than", "1s", "--yes", "--runs"]);
    assert_eq!((runs.code, runs.out.as_str()), (0, "e2erun.testkit.dev/old deleted\n"), "{}", runs.err);
}
