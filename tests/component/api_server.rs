//! The API server of the tests: our CustomResourceDefinitions on it, and a namespace for each test.
//!
//! It is spoken to through `kubectl`, so that what a test sees is what a person sees.

use std::{
    env,
    io::Write as _,
    process::{Command, Stdio},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long the API server may take to serve kinds that it has established.
const SERVED: Duration = Duration::from_secs(60);
const KINDS: &str = "swarmclusters,e2eruns,e2eschedules,e2ematrices";

const HOW: &str = "these tests change a Kubernetes API server and need one of their own: run `make test`, or\n  \
    testbed/bed up --kubernetes-only && eval \"$(make -s env)\" && TESTKIT_COMPONENT=1 cargo test --test component";

/// A namespace that goes with the test.
pub struct Namespace(String);

impl Namespace {
    /// Makes one, on an API server that knows our resources.
    pub fn new(test: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        install_crds();
        let name = format!("{test}-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        kubectl(&["create", "namespace", &name], None).unwrap();
        Self(name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// `kubectl apply` of one object: the object as it was stored, or what kubectl said.
    pub fn apply(&self, object: &Value) -> Result<Value, String> {
        let text = kubectl(&["apply", "-n", &self.0, "-o", "json", "-f", "-"], Some(object))?;
        Ok(serde_json::from_str(&text).unwrap())
    }

    /// `kubectl get` of one object, such as `swarmcluster/foo`.
    pub fn get(&self, object: &str) -> Result<Value, String> {
        let text = kubectl(&["get", "-n", &self.0, object, "-o", "json"], None)?;
        Ok(serde_json::from_str(&text).unwrap())
    }

    /// A merge patch.
    pub fn patch(&self, object: &str, patch: &Value) -> Result<(), String> {
        let patch = format!("--patch={patch}");
        kubectl(&["patch", "-n", &self.0, object, "--type=merge", &patch], None).map(drop)
    }

    /// Deletes an object.
    pub fn delete(&self, object: &str) -> Result<(), String> {
        kubectl(&["delete", "-n", &self.0, object], None).map(drop)
    }

    /// A merge patch by somebody.
    pub fn patch_as(&self, who: &str, object: &str, patch: &Value) -> Result<(), String> {
        let patch = format!("--patch={patch}");
        kubectl(&["patch", "-n", &self.0, "--as", who, object, "--type=merge", &patch], None).map(drop)
    }

    /// The same without storing anything.
    pub fn try_apply(&self, object: &Value) -> Result<Value, String> {
        let text = kubectl(&["apply", "-n", &self.0, "--dry-run=server", "-o", "json", "-f", "-"], Some(object))?;
        Ok(serde_json::from_str(&text).unwrap())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nothing waits for it: the namespace controller takes it away.
        if let Err(error) = kubectl(&["delete", "namespace", &self.0, "--wait=false"], None) {
            eprintln!("namespace {} stays: {error}", self.0);
        }
    }
}

/// Applies a kustomization of this repository: one at a time, for they have objects in common.
pub fn install(folder: &str) {
    static ONE: Mutex<()> = Mutex::new(());
    install_crds();
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"));
    kubectl(&["apply", "--server-side", "--force-conflicts", "-k", &folder], None).unwrap();
}

/// Whether somebody may do something to `TYPE`, `TYPE/NAME` or `TYPE#SUBRESOURCE` in a namespace, or in all of them (`*`).
pub fn can(who: &str, verb: &str, resource: &str, namespace: &str) -> bool {
    let place = if namespace == "*" { "--all-namespaces".to_owned() } else { format!("--namespace={namespace}") };
    let (resource, subresource) = resource.split_once('#').unwrap_or((resource, ""));
    let subresource = format!("--subresource={subresource}");
    match kubectl(&["auth", "can-i", "--as", who, verb, resource, &subresource, &place], None) {
        Ok(_) => true,
        Err(answer) if answer.is_empty() || answer.starts_with("Warning: resource") => false,
        Err(error) => panic!("kubectl auth can-i {verb} {resource}: {error}"),
    }
}

fn install_crds() {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    let done = DONE.get_or_init(|| {
        assert!(env::var_os("TESTKIT_COMPONENT").is_some() && env::var_os("KUBECONFIG").is_some(), "{HOW}");
        let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
        kubectl(&["apply", "--server-side", "--force-conflicts", "-f", crds], None)?;
        kubectl(&["wait", "--for=condition=Established", "--timeout=90s", "-f", crds], None)?;
        let deadline = Instant::now() + SERVED;
        while let Err(error) = kubectl(&["get", KINDS, "--all-namespaces"], None) {
            if Instant::now() > deadline {
                return Err(error);
            }
        }
        Ok(())
    });
    done.clone().unwrap();
}

fn kubectl(arguments: &[&str], input: Option<&Value>) -> Result<String, String> {
    let mut child = Command::new("kubectl")
        // What another API server at the same address once served must not matter.
        .args(["--cache-dir", concat!(env!("CARGO_TARGET_TMPDIR"), "/kubectl")])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("kubectl: {e}: {HOW}"))?;
    if let Some(input) = input {
        child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
