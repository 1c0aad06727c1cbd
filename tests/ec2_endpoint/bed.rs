//! An EC2 endpoint for one test: the test bed's own, without hosts.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use testkit::{
    api::AmiSelector,
    cloud::{
        CloudProvider, Instance, InstanceState, Launch, NetworkSpec, Owner, StaticCredentials,
        ec2::{Ec2, Ec2Config},
    },
};

pub const IMAGE: &str = "/aws/service/testkit/docker/28.5/ami-id";
pub const REGION: &str = "us-east-1";

/// What the policy is for, and the tag of everything that is made.
const INSTALLATION: &str = "test";

pub struct Bed {
    child: Child,
    run: PathBuf,
    pub url: String,
    /// Those of a user with the policy that is shipped.
    keys: StaticCredentials,
}

impl Bed {
    /// `None`, with the reason said, where the endpoint cannot be had.
    pub fn start() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let Ok(python) = std::env::var("TESTBED_PYTHON") else {
            println!("SKIPPED: TESTBED_PYTHON names no python with testbed/requirements.txt installed");
            return None;
        };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let run = std::env::temp_dir().join(format!("testkit-ec2-{}-{number}", std::process::id()));
        let testbed = concat!(env!("CARGO_MANIFEST_DIR"), "/testbed");
        let path = std::env::var("PYTHONPATH").map_or(testbed.to_owned(), |p| format!("{testbed}:{p}"));
        // Ends with the test, also with one that is killed.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", &python, "-m", "ec2", "--no-hosts", "--port", "0", "--namespace", "ec2-test"])
            .arg("--run")
            .arg(&run)
            .env("PYTHONPATH", path)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv of util-linux starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("ready ").expect("the endpoint says where it is").to_owned();
        let policy = include_str!("../../deploy/iam-policy.json").replace("INSTALLATION", INSTALLATION);
        let user = ask(&url, "PUT", "/_bed/users/operator", &policy);
        // What is told to end as soon as it is launched would not be known yet; who looks at that says so.
        ask(&url, "PUT", "/_bed/knobs", &serde_json::json!({"visible_after_s": 0}).to_string());
        let key = |name: &str| user[name].as_str().unwrap().to_owned();
        let keys = StaticCredentials {
            access_key_id: key("accessKeyId"),
            secret_access_key: key("secretAccessKey"),
            session_token: None,
        };
        Some(Self { child, run, url, keys })
    }

    /// A client as the operator makes one at its start, which remembers nothing, with the policy that is shipped.
    pub async fn ec2(&self) -> Ec2 {
        Ec2::connect(Ec2Config {
            region: REGION.to_owned(),
            installation: INSTALLATION.to_owned(),
            credentials: Some(self.keys.clone()),
            endpoint: Some(self.url.clone()),
        })
        .await
    }

    /// A plain client that may do everything, to look with and to meddle with.
    pub async fn sdk(&self) -> aws_sdk_ec2::Client {
        let keys = aws_sdk_ec2::config::Credentials::new("testbed", "testbed", None, None, "test");
        let loader = aws_config::defaults(aws_config::BehaviorVersion::v2026_01_12()).region(REGION);
        aws_sdk_ec2::Client::new(&loader.credentials_provider(keys).endpoint_url(&self.url).load().await)
    }

    pub fn knobs(&self, knobs: &serde_json::Value) {
        ask(&self.url, "PUT", "/_bed/knobs", &knobs.to_string());
    }

    /// How often an action was called.
    pub fn calls(&self, action: &str) -> u64 {
        ask(&self.url, "GET", "/_bed/calls", "")[action].as_u64().unwrap_or(0)
    }

    /// Every call there was.
    pub fn all_calls(&self) -> u64 {
        let calls = ask(&self.url, "GET", "/_bed/calls", "");
        calls.as_object().unwrap().values().filter_map(serde_json::Value::as_u64).sum()
    }

    /// The ids of all instances there ever were, as the endpoint itself knows them.
    pub fn instances(&self) -> Vec<String> {
        let all = ask(&self.url, "GET", "/_bed/instances?all=1", "");
        all.as_array().unwrap().iter().map(|i| i["id"].as_str().unwrap().to_owned()).collect()
    }
}

fn ask(url: &str, method: &str, path: &str, body: &str) -> serde_json::Value {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{method} {path}: {answer}");
    serde_json::from_str(body).unwrap()
}

impl Drop for Bed {
    fn drop(&mut self) {
        let stopped = Command::new("kill").arg(self.child.id().to_string()).status().is_ok_and(|s| s.success());
        if !stopped {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.run);
    }
}

pub fn owner() -> Owner {
    Owner { uid: "0c8b1d5e-6f0a-4d0c-9d5f-2f1f6f3f0a01".to_owned(), name: "default/foo".to_owned() }
}

pub fn network() -> NetworkSpec {
    NetworkSpec { access_cidrs: vec!["203.0.113.0/24".to_owned(), "2001:db8::/32".to_owned()], subnets: vec![] }
}

/// The launch of a slot, with the cluster's network in place.
pub async fn launch(ec2: &Ec2, slot: &str) -> Launch {
    let group = ec2.ensure_network(&owner(), &network()).await.unwrap().security_group;
    Launch {
        owner: owner(),
        slot: slot.to_owned(),
        name: format!("foo-{slot}"),
        incarnation: 0,
        image: AmiSelector { ssm_parameter: Some(IMAGE.to_owned()), ..AmiSelector::default() },
        instance_type: "t3.medium".to_owned(),
        subnet: None,
        public_address: false,
        security_groups: vec![group],
        spot: false,
        volume: None,
        instance_profile: None,
        user_data: "#!/bin/sh\ntrue\n".to_owned(),
    }
}

/// Lists until an instance is in a state, as the inventory would.
pub async fn until(ec2: &Ec2, id: &str, state: InstanceState) -> Instance {
    let patience = Instant::now() + Duration::from_secs(90);
    loop {
        let listed = ec2.list().await.unwrap();
        if let Some(found) = listed.iter().find(|i| i.id == id && i.state == state) {
            return found.clone();
        }
        assert!(Instant::now() < patience, "{id} does not become {state:?}: {listed:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
