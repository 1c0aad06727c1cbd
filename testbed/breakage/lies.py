"""What is wrong with the engine in each of the scenarios that need no more than a wrong engine: rules for it.

Each takes one promise from the suite and breaks it where the request or the answer passes by. The swarm is a real one, and
does what it was really asked.
"""
import base64
import re

from .engine import Answer, Rule

CREATE, UPDATE = "POST /services/create", "POST /services/[^/]+/update"
SPEC = "POST /services/(create|[^/]+/update)"
CASE = "dev.testkit.e2e.case"


def spec(change, where=SPEC):
    """A service that is asked for becomes another."""
    def ask(request):
        body = request.json
        change(body)
        request.json = body
    return [Rule(where, ask=ask)]


def answered(status, value=None, where="", when=lambda request: True):
    return [Rule(where, ask=lambda request: Answer.of(status, value) if when(request) else None)]


def told(where, change, when=lambda request: True):
    """An answer that is JSON becomes another."""
    def answer(request, answer):
        if answer.status >= 300 or not when(request):
            return answer
        value = answer.json
        changed = change(value)
        return Answer.of(answer.status, value if changed is None else changed)
    return [Rule(where, answer=answer)]


def drop(*paths):
    """Fields of a service are forgotten: `TaskTemplate.Placement`."""
    def change(body):
        for path in paths:
            *parents, last = path.split(".")
            at = body
            for name in parents:
                at = (at or {}).get(name)
            (at or {}).pop(last, None)
    return spec(change)


def fewer_replicas(body):
    mode = body.get("Mode", {}).get("Replicated", {})
    if mode.get("Replicas", 0) > 1:
        mode["Replicas"] -= 1


def completions(body):
    job = body.get("Mode", {}).get("ReplicatedJob")
    if job:
        job["TotalCompletions"] += 1


def managers_alone(body):
    body["TaskTemplate"].setdefault("Placement", {}).setdefault("Constraints", []).append("node.role==manager")


def restarts(condition):
    def change(body):
        policy = body["TaskTemplate"].get("RestartPolicy")
        if policy:
            policy["Condition"] = condition
            policy.pop("MaxAttempts", None)
    return spec(change)


def replaces(body):
    body["TaskTemplate"]["ForceUpdate"] = body["TaskTemplate"].get("ForceUpdate", 0) + 1


def goes_on(body):
    if body.get("UpdateConfig"):
        body["UpdateConfig"]["FailureAction"] = "continue"


def killed_at_once(body):
    body["TaskTemplate"]["ContainerSpec"]["StopSignal"] = "SIGKILL"


def clients_not_asked(body):
    container = body["TaskTemplate"]["ContainerSpec"]
    args = container.get("Args") or []
    if "--client-auth" in args:
        container["Args"] = args[: args.index("--client-auth")]


def ends_at_once(body):
    body["TaskTemplate"]["ContainerSpec"]["Args"] = ["exit", "9"]


def stays(body):
    container = body["TaskTemplate"]["ContainerSpec"]
    if "rejoin-from-task" in (container.get("Args") or []):
        container["Args"] = ["noop"]


def any_host_port(body):
    for port in (body.get("EndpointSpec") or {}).get("Ports") or []:
        port.pop("PublishedPort", None)


def no_ports(body):
    (body.get("EndpointSpec") or {}).pop("Ports", None)


def no_aliases(body):
    for network in body["TaskTemplate"].get("Networks") or []:
        network.pop("Aliases", None)


def filters_forgotten():
    """All filters but those by which the suite finds what is its own."""
    forgotten = ("name", "id", "mode", "role", "node", "node.label", "desired-state", "is-task")

    def ask(request):
        request.filters = {key: value for key, value in request.filters.items() if key not in forgotten}
    return [Rule("GET /(services|tasks|nodes|containers/json)", ask=ask)]


