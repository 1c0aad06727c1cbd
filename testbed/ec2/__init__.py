"""EC2 for a test bed: moto is the API, this layer gives it time, failures and hosts. Run as `python -m ec2`.

What it adds to moto
- Real hosts (machine, fleet): an instance is a User-Mode Linux machine with an SSH server and a Docker Engine, at an
  address the machine reaches. Killing, freezing, cutting off and slowing down hosts is done over `/_bed/` (control).
- The network of a VPC (network, firewall, groups): every packet between hosts, and from and to them, is judged outside of
  them by the security groups of the interfaces concerned: ingress and egress, by group, block, prefix list, protocol,
  port, ICMP type and code; statefully, at once, without exceptions. A host speaks in its own name only.
- Addresses (addresses): private ones from the subnet, public ones where subnet or launch say so, until the next stop.
  The public one is for outside, the private one for inside; one host reaches another's public address as from outside.
- Zones that are a millisecond apart, there and back (zones).
- Time (lifecycle): pending, running, stopping, stopped, shutting-down, terminated, each for as long as its knob says, and what
  may be done in each (transitions).
- The metadata service, version 2, with hop limit, by the caller's address (imds): a process that is told what it serves
  (metadata, services), so that it answers however busy the endpoint is.
- Four public AMIs and the SSM parameters that lead to them (amis). One has no engine: its hosts find Docker's install script
  and an apt repository where Docker and Debian have theirs, over https, slow or failing if told so (mirror, mirror_server).
- Security groups: all rules of a call or none, in EC2's form, with its limits and names (groups, group_rules).
- RunInstances: ClientToken idempotency, `resolve:ssm:` image ids, MaxCount, all or nothing, the limit of user-data (launches);
  launch templates, which say what a launch leaves out (templates); volumes with their speeds (volumes); metadata options and the account's defaults for them (metadata_options); types that do not exist, that a zone does not offer or that do not fit the image (catalogue); vCPU
  quotas by family, on demand and spot (quotas).
- Every call is held against AWS's model of it: parameters, values, filters, ids (model), tags (tags). Filters match as EC2's do
  (filters), every list that AWS's model has in pages comes in pages (pages), and a dry run is dry.
- What was just done is not known everywhere: no call and no list knows a new instance at first, and DescribeInstances shows for as
  long the state that an instance was told to leave (listing).
- DescribeInstances: every common filter, pages that count instances; look-ups that stay fast with many tags (listing).
- GetConsoleOutput: what a kernel, cloud-init and user-data wrote, as it is now or as it was posted, after the end, too (console).
- What outlives an instance: volumes and network interfaces that are not to end with it. What is in use stays: a security
  group of an instance, of anybody's interface or in another group's rule, an attached interface or volume (dependencies).
- IAM (users, policies, permissions, resources): every call is signed by a user and judged by the user's policy, resource by
  resource and with its conditions, as the Service Authorization Reference lists them; refusals in AWS's words.
- A host that is no instance, for a node of Kubernetes to be (node).
- Failures (knobs, faults): EC2's token buckets, refusal of a share of all calls, latency, no capacity by type and zone,
  calls that fail with any code, each in EC2's wording; answers that never arrive, a region or the whole endpoint (door) that
  is gone for a while.
- Deaths (deaths): instances that are accepted and end by themselves, with EC2's reasons; spot interruptions and rebalance
  recommendations, told through the metadata service before.

Where it differs from EC2, knowingly
- Every connection is tracked: one that two rules for 0.0.0.0/0 let through goes on without them, too. How long an idle one
  is remembered is Linux' choice (5 days for TCP, 2 minutes for UDP). Route tables, network ACLs and peerings are books.
- Hosts are in default VPCs, which have the bed's own addresses: of at most eight regions, the first that are asked for.
  A host has one network interface, the first, and IPv4 alone. Elastic IPs lead nowhere.
- `sshd` starts after user-data, or when that restarts it (on EC2: before it, with keys of its own). User-data is a script or
  nothing; there is no cloud-config. There is no systemd in the host: `systemctl` and `service` are shims over runit.
- Canonical's parameter leads to an image with an engine, since half of all tests would wait for one otherwise; a knob takes it away.
- Only instances are eventually consistent, with their volumes and interfaces in lists, and the list of security groups where a knob
  says so. Of a launch template a parameter is taken as a whole or not at all. Delay and loss, those between zones too, are put on the packets a host sends, not on those it gets, by its own kernel.
- Hosts are all alike, whatever the instance type. Hosts have no way out. A spot instance has a request's id, and no request
  stands in a list of its own.
- Users have one policy, a managed one, and no roles, sessions, boundaries or policy variables.
- A state is kept in memory: when the endpoint ends, all of it ends.
"""
