"""The table: what is broken, and which cases must fail of it with which words. A case without a row is one of whom it is
not known that it can fail; `testbed/break --list` names these.
"""
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from . import hosts, lies


@dataclass
class Scenario:
    name: str
    # For a person: what is not as it should be.
    broken: str
    # Case -> words that its message must contain.
    fail: dict
    # Cases that must pass all the same: the scenario breaks what it says and no more.
    good: tuple = ()
    rules: Callable | None = None
    hosts: tuple | None = None
    # What the suite is given to have done to hosts.
    power: str | None = None
    # Managers that the cluster has to have.
    managers: int = 1
    # Cases run at once: with one, the scenario is about the order of requests.
    threads: int = 4
    # Whether it was seen to come out as its row says.
    seen: bool = field(init=False)

    def __post_init__(self):
        self.seen = self.name in SEEN


def each(words, *cases):
    return {case: words for case in cases}


# Written by `testbed/break --record`.
SEEN_FILE = Path(__file__).with_name("seen")
SEEN = set(SEEN_FILE.read_text().split())
MESH = ("-p udp --dport 4789", "-p esp")
SCENARIOS = [
    # The network between nodes, and to them.
    Scenario("mesh-dropped", "the packets of overlays (4789/udp, ESP) do not reach one of the workers",
             each("answer", "InternalLbProxy", "InternalLbEndpoints", "ExternalLbGlobal", "EncryptedOverlay"),
             good=("ServicesGlobal", "ServicesScale"), hosts=hosts.drop("worker", *(f"PREROUTING {match}" for match in MESH))),
    Scenario("ports-dropped", "no connection reaches a port that the swarm publishes, on no node",
             each("cannot connect to", "NetworkExternalLb", "ExternalLbReplicated", "ExternalLbGlobal", "PublishedPortChanges", "PublishedTwice", "IngressKept",
                  "NoRequestLostScalingDown", "NoRequestLostUpdating", "HealthGatesLoadBalancing"),
             good=("ServicesCreate",),
             hosts=hosts.drop("all", *(f"{chain} -p tcp --syn --dport 30000:32767" for chain in ("PREROUTING", "OUTPUT")))),
    Scenario("host-ports-dropped", "no connection reaches a port that an engine has chosen (32768 to 60999), as where the security group does not open them",
             each("cannot connect to", "SecretDelivered", "ConfigDelivered", "SecretRotation", "ConfigRotation", "SecretTemplate", "ConfigTemplate",
                  "DnsRoundRobin", "InternalLbProxy", "InternalLbEndpoints", "VolumeKept", "TmpfsNotKept", "ContainerOptionsInside")
             | each("answers", "HostModePublish", "LogsFollow", "HealthLossReplacesTask") | each("has 3 addresses", "ServiceDiscovery"),
             good=("ServicesCreate", "NetworkExternalLb"),
             hosts=hosts.drop("all", *(f"{chain} -p tcp --syn --dport 32768:60999" for chain in ("PREROUTING", "OUTPUT")))),
    Scenario("gossip-dropped", "the nodes do not tell each other of names and addresses (7946)",
             each("it has", "ServiceDiscovery") | each("answered", "DnsRoundRobin"),
             good=("ServicesGlobal",), hosts=hosts.drop("all", *(f"PREROUTING -p {kind} --dport 7946" for kind in ("tcp", "udp")))),
    Scenario("image-gone", "one of the workers has not got the suite's image",
             each("has not got the image", "ServicesGlobal", "PlacementSpread", "LogsOfEveryNode", "ExternalLbGlobal", "HostModePublish", "EncryptedOverlay"),
             good=("PlacementConstraintManager", "SecretObjects"), hosts=hosts.image_gone()),
    Scenario("worker-frozen", "one of the workers stands still",
             each("is down", "ClusterNodeAvailable"), good=("ServicesCreate", "NodesFilter"), hosts=hosts.frozen()),

    # Services that become others than was asked for.
    Scenario("one-replica-short", "a service gets one task fewer than it should",
             each("run; no other is wanted", "ServicesCreate", "ServicesScale", "ScaleKeepsTasks", "ServicesStatus", "TasksFilter", "PlacementSpread", "LogsOfOneTask",
                  "PlacementPreference"),
             good=("ServicesGlobal", "ServicesList"), rules=lambda: lies.spec(lies.fewer_replicas)),
    Scenario("placement-ignored", "constraints, preferences, limits of nodes and platforms are forgotten",
             each("not all on", "PlacementConstraintNode") | each("run", "PlacementConstraintManager", "PlacementMaxReplicas", "PlacementConstraintUnmet", "PlacementPlatformUnmet",
                                                                 "PlacementNodeLabel", "PlacementGlobalFollowsLabels", "PlacementHostPortTaken")
             | each("not all on", "PlacementConstraintRole", "PlacementConstraintLabel")
             | each("in that of one node", "PlacementPreference") | each("Placement", "ServicesInspect"),
             good=("PlacementReservationTooLarge", "ServicesCreate"), rules=lambda: lies.drop("TaskTemplate.Placement")),
    Scenario("managers-alone", "every task is placed on managers",
             each("run", "ServicesGlobal", "LogsOfEveryNode", "ExternalLbGlobal", "HostModePublish", "EncryptedOverlay", "PlacementGlobalFollowsLabels")
             | each("are", "ServicesGlobalJob") | each("nodes", "PlacementSpread"),
             good=("ServicesCreate", "PlacementConstraintManager"), rules=lambda: lies.spec(lies.managers_alone)),
    Scenario("reservations-ignored", "what a service reserves, and its limits, are forgotten",
             each("1 run", "PlacementReservationTooLarge") | each("its limit of processes", "ContainerOptionsChange"), good=("ServicesCreate",),
             rules=lambda: lies.drop("TaskTemplate.Resources")),
    Scenario("host-ports-ignored", "a port of the host that was asked for is another",
             each("2 run", "PlacementHostPortTaken"), good=("PlacementConstraintUnmet",), rules=lambda: lies.spec(lies.any_host_port)),
    Scenario("nothing-published", "services publish no ports",
             each("no port", "NetworkExternalLb", "HostModePublish", "PublishedPortTaken", "ExternalLbReplicated"), good=("ServicesCreate",),
             rules=lambda: lies.spec(lies.no_ports)),
    Scenario("virtual-address-forced", "a service has a virtual address although it should not",
             each("it has a virtual address", "DnsRoundRobin"), good=("ServicesCreate",), rules=lambda: lies.drop("EndpointSpec.Mode")),
    Scenario("host-network-balanced", "a service on the host's network is told to have a virtual address",
             each("it has a virtual address", "ServiceOnHostNetwork"), good=("ServicesCreate",),
             rules=lambda: lies.told("GET /services/[^/]+", lies.a_virtual_address)),
    Scenario("networks-forgotten", "services are on none of the networks that they say",
             each("the host is", "ServiceOnHostNetwork") | each("it reaches itself by its name", "HealthCheckNone") | each("endpoints", "ServiceLeavesNetwork")
             | each("its task is on", "ServiceNetworksChange"),
             good=("ServicesCreate",), rules=lambda: lies.drop("TaskTemplate.Networks")),
    Scenario("options-lost", "of what a service says of its containers the environment, health checks and mounts are forgotten",
             each("COLOUR", "ContainerOptionsInside") | each("the file holds", "SecretTemplate", "ConfigTemplate") | each("Env", "ServicesInspect")
             | each("/kept", "VolumeKept") | each("it is mounted as", "TmpfsNotKept")
             | each("its tasks are", "HealthGatesLoadBalancing") | each("it is:", "HealthLossReplacesTask") | each("it is not begun", "ServicesRollbackByHand")
             | each("old that run", "ServicesUpdateStartFirstWaits"),
             good=("ServicesCreate", "SecretDelivered"),
             rules=lambda: lies.drop(*(f"TaskTemplate.ContainerSpec.{name}" for name in ("Env", "HealthCheck", "Healthcheck", "Mounts")))),
    Scenario("servers-end", "the program of every task ends at once",
             each("another task runs in its place", "RestartAfterKill") | each("9", "RestartNever") | each("serving", "LogsFollow") | each("run", "JobsRun"),
             good=("SecretObjects", "ServicesList"), rules=lambda: lies.spec(lies.ends_at_once)),

    # Updates.
    Scenario("updates-ignored", "an update of a service is accepted and not done",
             each("1 run; no other is wanted", "ServicesScale") | each("it is not begun", "ServicesRollingUpdateSucceed", "ServicesUpdateStartFirst", "ServicesUpdateRollsBack",
                  "ServicesUpdatePauses", "ServicesRollbackByHand", "ServicesUpdateForced", "VirtualAddressKept", "ServiceNetworksChange", "PublishedPortChanges", "PublishedTwice",
                  "SecretRotation", "ConfigRotation", "ContainerOptionsChange", "VolumeKept", "TmpfsNotKept", "NoRequestLostUpdating")
             | each("no other is wanted", "ScaleKeepsTasks", "ServiceDiscovery", "NoRequestLostScalingDown") | each("it has", "ServicesLabels") | each("of 1 are", "JobRunsAgainWhenUpdated")
             | each("it is not begun", "ServiceLeavesNetwork") | each("was heard", "EventsOfServices") | each("was accepted", "ServicesByName"),
             good=("ServicesCreate", "ServicesGlobal"), rules=lambda: lies.answered(200, {}, lies.UPDATE), threads=24),
    Scenario("update-manners-lost", "what a service says of how it is updated is forgotten",
             each("followed", "ServicesRollingUpdateSucceed") | each("of 2 ran at one moment", "ServicesUpdateStartFirst") | each("it is paused", "ServicesUpdateRollsBack") | each("old that run", "ServicesUpdateStartFirstWaits"),
             good=("ServicesUpdateForced",), rules=lambda: lies.drop("UpdateConfig")),
    Scenario("rollback-manners-lost", "what a service says of how it is rolled back is forgotten",
             each("ran", "ServicesRollbackByHand"), good=("ServicesUpdateForced",), rules=lambda: lies.drop("RollbackConfig")),
    Scenario("failures-ignored", "an update goes on although its tasks fail",
             each("the update is", "ServicesUpdatePauses", "ServicesUpdateRollsBack"), good=("ServicesUpdateForced",), rules=lambda: lies.spec(lies.goes_on)),
    Scenario("scaling-replaces", "every update replaces all tasks",
             each("replaced", "ScaleKeepsTasks", "ServicesLabels"), good=("ServicesUpdateForced",), rules=lambda: lies.spec(lies.replaces, lies.UPDATE)),
    Scenario("killed-at-once", "tasks that are to stop are killed, and finish no answer",
             each("a request was lost", "NoRequestLostScalingDown", "NoRequestLostUpdating"), good=("ServicesScale",), rules=lambda: lies.spec(lies.killed_at_once)),
    Scenario("restarts-always", "tasks that ended are followed by others, whatever the policy says",
             each("of", "RestartNever", "RestartNotAfterSuccess"), good=("ServicesCreate",), rules=lambda: lies.restarts("any")),
    Scenario("restarts-never", "tasks that ended are followed by no others",
             each("of 1 are", "RestartOnFailure", "RestartAny", "JobTriesAgain") | each("none does", "RestartAfterKill") | each("none runs in its place", "HealthLossReplacesTask"),
             good=("RestartNever",), rules=lambda: lies.restarts("none")),
    Scenario("one-job-more", "a job runs once more than it was asked to",
             each("and that is all", "ServicesReplicatedJob", "JobRunsAgainWhenUpdated"), good=("ServicesCreate",), rules=lambda: lies.spec(lies.completions)),

    Scenario("hosts-spared", "what is to be done to a host is said to be done, and is not",
             each("it is", "WorkerKilled", "WorkerPartitioned", "RootCaRotationWaits") | each("it runs since", "EngineRestarts") | each("were not replaced", "EveryEngineRestarts"),
             good=("ServicesCreate",), power="true"),
    Scenario("managers-spared", "what is to be done to the hosts of managers is said to be done, and is not",
             each("it is", "ManagerKilled", "LeaderKilled", "LeaderPartitioned", "LockedAfterRestart", "ManagerDemotedWhileDown")
             | each("its task was not replaced", "LockedOncePromoted") | each("it knows 4 nodes", "QuorumLost"),
             good=("ServicesCreate",), power="true", managers=3),
    Scenario("clients-not-asked", "a server does not ask for its clients' certificates",
             each("the client is failed", "TlsEndToEnd"), good=("ServicesCreate",), rules=lambda: lies.spec(lies.clients_not_asked)),

    # Objects of the API.
    Scenario("filters-forgotten", "lists are not filtered",
             each("found", "ServicesFilter", "NodesFilter", "TasksFilter") | each("finds", "ContainersFilterIsTask"), good=("ServicesList",),
             rules=lies.filters_forgotten),
    Scenario("all-accepted", "what has to be refused is accepted",
             each("was accepted", "NetworkNameTaken", "ServicesNameTaken", "PublishedPortTaken", "ServicesRefused", "NetworkRefused", "NodeInUseNotRemoved", "NetworkInUse", "SecretRotation",
                  "ConfigRotation", "SecretObjects", "ConfigObjects", "ServicesByName"),
             good=("ServicesCreate",), rules=lies.accepted),
    Scenario("joined-twice", "a container that is on a network can join it once more",
             each("it joins the network twice", "AttachableAlias"), good=("AttachableNetwork",), rules=lambda: lies.accepted("POST /networks/[^/]+/connect")),
    Scenario("stored-otherwise", "secrets and configs have another content",
             each("holds", "SecretDelivered", "SecretRotation", "ConfigRotation", "SecretTemplate", "ConfigTemplate") | each("of the content", "ConfigDelivered"),
             good=("SecretObjects", "ConfigObjects"), rules=lies.stored_otherwise),
    Scenario("stored-mixed-up", "another secret or config is found than was asked for",
             each("another is found", "SecretObjects", "ConfigObjects") | each("the name of another is found", "SecretNamedAsAnother", "ConfigNamedAsAnother"),
             good=("SecretDelivered",), rules=lambda: lies.told("GET /(secrets|configs)/[^/]+", lies.another)),
    Scenario("overlays-plain", "an overlay that is to be encrypted is not",
             each("was on the wire", "EncryptedOverlay"), good=("InternalLbProxy",), rules=lies.overlays_plain),
    Scenario("attachable-forgotten", "a network is told not to be attachable",
             each("it says that it is attachable", "AttachableRemoved"), good=("AttachableNetwork",), rules=lambda: lies.told("GET /networks/[^/]+", lies.not_attachable)),
    Scenario("subnets-ignored", "a network gets another subnet than it was given",
             each("its options are", "NetworkIpam") | each("attaching to network failed", "AttachableAddressReleased"), good=("ServiceAliases",), rules=lies.networks_otherwise),
    Scenario("endpoints-plain", "other names and options on a network are forgotten",
             each("the alias is found", "AttachableAlias", "ServiceAliases") | each("its other names are", "AttachableAliasBeforeStart") | each("its interfaces are", "AttachableInterfaceName"), good=("AttachableNetwork",),
             rules=lies.endpoints_otherwise),
    Scenario("attachments-lost", "a container that is to be on an overlay network is not",
             each("the container reaches the service", "AttachableNetwork") | each("the alias is found", "AttachableAlias"), good=("ServiceAliases",),
             rules=lies.attachments_lost),
    Scenario("addresses-kept", "the address of a container that was removed stays taken",
             each("another container does not get the address", "AttachableAddressReleased"), good=("AttachableNetwork",), rules=lies.addresses_kept),
    Scenario("names-kept", "the name of a service that was removed stays taken",
             each("already exists", "ServicesNameUsedAgain"), good=("ServicesCreate",), rules=lies.names_kept),
    Scenario("events-lost", "events of the swarm are not told",
             each("was heard []", "EventsOfServices", "EventsOfNetworks", "EventsOfSecrets", "EventsOfConfigs", "EventsOfNodes")
             | each("service and container are", "EventsByScope"), good=("ServicesList",), rules=lies.events_lost),
    Scenario("events-elsewhere", "the other nodes hear of what is asked of another",
             each("has heard []", "EventsOnEveryNode"), good=("EventsOfNetworks",), rules=lambda: lies.spec(lies.hears_of_another)),
    Scenario("logs-lost", "logs of services are empty",
             each("none of", "LogsOfEveryNode") | each("it has not", "LogsOfOneTask") | each("the log ended", "LogsFollow") | each("of 1 did", "ManagersAgree"), good=("ServicesCreate",),
             rules=lies.logs_lost),
    Scenario("list-late", "the list of services is that of a moment before",
             each("listed are []", "ServicesList") | each("found {}", "ServicesFilter"), good=("SecretObjects",), rules=lies.list_late, threads=1),
    Scenario("status-wrong", "the list of services tells one task fewer to run",
             each("it says", "ServicesStatus"), good=("ServicesList",), rules=lambda: lies.told("GET /services", lies.fewer_run)),
    Scenario("nobody-leads", "no manager says that it leads",
             each("0 managers say that they lead", "ClusterNodeAvailable"), good=("NodesFilter",), rules=lambda: lies.told("GET /nodes", lies.no_leader)),
    Scenario("managers-forgotten", "the engine knows the address of no manager",
             each("it knows []", "ManagerAddresses"), good=("ManagersAgree",), rules=lambda: lies.told("GET /info", lies.no_managers)),
    Scenario("balancer-lost", "the ingress network has no balancer on this node",
             each("it has lost its balancer", "IngressKept"), good=("NetworkExternalLb",), rules=lambda: lies.told("GET /networks/ingress", lies.no_balancer)),
    Scenario("nodes-unchanged", "a change of a node is accepted and not done",
             each("scheduling constraints", "PlacementNodeLabel") | each("no other is wanted", "PlacementGlobalFollowsLabels") | each("was heard", "EventsOfNodes")
             | each("found", "NodesFilter") | each("run there", "NodeDrainAndReactivate") | each("it is told to be", "NodePause") | each("it is", "WorkerPromoteAndDemote"),
             good=("ServicesGlobal",), rules=lambda: lies.answered(200, {}, "POST /nodes/[^/]+/update")),
    Scenario("roles-unchanged", "a change of a manager is accepted and not done",
             each("it is", "ManagerDemoteAndPromote", "ManagersDemotedToOne"), good=("ServicesCreate",),
             rules=lambda: lies.answered(200, {}, "POST /nodes/[^/]+/update"), managers=3),
    Scenario("leader-told-late", "the manager that led is said to lead when another does",
             each("the one that led is", "LeaderDemoteAndPromote"), good=("ServicesCreate",), rules=lies.leader_told_late, managers=3),
    Scenario("leaving-ignored", "a node that is to leave the swarm does not",
             each("it is", "WorkerLeavesAndRejoins", "ManagerLost", "EngineOutsideSwarm", "SwarmOfItsOwn"), good=("ServicesCreate",), rules=lambda: lies.spec(lies.stays), managers=3),
    Scenario("swarm-unchanged", "a change of the swarm's settings is accepted and not done",
             each("alone changed", "JoinTokensRotate") | each("certificates are told", "SwarmSettings") | each("the key is not one", "UnlockKey") | each("the root is the old one", "RootCaRotation"),
             good=("ServicesCreate",), rules=lambda: lies.answered(200, {}, "POST /swarm/update")),
]
