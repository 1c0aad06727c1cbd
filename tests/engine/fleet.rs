//! Hosts of the bed's EC2 endpoint, up and with their own keys.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use testkit::{
    api::AmiSelector,
    cloud::{
        CloudProvider as _, Instance, Launch, NetworkSpec, Owner, Removal,
        ec2::{Ec2, Ec2Config},
    },
    host::{ClientKey, Host, HostId, HostSeed, HostState, Hosts, Target, Up},
    swarm::Engine,
};
use tokio::sync::Notify;

/// The engine's version, as the bed names its images.
pub fn version() -> String {
    std::env::var("TESTKIT_TEST_ENGINE").unwrap_or_else(|_| "28.5".to_owned())
}

#[derive(Clone)]
pub struct Fleet {
    ec2: Arc<Ec2>,
    owner: Owner,
    hosts: Hosts,
    members: Vec<(HostId, String)>,
}

impl Fleet {
    /// Launches hosts and waits until their engines answer; `None` where there is no bed.
    pub async fn launch(count: u32) -> Option<Self> {
        let Ok(endpoint) = std::env::var("AWS_ENDPOINT_URL_EC2").or_else(|_| std::env::var("AWS_ENDPOINT_URL")) else {
            println!("SKIPPED: no test bed; testbed/bed up && eval \"$(testbed/bed env)\"");
            return None;
        };
        // Real money otherwise.
        assert!(endpoint.contains("//127.0.0.1:"), "{endpoint} is no test bed");
        let config = Ec2Config {
            region: "us-east-1".to_owned(),
            installation: format!("engine-test-{}", std::process::id()),
            credentials: None,
            endpoint: Some(endpoint),
        };
        let uid = format!("engine-test-{}", std::process::id());
        let bell = Arc::new(Notify::new());
        let ring = bell.clone();
        let mut this = Self {
            ec2: Arc::new(Ec2::connect(config).await),
            owner: Owner { uid, name: "test/engine".to_owned() },
            hosts: Hosts::new(Arc::new(move |_| ring.notify_one())),
            members: Vec::new(),
        };
        if let Err(why) = this.boot(count, &bell).await {
            this.end().await;
            panic!("{why}");
        }
        Some(this)
    }

    async fn boot(&mut self, count: u32, bell: &Notify) -> Result<(), String> {
        let begin = Instant::now();
        let (seed, client) = (HostSeed::generate(), ClientKey::generate());
        let network = NetworkSpec { access_cidrs: vec!["0.0.0.0/0".to_owned()], subnets: Vec::new() };
        let network = self.ec2.ensure_network(&self.owner, &network).await.map_err(|e| e.to_string())?;
        for number in 0..count {
            let id = HostId { cluster: self.owner.uid.clone(), slot: format!("m{number}"), incarnation: 0 };
            let launch = self.order(&id, &seed, &client, &network.security_group);
            let instance = self.ec2.launch(&launch).await.map_err(|e| e.to_string())?;
            let address = self.address_of(instance).await?;
            let target = Target::operator(&address, client.clone(), seed.host_key(&id), Some(seed.boot_key(&id)));
            self.hosts.ensure(id.clone(), target);
            self.members.push((id, address));
        }
        let up = async {
            loop {
                let all = self.hosts.of_cluster(&self.owner.uid);
                if all.iter().all(|(_, s)| matches!(s, HostState::Up(Up { engine: true, rotated: true, .. }))) {
                    return;
                }
                bell.notified().await;
            }
        };
        let late = tokio::time::timeout(Duration::from_secs(180), up).await.is_err();
        println!("{count} hosts up after {:.2} s", begin.elapsed().as_secs_f64());
        if late { Err(format!("not up: {:?}", self.hosts.of_cluster(&self.owner.uid))) } else { Ok(()) }
    }

    fn order(&self, id: &HostId, seed: &HostSeed, client: &ClientKey, group: &str) -> Launch {
        let (boot, public) = (seed.boot_key(id).to_openssh().clone(), client.public_line("test"));
        Launch {
            owner: self.owner.clone(),
            slot: id.slot.clone(),
            name: format!("engine-test-{}", id.slot),
            incarnation: id.incarnation,
            image: AmiSelector {
                ssm_parameter: Some(format!("/aws/service/testkit/docker/{}/ami-id", version())),
                ..AmiSelector::default()
            },
            instance_type: "t3.medium".to_owned(),
            subnet: None,
            public_address: false,
            security_groups: vec![group.to_owned()],
            spot: false,
            volume: None,
            instance_profile: None,
            user_data: format!(
                "#!/bin/sh\numask 077\nmkdir -p /root/.ssh\necho '{public}' > /root/.ssh/authorized_keys\n\
                 cat > /etc/ssh/ssh_host_ed25519_key <<'KEY'\n{boot}KEY\n"
            ),
        }
    }

    async fn address_of(&self, instance: Instance) -> Result<String, String> {
        let begin = Instant::now();
        let mut found = Some(instance.clone());
        while begin.elapsed() < Duration::from_secs(60) {
            if let Some(address) = found.and_then(|i| i.private_address) {
                return Ok(address);
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            let all = self.ec2.list().await.map_err(|e| e.to_string())?;
            found = all.into_iter().find(|i| i.id == instance.id);
        }
        Err(format!("{} has no address", instance.id))
    }

    fn up(&self, index: usize) -> Up {
        match self.hosts.state(&self.members[index].0) {
            Some(HostState::Up(up)) => up,
            other => panic!("{}: {other:?}", self.members[index].0),
        }
    }

    pub fn host(&self, index: usize) -> Host {
        self.up(index).host
    }

    pub fn engine(&self, index: usize) -> Engine {
        Engine::new(&self.host(index))
    }

    pub async fn bulk(&self, index: usize) -> Host {
        self.hosts.bulk(&self.members[index].0).await.unwrap()
    }

    pub fn address(&self, index: usize) -> &str {
        &self.members[index].1
    }

    /// Ends the hosts and removes their network.
    pub async fn end(&self) {
        self.hosts.retain(&self.owner.uid, &[]);
        let ours = self.ec2.list().await.unwrap();
        let ids: Vec<_> = ours.into_iter().map(|i| i.id).collect();
        self.ec2.terminate(&ids).await.unwrap();
        while self.ec2.delete_network(&self.owner).await.unwrap() != Removal::Gone {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}
