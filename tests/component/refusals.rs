//! What the API server refuses, and in which words.

use serde_json::{Value, json};

use super::{
    api_server::Namespace,
    objects::{cluster, ec2, hosts, machine, merged, run},
};

/// A wrong spec: what is wrong with it, what is changed in the right one (as a JSON merge
/// patch), and the words of the refusal that say where, and what to write instead.
pub type Wrong = (&'static str, Value, &'static [&'static str]);

#[test]
fn wrong_clusters_are_refused_with_what_to_write() {
    refuses(
        &cluster(),
        &[
            ("even managers", json!({"spec": {"managers": 4}}), &["spec.managers", "write 1, 3, 5 or 7"]),
            ("no managers", json!({"spec": {"managers": 0}}), &["spec.managers", "write 1, 3, 5 or 7"]),
            ("too many managers", json!({"spec": {"managers": 9}}), &["spec.managers", "write 1, 3, 5 or 7"]),
            ("managers in letters", json!({"spec": {"managers": "three"}}), &["spec.managers", "integer"]),
            ("negative workers", json!({"spec": {"workers": -1}}), &["spec.workers", "from 0 to 100"]),
            ("too many workers", json!({"spec": {"workers": 101}}), &["spec.workers", "from 0 to 100"]),
            ("no provider", json!({"spec": {"provider": null}}), &["provider: {ec2: {region: us-east-1}}"]),
            (
                "an empty provider",
                json!({"spec": {"provider": {"ec2": null}}}),
                &["provider: {ec2: {region: us-east-1}}"],
            ),
            (
                "two providers",
                merged(&hosts(&json!({})), &json!({"spec": {"provider": {"ec2": {"region": "us-east-1"}}}})),
                &["spec.provider", "exactly one provider"],
            ),
            (
                "machines without a key",
                hosts(&json!({"secretRef": null})),
                &["spec.provider.hosts", "secretRef: {name: lab-ssh}"],
            ),
            (
                "no machines",
                hosts(&json!({"machines": null})),
                &["spec.provider.hosts.machines", "1, 3, 5 or 7 are managers"],
            ),
            (
                "machines without a manager",
                machine(&json!({"role": "Worker"})),
                &["spec.provider.hosts.machines", "1, 3, 5 or 7 are managers"],
            ),
            (
                "two managers",
                hosts(&json!({"machines": [
                    {"name": "alpha", "address": "10.0.0.1", "role": "Manager"},
                    {"name": "beta", "address": "10.0.0.2", "role": "Manager"},
                ]})),
                &["spec.provider.hosts.machines", "1, 3, 5 or 7 are managers"],
            ),
            (
                "a machine under two names",
                hosts(&json!({"machines": [
                    {"name": "alpha", "address": "10.0.0.1", "role": "Manager"},
                    {"name": "beta", "address": "10.0.0.1", "role": "Worker"},
                ]})),
                &["spec.provider.hosts.machines", "write each machine once"],
            ),
            (
                "two machines of a name",
                hosts(&json!({"machines": [
                    {"name": "alpha", "address": "10.0.0.1", "role": "Manager"},
                    {"name": "alpha", "address": "10.0.0.2", "role": "Worker"},
                ]})),
                &["spec.provider.hosts.machines", "Duplicate value"],
            ),
            ("a machine without a name", machine(&json!({"name": null})), &["spec.provider.hosts.machines", "name"]),
            (
                "a machine without a role",
                machine(&json!({"role": null})),
                &["spec.provider.hosts.machines", "write role: Manager or role: Worker"],
            ),
            (
                "a machine without an address",
                machine(&json!({"address": null})),
                &["spec.provider.hosts.machines", "address: 10.0.0.5"],
            ),
            (
                "a role of its own",
                machine(&json!({"role": "Leader"})),
                &["spec.provider.hosts.machines", "\"Manager\", \"Worker\""],
            ),
            (
                "a machine's name in capitals",
                machine(&json!({"name": "Alpha"})),
                &["spec.provider.hosts.machines", "lower-case letters, digits and dashes"],
            ),
            (
                "a port in the address",
                machine(&json!({"address": "10.0.0.1/22"})),
                &["spec.provider.hosts.machines", "without a port"],
            ),
            (
                "a name for an address that others reach",
                machine(&json!({"address": "lab-1.example.com"})),
                &["spec.provider.hosts.machines", "write privateAddress beside an address that is a name"],
            ),
            (
                "a name for a private address",
                machine(&json!({"privateAddress": "lab-1"})),
                &["spec.provider.hosts.machines", "write an IP address"],
            ),
            (
                "a port that is none",
                machine(&json!({"port": 70000})),
                &["spec.provider.hosts.machines", "from 1 to 65535"],
            ),
            (
                "a user with a blank",
                machine(&json!({"user": "a b"})),
                &["spec.provider.hosts.machines", "root or ubuntu"],
            ),
            (
                "a jump host without an address",
                hosts(&json!({"jumpHost": {"port": 22}})),
                &["spec.provider.hosts.jumpHost", "write the jump host's address"],
            ),
            (
                "a jump host with a login in its address",
                hosts(&json!({"jumpHost": {"address": "me@bastion"}})),
                &["spec.provider.hosts.jumpHost.address", "write an IP address or a name"],
            ),
            (
                "more managers than machines",
                merged(&hosts(&json!({})), &json!({"spec": {"managers": 5}})),
                &["leave managers and workers out"],
            ),
            (
                "workers that are no machines",
                merged(&hosts(&json!({})), &json!({"spec": {"workers": 2}})),
                &["leave managers and workers out"],
            ),
            (
                "an engine for machines that have theirs",
                merged(&hosts(&json!({})), &json!({"spec": {"engine": {"version": "28.5"}}})),
                &["spec.engine", "write installEngine: true"],
            ),
            (
                "a provider of another name",
                json!({"spec": {"provider": {"gce": {}}}}),
                &["unknown field \"spec.provider.gce\""],
            ),
            (
                "a CIDR without a length",
                json!({"spec": {"accessCIDRs": ["10.0.0.1"]}}),
                &["spec.accessCIDRs", "203.0.113.7/32"],
            ),
            (
                "a CIDR out of range",
                json!({"spec": {"accessCIDRs": ["10.0.0.0/8", "300.0.0.0/8"]}}),
                &["spec.accessCIDRs", "203.0.113.0/24"],
            ),
            ("nobody may reach it", json!({"spec": {"accessCIDRs": []}}), &["spec.accessCIDRs", "203.0.113.0/24"]),
            (
                "a jump host with an option",
                json!({"spec": {"access": {"jumpHost": "-oProxyCommand=x"}}}),
                &["spec.access.jumpHost", "me@10.0.0.5:2222"],
            ),
            (
                "jump hosts with spaces",
                json!({"spec": {"access": {"jumpHost": "a, b"}}}),
                &["spec.access.jumpHost", "several by comma, without spaces"],
            ),
            ("a ttl in days", json!({"spec": {"ttl": "1d"}}), &["spec.ttl", "90s, 30m, 4h or 1h30m"]),
            ("a ttl of nothing", json!({"spec": {"ttl": "0s"}}), &["spec.ttl", "90s, 30m, 4h or 1h30m"]),
            ("an empty ttl", json!({"spec": {"ttl": ""}}), &["spec.ttl", "90s, 30m, 4h or 1h30m"]),
            ("a negative ttl", json!({"spec": {"ttl": "-1h"}}), &["spec.ttl", "90s, 30m, 4h or 1h30m"]),
            ("no region", ec2(json!({"region": null})), &["spec.provider.ec2", "region: us-east-1"]),
            (
                "a zone for a region",
                ec2(json!({"region": "us-east-1a"})),
                &["spec.provider.ec2.region", "us-east-1 or eu-central-1"],
            ),
            (
                "a malformed AMI",
                ec2(json!({"ami": {"id": "ami-xyz"}})),
                &["spec.provider.ec2.ami.id", "ami-0123456789abcdef0"],
            ),
            (
                "an AMI two ways",
                ec2(json!({"ami": {"id": "ami-0123456789abcdef0", "name": "ubuntu-*"}})),
                &["spec.provider.ec2.ami", "exactly one way: id, ssmParameter or name"],
            ),
            ("an AMI no way", ec2(json!({"ami": {}})), &["spec.provider.ec2.ami", "exactly one way"]),
            (
                "an AMI by id and owner",
                ec2(json!({"ami": {"id": "ami-0123456789abcdef0", "owner": "self"}})),
                &["spec.provider.ec2.ami", "owner only beside name"],
            ),
            (
                "an AMI's owner by name",
                ec2(json!({"ami": {"name": "ubuntu-*", "owner": "canonical"}})),
                &["spec.provider.ec2.ami.owner", "12 digits, self, amazon"],
            ),
            (
                "a relative SSM parameter",
                ec2(json!({"ami": {"ssmParameter": "ubuntu/ami-id"}})),
                &["spec.provider.ec2.ami.ssmParameter", "/aws/service/canonical/"],
            ),
            ("no instance type", ec2(json!({"instanceTypes": []})), &["spec.provider.ec2.instanceTypes", "t3.medium"]),
            (
                "an instance family",
                ec2(json!({"instanceTypes": ["t3.medium", "t3"]})),
                &["spec.provider.ec2.instanceTypes", "t3.medium"],
            ),
            (
                "a malformed subnet",
                ec2(json!({"subnets": ["subnet-0123456789abcdef0", "10.0.0.0/24"]})),
                &["spec.provider.ec2.subnets", "subnet-0123456789abcdef0"],
            ),
            (
                "a security group by name",
                ec2(json!({"securityGroups": ["default"]})),
                &["spec.provider.ec2.securityGroups", "sg-0123456789abcdef0"],
            ),
            (
                "spot for managers alone",
                ec2(json!({"spotManagers": true})),
                &["spec.provider.ec2.spotManagers", "write spot: true beside"],
            ),
            (
                "an address kind of its own",
                ec2(json!({"connectTo": "IPv6"})),
                &["spec.provider.ec2.connectTo", "\"Private\", \"Public\""],
            ),
            (
                "a small volume",
                ec2(json!({"volume": {"sizeGiB": 1}})),
                &["spec.provider.ec2.volume.sizeGiB", "from 8 to 16384"],
            ),
            (
                "a volume type of its own",
                ec2(json!({"volume": {"sizeGiB": 20, "type": "ssd"}})),
                &["spec.provider.ec2.volume.type", "gp3"],
            ),
            (
                "a bad engine version",
                json!({"spec": {"engine": {"version": "latest"}}}),
                &["spec.engine.version", "28.5 or 28.5.2"],
            ),
            (
                "an http install script",
                json!({"spec": {"engine": {"installScript": "http://example.com/"}}}),
                &["spec.engine.installScript", "https://"],
            ),
            (
                "an install script in words",
                json!({"spec": {"engine": {"installScript": "https://example.com/a b"}}}),
                &["spec.engine.installScript", "https://"],
            ),
            (
                "an address pool as a word",
                json!({"spec": {"engine": {"addressPools": ["10.200.0.0"]}}}),
                &["spec.engine.addressPools", "10.200.0.0/16"],
            ),
            (
                "an address pool with host bits",
                json!({"spec": {"engine": {"addressPools": ["10.200.7.1/16"]}}}),
                &["spec.engine.addressPools", "nothing beyond the prefix"],
            ),
            (
                "an address pool of IPv6",
                json!({"spec": {"engine": {"addressPools": ["fd00::/48"]}}}),
                &["spec.engine.addressPools", "IPv4"],
            ),
            (
                "address pools that overlap",
                json!({"spec": {"engine": {"addressPools": ["10.200.0.0/16", "10.200.128.0/17"]}}}),
                &["spec.engine.addressPools", "do not overlap"],
            ),
            (
                "an address pool twice",
                json!({"spec": {"engine": {"addressPools": ["10.200.0.0/16", "10.200.0.0/16"]}}}),
                &["spec.engine.addressPools", "do not overlap"],
            ),
            (
                "an address pool smaller than a subnet",
                json!({"spec": {"engine": {"addressPools": ["10.200.0.0/25"]}}}),
                &["spec.engine.addressPools", "at least one subnet"],
            ),
            (
                "a subnet size larger than a pool",
                json!({"spec": {"engine": {"addressPools": ["10.200.0.0/20"], "subnetSize": 16}}}),
                &["spec.engine.addressPools", "at least one subnet"],
            ),
            (
                "a subnet without room",
                json!({"spec": {"engine": {"addressPools": ["10.200.0.0/20"], "subnetSize": 30}}}),
                &["spec.engine.subnetSize", "from 8 to 29"],
            ),
            (
                "a subnet size by itself",
                json!({"spec": {"engine": {"subnetSize": 26}}}),
                &["spec.engine.subnetSize", "only beside addressPools"],
            ),
            (
                "a boot timeout without a unit",
                json!({"spec": {"bootTimeout": "300"}}),
                &["spec.bootTimeout", "90s, 30m, 4h or 1h30m"],
            ),
            (
                "no time to boot",
                json!({"spec": {"bootTimeout": "5s"}}),
                &["spec.bootTimeout", "from 30s to 1h, such as 5m"],
            ),
            (
                "more time to boot than anybody waits",
                json!({"spec": {"bootTimeout": "1h1s"}}),
                &["spec.bootTimeout", "from 30s to 1h, such as 5m"],
            ),
            (
                "no time to come back",
                json!({"spec": {"unhealthyAfter": "5s"}}),
                &["spec.unhealthyAfter", "from 30s to 1h, such as 2m"],
            ),
            (
                "an update that could never begin",
                json!({"spec": {"update": {"maxSurge": 0, "maxUnavailable": 0}}}),
                &["spec.update", "write a maxSurge or a maxUnavailable of at least 1"],
            ),
            (
                "an update of everything and more",
                json!({"spec": {"update": {"maxSurge": 101}}}),
                &["spec.update.maxSurge", "from 0 to 100"],
            ),
            (
                "a recovery of its own",
                json!({"spec": {"recovery": "Always"}}),
                &["spec.recovery", "\"None\", \"ForceNewCluster\", \"Recreate\""],
            ),
            (
                "a region of four numbers",
                ec2(json!({"region": "us-east-1234"})),
                &["spec.provider.ec2.region", "us-east-1"],
            ),
            ("an availability zone", ec2(json!({"region": "us-east-1a"})), &["spec.provider.ec2.region", "us-east-1"]),
            (
                "a daemon.json as text",
                json!({"spec": {"engine": {"daemonJson": "{}"}}}),
                &["spec.engine.daemonJson", "object"],
            ),
            ("an unknown field", json!({"spec": {"worker": 2}}), &["unknown field \"spec.worker\""]),
            (
                "a name that begins with a digit",
                json!({"metadata": {"name": "3nodes"}}),
                &["metadata.name", "a letter first"],
            ),
            (
                "a name with a dot",
                json!({"metadata": {"name": "foo.bar"}}),
                &["metadata.name", "lower-case letters, digits and dashes"],
            ),
            ("a long name", json!({"metadata": {"name": "n".repeat(41)}}), &["metadata.name", "at most 40"]),
            ("no spec", json!({"spec": null}), &["spec", "Required value"]),
        ],
    );
}

#[test]
fn wrong_runs_are_refused_with_what_to_write() {
    let template = json!({"spec": cluster()["spec"]});
    refuses(
        &run(),
        &[
            ("no image", json!({"spec": {"image": null}}), &["image: dockerswarm/e2e:latest"]),
            (
                "more retries than there may be",
                json!({"spec": {"retries": {"failedCases": 6}}}),
                &["spec.retries.failedCases", "from 0 to 5"],
            ),
            (
                "fewer than none",
                json!({"spec": {"retries": {"infrastructure": -1}}}),
                &["spec.retries.infrastructure", "from 0 to 5"],
            ),
            (
                "failed cases where none are counted",
                json!({"spec": {"retries": {"failedCases": 1}, "results": {"format": "ExitCode"}}}),
                &["spec.retries.failedCases", "ExitCode counts none"],
            ),
            (
                "a filter of nothing",
                json!({"spec": {"retries": {"filter": {}}}}),
                &["spec.retries.filter", "tool: Pytest", "{names}"],
            ),
            (
                "a filter of both",
                json!({"spec": {"retries": {"filter": {"tool": "Jest", "args": ["{names}"]}}}}),
                &["spec.retries.filter", "and not both"],
            ),
            (
                "a template without names",
                json!({"spec": {"retries": {"filter": {"args": ["--grep"]}}}}),
                &["spec.retries.filter.args", "write {names}"],
            ),
            (
                "a tool with a separator",
                json!({"spec": {"retries": {"filter": {"tool": "Jest", "separator": "|"}}}}),
                &["spec.retries.filter", "separator and escape only beside args"],
            ),
            (
                "a tool nobody knows",
                json!({"spec": {"retries": {"filter": {"tool": "Make"}}}}),
                &["Unsupported value: \"Make\""],
            ),
            (
                "a quarantine without an owner and an end",
                json!({"spec": {"quarantine": [{"name": "TestDrain"}]}}),
                &["spec.quarantine[0]", "{name: TestDrain, owner: net-team, until: \"2026-12-24\"}"],
            ),
            (
                "a quarantine of nothing",
                json!({"spec": {"quarantine": [{"name": "", "owner": "me", "until": "2026-12-24"}]}}),
                &["spec.quarantine[0].name", "such as TestDrain"],
            ),
            (
                "a quarantine of nobody's",
                json!({"spec": {"quarantine": [{"name": "a", "owner": " ", "until": "2026-12-24"}]}}),
                &["spec.quarantine[0].owner", "such as net-team"],
            ),
            (
                "a quarantine until one day",
                json!({"spec": {"quarantine": [{"name": "a", "owner": "me", "until": "soon"}]}}),
                &["spec.quarantine[0].until", "2026-12-24T18:00:00Z"],
            ),
            (
                "a quarantine until a time in no zone",
                json!({"spec": {"quarantine": [{"name": "a", "owner": "me", "until": "2026-12-24T18:00:00"}]}}),
                &["spec.quarantine[0].until", "2026-12-24T18:00:00Z"],
            ),
            (
                "a quarantine until a day that its month does not have",
                json!({"spec": {"quarantine": [{"name": "a", "owner": "me", "until": "2026-02-30"}]}}),
                &["spec.quarantine[0].until", "2026-12-24T18:00:00Z"],
            ),
            (
                "a quarantine of more than is one",
                json!({"spec": {"quarantine": (0..101).map(|n| json!({"name": format!("n{n}"), "owner": "me", "until": "2026-12-24"})).collect::<Vec<_>>()}}),
                &["spec.quarantine", "100"],
            ),
            (
                "a quarantine where no cases are counted",
                json!({"spec": {"quarantine": [{"name": "a", "owner": "me", "until": "2026-12-24"}], "results": {"format": "ExitCode"}}}),
                &["spec.quarantine", "ExitCode counts none"],
            ),
            ("an empty image", json!({"spec": {"image": ""}}), &["spec.image", "dockerswarm/e2e:latest"]),
            ("no shards", json!({"spec": {"shards": 0}}), &["spec.shards", "from 1 to 32"]),
            ("33 shards", json!({"spec": {"shards": 33}}), &["spec.shards", "from 1 to 32"]),
            (
                "a shard of shards",
                json!({"spec": {"shards": 4, "shard": {"index": 1, "total": 2}}}),
                &["spec.shard", "shards for a run whose cases are divided"],
            ),
            (
                "shards of several runs",
                json!({"spec": {"shards": 4, "dedupeKey": "main"}}),
                &["spec.dedupeKey", "write no dedupeKey beside shards"],
            ),
            (
                "shards of a few cases",
                json!({"spec": {"shards": 4, "cases": ["a"]}}),
                &["spec.cases", "write no cases beside shards"],
            ),
            ("a case without a name", json!({"spec": {"cases": ["a", ""]}}), &["spec.cases", "write names of cases"]),
            (
                "shards with a quarantine",
                json!({"spec": {"shards": 4, "quarantine": [{"name": "a", "owner": "net-team", "until": "2126-12-24"}]}}),
                &["spec.quarantine", "write no quarantine beside shards"],
            ),
            (
                "shards without cases",
                json!({"spec": {"shards": 4, "results": {"format": "ExitCode"}}}),
                &["spec.shards", "only where cases are counted"],
            ),
            (
                "a fifth of four",
                json!({"spec": {"shard": {"index": 5, "total": 4}}}),
                &["spec.shard", "{index: 2, total: 4}"],
            ),
            ("a shard of nothing", json!({"spec": {"shard": {"index": 1}}}), &["spec.shard", "{index: 2, total: 4}"]),
            (
                "a key in words",
                json!({"spec": {"dedupeKey": "the main branch"}}),
                &["spec.dedupeKey", "such as main-3f2a19c0"],
            ),
            (
                "an image in capitals",
                json!({"spec": {"image": "DockerSwarm/E2E"}}),
                &["spec.image", "dockerswarm/e2e:latest"],
            ),
            (
                "an image with a blank",
                json!({"spec": {"image": "e2e latest"}}),
                &["spec.image", "dockerswarm/e2e:latest"],
            ),
            (
                "an image with half a digest",
                json!({"spec": {"image": "e2e@sha256:abc"}}),
                &["spec.image", "dockerswarm/e2e:latest"],
            ),
            (
                "no cluster",
                json!({"spec": {"clusterRef": null}}),
                &["clusterRef: {name: foo}", "clusterTemplate: {spec:"],
            ),
            ("a cluster twice", json!({"spec": {"clusterTemplate": template}}), &["and not both"]),
            (
                "a template without a spec",
                json!({"spec": {"clusterRef": null, "clusterTemplate": {"metadata": {"labels": {"a": "b"}}}}}),
                &["spec.clusterTemplate", "provider: {ec2: {region: us-east-1}}"],
            ),
            (
                "a template of a wrong cluster",
                json!({"spec": {"clusterRef": null, "clusterTemplate": merged(&template, &json!({"spec": {"managers": 4}}))}}),
                &["spec.clusterTemplate.spec.managers", "write 1, 3, 5 or 7"],
            ),
            (
                "a template with a wrong label",
                json!({"spec": {"clusterRef": null, "clusterTemplate": merged(&template, &json!({"metadata": {"labels": {"team": "a b"}}}))}}),
                &["spec.clusterTemplate.metadata.labels", "nightly-2"],
            ),
            (
                "a policy for a cluster that is there",
                json!({"spec": {"clusterPolicy": "Delete"}}),
                &["spec.clusterPolicy", "beside clusterTemplate"],
            ),
            (
                "a policy of its own",
                json!({"spec": {"clusterRef": null, "clusterTemplate": template, "clusterPolicy": "Sometimes"}}),
                &["spec.clusterPolicy", "\"Delete\", \"KeepOnFailure\", \"Keep\""],
            ),
            (
                "a time without a policy that has one",
                json!({"spec": {"clusterRef": null, "clusterTemplate": template, "clusterPolicy": "Keep", "holdFor": "1h"}}),
                &["spec.holdFor", "KeepOnFailure"],
            ),
            (
                "kept for a month",
                json!({"spec": {"clusterRef": null, "clusterTemplate": template, "clusterPolicy": "KeepOnFailure", "holdFor": "720h"}}),
                &["spec.holdFor", "at most 168h"],
            ),
            ("shared a little", json!({"spec": {"sharing": "Some"}}), &["spec.sharing", "\"Exclusive\", \"Shared\""]),
            (
                "a cluster without a name",
                json!({"spec": {"clusterRef": {"name": null}}}),
                &["spec.clusterRef", "name of a SwarmCluster"],
            ),
            (
                "a cluster with an empty name",
                json!({"spec": {"clusterRef": {"name": ""}}}),
                &["spec.clusterRef.name", "name of a SwarmCluster"],
            ),
            (
                "a timeout without a unit",
                json!({"spec": {"timeout": "30"}}),
                &["spec.timeout", "90s, 30m, 4h or 1h30m"],
            ),
            ("a timeout as a number", json!({"spec": {"timeout": 30}}), &["spec.timeout", "string"]),
            (
                "no time to pull",
                json!({"spec": {"imagePullTimeout": "0m"}}),
                &["spec.imagePullTimeout", "90s, 30m, 4h or 1h30m"],
            ),
            ("a grace of hours", json!({"spec": {"gracePeriod": "2h"}}), &["spec.gracePeriod", "at most 1h", "60s"]),
            (
                "no time to wait",
                json!({"spec": {"pendingTimeout": "0s"}}),
                &["spec.pendingTimeout", "90s, 30m, 4h or 1h30m"],
            ),
            (
                "a format of its own",
                json!({"spec": {"results": {"format": "Tap"}}}),
                &["spec.results.format", "\"Auto\", \"ExitCode\""],
            ),
            (
                "results in a relative path",
                json!({"spec": {"results": {"path": "results"}}}),
                &["spec.results.path", "absolute path", "/results"],
            ),
            (
                "results above a folder",
                json!({"spec": {"results": {"path": "/a/../etc"}}}),
                &["spec.results.path", "/results"],
            ),
            (
                "results among devices",
                json!({"spec": {"results": {"path": "/dev/shm"}}}),
                &["spec.results.path", "the tests' own"],
            ),
            (
                "a pull policy of its own",
                json!({"spec": {"imagePullPolicy": "Sometimes"}}),
                &["spec.imagePullPolicy", "\"Always\", \"IfNotPresent\", \"Never\""],
            ),
            (
                "a variable with a dash",
                json!({"spec": {"env": [{"name": "LOG-LEVEL", "value": "1"}]}}),
                &["spec.env[0].name", "LOG_LEVEL"],
            ),
            (
                "a variable with a value twice",
                json!({"spec": {"env": [{"name": "T", "value": "1", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]}}),
                &["spec.env[0]", "value or valueFrom"],
            ),
            (
                "a variable from two places",
                json!({"spec": {"env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}, "configMapKeyRef": {"name": "a", "key": "b"}}}]}}),
                &["spec.env[0].valueFrom", "secretKeyRef: {name: registry, key: token}"],
            ),
            (
                "a variable from nowhere",
                json!({"spec": {"env": [{"name": "T", "valueFrom": {}}]}}),
                &["spec.env[0].valueFrom", "secretKeyRef: {name: registry, key: token}"],
            ),
            (
                "a variable from a pod's field",
                json!({"spec": {"env": [{"name": "T", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}}),
                &["unknown field \"spec.env[0].valueFrom.fieldRef\""],
            ),
            (
                "a variable from a whole Secret",
                json!({"spec": {"env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "a"}}}]}}),
                &["spec.env[0].valueFrom.secretKeyRef", "{name: registry, key: token}"],
            ),
            (
                "a key with a blank",
                json!({"spec": {"env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b c"}}}]}}),
                &["spec.env[0].valueFrom.secretKeyRef.key", "such as token"],
            ),
            (
                "variables from an object in another namespace",
                json!({"spec": {"envFrom": [{"secretRef": {"name": "other/tokens"}}]}}),
                &["spec.envFrom[0].secretRef.name", "same namespace"],
            ),
            (
                "variables from nowhere",
                json!({"spec": {"envFrom": [{"prefix": "CI_"}]}}),
                &["spec.envFrom[0]", "secretRef: {name: registry}"],
            ),
            (
                "variables with a dash",
                json!({"spec": {"envFrom": [{"prefix": "CI-", "secretRef": {"name": "tokens"}}]}}),
                &["spec.envFrom[0].prefix", "CI_"],
            ),
            (
                "a Secret to pull with that has no name",
                json!({"spec": {"imagePullSecrets": [{}]}}),
                &["spec.imagePullSecrets[0]", "{name: registry}"],
            ),
            (
                "a Secret to pull with in another namespace",
                json!({"spec": {"imagePullSecrets": [{"name": "other/registry"}]}}),
                &["spec.imagePullSecrets[0].name", "same namespace"],
            ),
            (
                "no processors",
                json!({"spec": {"resources": {"limits": {"cpu": 0}}}}),
                &["spec.resources.limits.cpu", "2, 1.5 or 500m"],
            ),
            (
                "fewer processors than none",
                json!({"spec": {"resources": {"limits": {"cpu": "-1"}}}}),
                &["spec.resources.limits.cpu", "2, 1.5 or 500m"],
            ),
            (
                "processors in words",
                json!({"spec": {"resources": {"limits": {"cpu": "two"}}}}),
                &["spec.resources.limits.cpu", "2, 1.5 or 500m"],
            ),
            (
                "memory of a thousandth of a byte",
                json!({"spec": {"resources": {"limits": {"memory": "512m"}}}}),
                &["spec.resources.limits.memory", "512Mi or 2Gi"],
            ),
            (
                "memory in another unit",
                json!({"spec": {"resources": {"limits": {"memory": "512MB"}}}}),
                &["spec.resources.limits.memory", "512Mi or 2Gi"],
            ),
            (
                "memory in so many bytes",
                json!({"spec": {"resources": {"limits": {"memory": 512}}}}),
                &["spec.resources.limits.memory", "512Mi or 2Gi"],
            ),
            (
                "requests of a pod",
                json!({"spec": {"resources": {"requests": {"memory": "1Gi"}}}}),
                &["unknown field \"spec.resources.requests\""],
            ),
            ("a variable without a name", json!({"spec": {"env": [{"value": "1"}]}}), &["spec.env[0]", "name"]),
            ("an unknown field", json!({"spec": {"imagee": "e2e"}}), &["unknown field \"spec.imagee\""]),
            ("a long name", json!({"metadata": {"name": "n".repeat(64)}}), &["metadata.name", "at most 63"]),
        ],
    );
}

#[test]
fn what_cannot_change_says_so() {
    let namespace = Namespace::new("immutable");
    let with_all = ec2(json!({"subnets": ["subnet-0123456789abcdef0"], "credentials": {"name": "aws"}}));
    let with_all = merged(&with_all, &json!({"spec": {"engine": {"addressPools": ["10.200.0.0/16"]}}}));
    let full = merged(&cluster(), &with_all);
    let bare = merged(&cluster(), &json!({"metadata": {"name": "bare"}}));
    let cancelled = merged(&run(), &json!({"metadata": {"name": "cancelled"}, "spec": {"cancel": true}}));
    let own = merged(
        &run(),
        &json!({"metadata": {"name": "own"}, "spec": {"clusterRef": null, "clusterTemplate": {"spec": full["spec"]}}}),
    );
    for object in [&full, &bare, &run(), &cancelled, &own] {
        namespace.apply(object).unwrap();
    }
    let another = "create another SwarmCluster, or delete this one";
    let cases: [(&str, Value, &[&str]); 22] = [
        ("the region", merged(&full, &ec2(json!({"region": "eu-central-1"}))), &["region cannot be changed", another]),
        (
            "the provider",
            merged(&full, &hosts(&json!({"installEngine": true}))),
            &["provider cannot be changed", another],
        ),
        (
            "other subnets",
            merged(&full, &ec2(json!({"subnets": ["subnet-fedcba9876543210f"]}))),
            &["subnets cannot be changed", another],
        ),
        ("subnets taken away", merged(&full, &ec2(json!({"subnets": null}))), &["subnets cannot be changed", another]),
        (
            "subnets added",
            merged(&bare, &ec2(json!({"subnets": ["subnet-fedcba9876543210f"]}))),
            &["subnets cannot be changed", another],
        ),
        (
            "other credentials",
            merged(&full, &ec2(json!({"credentials": {"name": "other"}}))),
            &["credentials cannot be changed", "change the Secret's content"],
        ),
        (
            "credentials added",
            merged(&bare, &ec2(json!({"credentials": {"name": "other"}}))),
            &["credentials cannot be changed", "change the Secret's content"],
        ),
        (
            "other address pools",
            merged(&full, &json!({"spec": {"engine": {"addressPools": ["10.201.0.0/16"]}}})),
            &["spec.engine", "address pools cannot be changed", another],
        ),
        (
            "address pools taken away",
            merged(&full, &json!({"spec": {"engine": null}})),
            &["spec.engine", "address pools cannot be changed", another],
        ),
        (
            "address pools added",
            merged(&bare, &json!({"spec": {"engine": {"addressPools": ["10.201.0.0/16"]}}})),
            &["spec.engine", "address pools cannot be changed", another],
        ),
        (
            "a run's image",
            merged(&run(), &json!({"spec": {"image": "e2e:2"}})),
            &["a run cannot be changed", "create another E2ERun"],
        ),
        (
            "a run's timeout",
            merged(&run(), &json!({"spec": {"timeout": "2h"}})),
            &["a run cannot be changed", "spec.cancel", "create another E2ERun"],
        ),
        (
            "what a run does again",
            merged(&run(), &json!({"spec": {"retries": {"infrastructure": 3}}})),
            &["a run cannot be changed", "create another E2ERun"],
        ),
        (
            "a run's arguments added",
            merged(&run(), &json!({"spec": {"args": ["ServicesCreate"]}})),
            &["a run cannot be changed", "create another E2ERun"],
        ),
        (
            "what a run may use",
            merged(&run(), &json!({"spec": {"resources": {"limits": {"memory": "1Gi"}}}})),
            &["a run cannot be changed", "create another E2ERun"],
        ),
        (
            "where a run's variables come from",
            merged(&run(), &json!({"spec": {"envFrom": [{"secretRef": {"name": "tokens"}}]}})),
            &["a run cannot be changed", "create another E2ERun"],
        ),
        (
            "what counts of a run",
            merged(&run(), &json!({"spec": {"results": {"allowEmpty": true}}})),
            &["a run cannot be changed", "create another E2ERun"],
        ),
        (
            "what a run has in quarantine",
            merged(&run(), &json!({"spec": {"quarantine": [{"name": "a", "owner": "me", "until": "2026-12-24"}]}})),
            &["a run cannot be changed", "create another E2ERun"],
        ),
        (
            "who a run shares its cluster with",
            merged(&run(), &json!({"spec": {"sharing": "Shared"}})),
            &["a run cannot be changed", "create another E2ERun"],
        ),
        (
            "the cluster that a run makes",
            merged(&own, &json!({"spec": {"clusterTemplate": {"spec": {"managers": 3}}}})),
            &["a run cannot be changed", "create another E2ERun"],
        ),
        (
            "a run's timeout as it is cancelled",
            merged(&run(), &json!({"spec": {"cancel": true, "timeout": "2h"}})),
            &["a run cannot be changed", "create another E2ERun"],
        ),
        (
            "a cancellation taken back",
            merged(&cancelled, &json!({"spec": {"cancel": false}})),
            &["spec.cancel", "does not go on", "create another E2ERun"],
        ),
    ];
    for (what, object, words) in cases {
        said(what, namespace.apply(&object), words);
    }
    for allowed in [
        json!({"spec": {"managers": 5, "workers": 7, "ttl": "8h", "paused": true, "accessCIDRs": ["10.0.0.0/8"]}}),
        ec2(json!({"instanceTypes": ["m5.large"], "ami": {"id": "ami-0123456789abcdef0"}})),
        json!({"spec": {"bootTimeout": "10m", "engine": {"version": "28.5"}}}),
    ] {
        namespace.apply(&merged(&full, &allowed)).unwrap();
    }
    for run in [run(), own] {
        namespace.apply(&merged(&run, &json!({"spec": {"cancel": true}}))).unwrap();
    }
}

pub fn refuses(right: &Value, wrong: &[Wrong]) {
    let namespace = Namespace::new("wrong");
    namespace.try_apply(right).unwrap();
    for (what, change, words) in wrong {
        said(what, namespace.try_apply(&merged(right, change)), words);
    }
}

pub fn said(what: &str, answer: Result<Value, String>, words: &[&str]) {
    let message = match answer {
        Ok(taken) => panic!("{what}: the API server took {taken}"),
        Err(message) => message,
    };
    for word in words {
        assert!(message.contains(word), "{what}: {word:?} is not in: {message}");
    }
}
