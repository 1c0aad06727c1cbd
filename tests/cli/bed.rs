//! The built plugin as a process, and an API server for it: what the tests of `cli.rs` look through.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Output},
    time::{Duration, Instant},
};

/// The built plugin.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_kubectl-testkit");

/// How long the API server may take to serve kinds that it has established.
pub const SERVED: Duration = Duration::from_secs(60);
const KINDS: &str = "swarmclusters,e2eruns,e2eschedules,e2ematrices";

/// What a program said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Reads it.
pub fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs the plugin with nothing of the caller's environment that would change what it says.
pub fn plugin(args: &[&str], environment: &[(&str, &str)]) -> Said {
    let mut command = Command::new(PROGRAM);
    for name in ["KUBECONFIG", "DOCKER_HOST", "DOCKER_CONTEXT", "AWS_REGION", "COMPLETE", "KUBERNETES_SERVICE_HOST"] {
        command.env_remove(name);
    }
    said(command.args(args).envs(environment.iter().copied()).env("HOME", "/nonexistent").output().unwrap())
}

/// A namespace of our own on a test bed's API server; removed in the end.
pub struct Bed {
    kubeconfig: String,
    pub namespace: String,
    nobody: Scratch,
}

impl Bed {
    pub fn find() -> Option<Self> {
        let kubeconfig = env::var("KUBECONFIG").ok()?;
        // Nobody's real cluster shall get custom resources because KUBECONFIG is set.
        env::var_os("TESTKIT_COMPONENT")?;
        let mut config = read_config(&kubeconfig);
        config["users"][0]["user"]["as"] = "nobody-in-particular".into();
        let namespace = format!("cli-{}", std::process::id());
        let bed = Self { kubeconfig, namespace, nobody: Scratch::file("nobody", &config.to_string()) };
        let made = bed.kubectl(&["create", "namespace", &bed.namespace]);
        assert_eq!(made.code, 0, "the test bed's API server does not answer: {}", made.err);
        Some(bed)
    }

    pub fn config(&self) -> serde_json::Value {
        read_config(&self.kubeconfig)
    }

    pub fn apply(&self, items: &serde_json::Value) {
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
        let file = Scratch::file("objects", &list.to_string());
        let applied = self.kubectl(&["apply", "-n", &self.namespace, "-f", file.path()]);
        assert_eq!(applied.code, 0, "{}", applied.err);
    }

    /// What kubectl is offered for the last word.
    pub fn complete(&self, words: &[&str]) -> Vec<String> {
        let folder = Scratch::folder("offered");
        let link = folder.0.join("kubectl_complete-testkit");
        std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
        let mut command = Command::new(&link);
        command.args(["-n", &self.namespace]).args(words).env("KUBECONFIG", &self.kubeconfig);
        let answer = said(command.output().unwrap());
        answer.out.lines().filter(|line| !line.starts_with(':')).map(str::to_owned).collect()
    }

    pub fn install(&self) {
        let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
        let applied = self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", crds]);
        assert_eq!(applied.code, 0, "{}", applied.err);
        let ready = self.kubectl(&["wait", "--for=condition=Established", "--timeout=90s", "-f", crds]);
        assert_eq!(ready.code, 0, "{}", ready.err);
        let deadline = Instant::now() + SERVED;
        loop {
            let served = self.kubectl(&["get", KINDS, "--all-namespaces"]);
            if served.code == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "{}", served.err);
        }
    }

    pub fn kubectl(&self, args: &[&str]) -> Said {
        said(Command::new("kubectl").args(args).env("KUBECONFIG", &self.kubeconfig).output().unwrap())
    }

    pub fn plugin(&self, args: &[&str]) -> Said {
        plugin(&[&["-n", &self.namespace], args].concat(), &[("KUBECONFIG", &self.kubeconfig)])
    }

    pub fn plugin_as_nobody(&self, args: &[&str]) -> Said {
        plugin(&[&["-n", &self.namespace], args].concat(), &[("KUBECONFIG", self.nobody.path())])
    }
}

fn read_config(path: &str) -> serde_json::Value {
    serde_yaml_ng::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.kubectl(&["delete", "swarmclusters,e2eruns", "--all", "-n", &self.namespace, "--wait=false"]);
        self.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]);
    }
}

/// A file or folder that is gone when the test is.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn folder(name: &str) -> Self {
        let path = env::temp_dir().join(format!("testkit-cli-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn file(name: &str, text: &str) -> Self {
        let path = env::temp_dir().join(format!("testkit-cli-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("file"), text).unwrap();
        Self(path.join("file"))
    }

    pub fn path(&self) -> &str {
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