def accepted(where="(POST|DELETE) /(services|networks|secrets|configs|nodes)/(?!.*/connect).*"):
    """Refusals of what the suite asks for in order to be refused."""
    words = re.compile("name conflicts|already exists|already in use by service|in use by (the following )?service|renaming services|only updates to Labels|"
                       "is not down|already attached|already exists in network|invalid|must|unsupported|cannot|not supported|driver|plugin|duplicate", re.I)

    def answer(request, answer):
        said = answer.body.decode(errors="replace")
        if answer.status < 400 or answer.status == 404 or "out of sequence" in said or not words.search(said):
            return answer
        return Answer.of(204, None) if request.method == "DELETE" else Answer.of(201, {"Id": "0", "Warning": ""} if "/networks/" in request.path else {"ID": "0"})
    return [Rule(where, answer=answer)]


def stored_otherwise():
    def ask(request):
        body = request.json
        body["Data"] = base64.b64encode(b"something else").decode()
        request.json = body
    return [Rule("POST /(secrets|configs)/create", ask=ask)]


def networks_otherwise():
    def ask(request):
        body = request.json
        body.pop("IPAM", None)
        request.json = body
    return [Rule("POST /networks/create", ask=ask)]


def another(stored):
    stored["ID"] = stored["ID"][::-1]


def overlays_plain():
    def ask(request):
        body = request.json
        (body.get("Options") or {}).pop("encrypted", None)
        request.json = body
    return [Rule("POST /networks/create", ask=ask)]


def not_attachable(network):
    network["Attachable"] = False


def hears_of_another(body):
    container = body["TaskTemplate"]["ContainerSpec"]
    if (container.get("Args") or [])[:1] == ["show-events"]:
        container["Args"][-1] = "another"


def endpoints_otherwise():
    def ask(request):
        body = request.json
        for endpoint in ((body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}).values():
            for key in ("Aliases", "DriverOpts"):
                endpoint.pop(key, None)
        request.json = body

    def join(request):
        body = request.json
        (body.get("EndpointConfig") or {}).pop("Aliases", None)
        request.json = body
    return [Rule("POST /containers/create", ask=ask), Rule("POST /networks/[^/]+/connect", ask=join)] + spec(no_aliases, CREATE)


def attachments_lost():
    def ask(request):
        body = request.json
        body.pop("NetworkingConfig", None)
        body.setdefault("HostConfig", {})["NetworkMode"] = "bridge"
        request.json = body
    return [Rule("POST /containers/create", ask=ask)]


def events_lost():
    def ask(request):
        request.filters = request.filters | {"type": ["volume"]}
    return [Rule("GET /events", ask=ask)]


def logs_lost():
    return [Rule("GET /(services|tasks)/[^/]+/logs", ask=lambda request: Answer(200, b"", json_type=False))]


def list_late():
    """After a service is made, the next list of services does not have it yet."""
    late = []

    def listed(request):
        if late:
            late.clear()
            return Answer.of(200, [])
    return [Rule(CREATE, ask=lambda request: late.append(1)), Rule("GET /services", ask=listed)]


def names_kept():
    """The name of a service is not free when the service is gone."""
    seen = set()

    def ask(request):
        name = request.json["Name"]
        if name in seen:
            return Answer.of(409, {"message": f"rpc error: name conflicts with an existing object: service {name} already exists"})
        seen.add(name)
    return [Rule(CREATE, ask=ask)]


def addresses_kept():
    """A container that is removed by a case stays; one that the clean-up removes goes."""
    return answered(204, where="DELETE /containers/.*", when=lambda request: request.query.get("v") != "true")


def fewer_run(services):
    for service in services:
        if service.get("ServiceStatus"):
            service["ServiceStatus"]["RunningTasks"] -= 1


def no_leader(nodes):
    for node in nodes:
        (node.get("ManagerStatus") or {}).pop("Leader", None)


def leader_told_late():
    first = set()

    def change(nodes):
        leaders = {node["ID"] for node in nodes if (node.get("ManagerStatus") or {}).get("Leader")}
        first.update(leaders if not first else ())
        no_leader(nodes)
        for node in nodes:
            if node["ID"] in first and node.get("ManagerStatus"):
                node["ManagerStatus"]["Leader"] = True
    return told("GET /nodes", change)


def a_virtual_address(service):
    service.setdefault("Endpoint", {})["VirtualIPs"] = [{"NetworkID": "host", "Addr": "10.0.0.9/24"}]


def no_managers(info):
    info["Swarm"]["RemoteManagers"] = []


def no_balancer(network):
    network["Containers"] = {}
