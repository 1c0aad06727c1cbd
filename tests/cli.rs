//! `kubectl testkit` as a person meets it: the built program, its texts, its exit codes.
//!
//! What needs an API server runs against the one KUBECONFIG names if TESTKIT_COMPONENT says that
//! it may be changed, as `make test` does; without it, that test says so.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]
#![allow(clippy::print_stdout, reason = "what a test could not try is said where its result is")]

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Output},
};

use clap::Command as Clap;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kubectl-testkit");

struct Said {
    code: i32,
    out: String,
    err: String,
}

fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs the plugin with nothing of the caller's environment that would change what it says.
fn plugin(args: &[&str], environment: &[(&str, &str)]) -> Said {
    let mut command = Command::new(PROGRAM);
    for name in ["KUBECONFIG", "DOCKER_HOST", "DOCKER_CONTEXT", "AWS_REGION", "COMPLETE", "KUBERNETES_SERVICE_HOST"] {
        command.env_remove(name);
    }
    said(command.args(args).envs(environment.iter().copied()).env("HOME", "/nonexistent").output().unwrap())
}

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
            let line = line.split(" > ").next().unwrap_or_default();
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
        assert!(unknown.err.contains("kubectl apply -k deploy/"), "{}", unknown.err);
    }
    bed.install();
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
    ] {
        let refused = bed.plugin_as_nobody(args);
        assert_eq!(refused.code, 1, "{}", refused.err);
        let words = format!("you may not {permission}");
        assert!(refused.err.contains(&words), "{words}: {}", refused.err);
        assert!(refused.err.contains(&bed.namespace) && refused.err.contains("kubectl auth can-i"), "{}", refused.err);
    }

    let gone = bed.plugin(&["rm", "nightly", "--wait"]);
    assert_eq!((gone.code, gone.out.as_str()), (0, "swarmcluster.testkit.dev/nightly deleted\n"), "{}", gone.err);
    assert_eq!(bed.plugin(&["ls", "-o", "name"]).out, "");
}

/// A namespace of our own on a test bed's API server; removed in the end.
struct Bed {
    kubeconfig: String,
    namespace: String,
    nobody: Scratch,
}

impl Bed {
    fn find() -> Option<Self> {
        let kubeconfig = env::var("KUBECONFIG").ok()?;
        // Nobody's real cluster shall get custom resources because KUBECONFIG is set.
        env::var_os("TESTKIT_COMPONENT")?;
        let mut config: serde_json::Value = serde_yaml_ng::from_str(&fs::read_to_string(&kubeconfig).unwrap()).unwrap();
        config["users"][0]["user"]["as"] = "nobody-in-particular".into();
        let namespace = format!("cli-{}", std::process::id());
        let bed = Self { kubeconfig, namespace, nobody: Scratch::file("nobody", &config.to_string()) };
        let made = bed.kubectl(&["create", "namespace", &bed.namespace]);
        assert_eq!(made.code, 0, "the test bed's API server does not answer: {}", made.err);
        Some(bed)
    }

    fn install(&self) {
        let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
        let applied = self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", crds]);
        assert_eq!(applied.code, 0, "{}", applied.err);
        let ready = self.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", "-f", crds]);
        assert_eq!(ready.code, 0, "{}", ready.err);
    }

    fn kubectl(&self, args: &[&str]) -> Said {
        said(Command::new("kubectl").args(args).env("KUBECONFIG", &self.kubeconfig).output().unwrap())
    }

    fn plugin(&self, args: &[&str]) -> Said {
        plugin(&[&["-n", &self.namespace], args].concat(), &[("KUBECONFIG", &self.kubeconfig)])
    }

    fn plugin_as_nobody(&self, args: &[&str]) -> Said {
        plugin(&[&["-n", &self.namespace], args].concat(), &[("KUBECONFIG", self.nobody.path())])
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.kubectl(&["delete", "swarmclusters,e2eruns", "--all", "-n", &self.namespace, "--wait=false"]);
        self.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]);
    }
}

/// A file or folder that is gone when the test is.
struct Scratch(PathBuf);

impl Scratch {
    fn folder(name: &str) -> Self {
        let path = env::temp_dir().join(format!("testkit-cli-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(name: &str, text: &str) -> Self {
        let path = env::temp_dir().join(format!("testkit-cli-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("file"), text).unwrap();
        Self(path.join("file"))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let folder = if self.0.is_file() { self.0.parent().map(PathBuf::from) } else { Some(self.0.clone()) };
        if let Some(folder) =
            folder.filter(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with("testkit-cli-")))
        {
            let _ = fs::remove_dir_all(folder);
        }
    }
}
