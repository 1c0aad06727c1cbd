"""Every verb of `kubectl testkit` as five kinds of user: what it does, what it does without, how it is refused. docs/users.md has the table.

Each user is a ServiceAccount with the shipped roles, and the plugin has its token and nothing else. All of them do the rows one after the
other, side by side; what is wrong is collected, so that one look shows all of it.
"""
import base64
import json
import os
import re
import subprocess
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attached import attach
from test_runs import PASSED, ends, made, probe, runs_on
from world import cluster, kubectl, until

REPOSITORY = Path(__file__).resolve().parents[2]
USERS = {"admin": ["admin"], "edit": ["edit"], "viewer": ["view", "testkit-user"], "ci": ["testkit-ci"], "nobody": []}
C, R = "swarmclusters.testkit.dev", "e2eruns.testkit.dev"
REFUSED, TERMINATED = 4, 143


def lacking(permission, *users, **others):
    """Who lacks which permission, the first that is asked for."""
    return {user: permission for user in users} | others


def no_key(reads=f"get {C}"):
    """It needs the key of the hosts."""
    return lacking("get secrets", "ci", nobody=reads)


def writes(permission, **others):
    """Who only looks may not, nor who makes runs."""
    return lacking(permission, "viewer", "ci", "nobody") | others


EVERYBODY, LOOKS = {}, lambda permission: {"nobody": permission}
# What is done; who lacks what; what is said where it is done, to one user something else; whether it goes on until a signal ends it.
ENDS, GOES_ON = False, True
ROWS = [
    ("version", EVERYBODY, "kubectl-testkit ", ENDS),
    ("completion bash", EVERYBODY, "kubectl-testkit", ENDS),
    ("env --unset", EVERYBODY, "unset DOCKER_HOST", ENDS),
    ("env users --socket {folder}/docker.sock", EVERYBODY, "export DOCKER_HOST='unix://", ENDS),
    ("create made-{user} --region us-east-1 --dry-run=client", EVERYBODY, "kind: SwarmCluster", ENDS),
    # Looking.
    ("ls", LOOKS("list "), "users", ENDS),
    ("ls clusters", LOOKS(f"list {C}"), "users", ENDS),
    ("ls runs", LOOKS(f"list {R}"), "done", ENDS),
    ("ls run/done -o name", LOOKS(f"get {R}"), "e2erun.testkit.dev/done", ENDS),
    ("ls -w", LOOKS("list "), "users", GOES_ON),
    ("ls clusters -A", lacking(f"list {C}", *USERS), "", ENDS),
    ("ls clusters --as jane", lacking("impersonate", *USERS), "", ENDS),
    ("describe users", LOOKS(f"get {C}"), {"ci": "its events are not shown: you may not list events", "": "users-m0"}, ENDS),
    ("describe run/done", LOOKS(f"get {R}"), {"ci": "its events are not shown: you may not list events", "": "Passed:"}, ENDS),
    ("diagnose users -o {folder}/{user}.tar.gz", LOOKS(f"get {C}"), {"ci": "no host was looked at: you may not get secrets", "": "{folder}/{user}.tar.gz"}, ENDS),
    ("events users", lacking("list events", "ci", nobody=f"get {C}"), "REASON", ENDS),
    ("events users -f", lacking("list events", "ci", nobody=f"get {C}"), "REASON", GOES_ON),
    # On hosts.
    ("attach users -- true", no_key(), "attached through users-m0", ENDS),
    ("port-forward users m0::22", no_key(), "Forwarding from 127.0.0.1:", GOES_ON),
    ("top users", no_key(), "users-m0", ENDS),
    ("ssh users -- echo there", no_key(), "there", ENDS),
    ("ssh users --print", LOOKS(f"get {C}"), "{address}", ENDS),
    ("exec users -- echo there", no_key(), "users-m0 | there", ENDS),
    ("cp users:/etc/passwd {folder}/{user}.passwd", no_key(), "", ENDS),
    ("load {folder}/carried.tar --cluster users", no_key(), "is on the node of users", ENDS),
    # What runs wrote.
    ("logs done", LOOKS(f"get {R}"), "evidence", ENDS),
    ("logs done -f", LOOKS(f"get {R}"), "evidence", ENDS),
    ("logs done --case one", LOOKS(f"get {R}"), "one passed, and nothing it wrote", ENDS),
    ("logs long", no_key(f"get {R}"), "begun", ENDS),
    ("logs long -f", LOOKS(f"get {R}"), {"ci": "The log of long comes when it has ended: you may not get secrets", "": "begun"}, GOES_ON),
    ("results done", LOOKS(f"get {R}"), "passed   one", ENDS),
    ("results done -o junit", LOOKS(f"get {R}"), "<testcase", ENDS),
    ("flakes", LOOKS(f"list {R}"), "No case failed in the results of", ENDS),
    ("rerun done --failed", LOOKS(f"get {R}"), "No case of done failed", ENDS),
    # Making and removing.
    ("create made-{user} -f {folder}/paused.json", writes(f"create {C}"), "swarmcluster.testkit.dev/made-{user} created", ENDS),
    ("run -f {folder}/{user}.json --junit {folder}/{user}.xml", lacking(f"create {R}", "viewer", "nobody"), "evidence", ENDS),
    ("rerun done --name again-{user}", lacking(f"create {R}", "viewer", nobody=f"get {R}"), "evidence", ENDS),
    ("rm users --dry-run", LOOKS(f"get {C}"), "swarmcluster.testkit.dev/users deleted (dry run)", ENDS),
    ("rm users --dry-run=server", writes(f"delete {C}"), "swarmcluster.testkit.dev/users deleted (server dry run)", ENDS),
    ("rm run/again-{user} made-{user} --wait --timeout 60s", writes(f"delete {R}"), "swarmcluster.testkit.dev/made-{user} deleted", ENDS),
    ("purge --older-than 1s --runs -l of={user} --dry-run", LOOKS("list "), {"edit": "made-edit", "viewer": "done", "ci": "made-ci", "": "made-admin"}, ENDS),
    ("purge --older-than 1s --runs -l of={user} --yes", writes(f"delete {R}", nobody="list "), "e2erun.testkit.dev/made-{user} deleted", ENDS),
]


def account(space, user, folder):
    """A ServiceAccount with its roles; the kubeconfig that has its token alone, and the token."""
    kubectl("create", "serviceaccount", user, "-n", space.name)
    for role in USERS[user]:
        kubectl("create", "rolebinding", f"{user}-{role}", f"--clusterrole={role}", f"--serviceaccount={space.name}:{user}", "-n", space.name)
    token = kubectl("create", "token", user, "-n", space.name).stdout.strip()
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json").stdout)
    config["users"][0]["user"] = {"token": token}
    config["contexts"][0]["context"]["namespace"] = space.name
    file = folder / f"{user}.kubeconfig"
    file.touch(mode=0o600)
    file.write_text(json.dumps(config))
    return file, token


def may(space, user, *what):
    return kubectl("auth", "can-i", "--as", f"system:serviceaccount:{space.name}:{user}", "-n", space.name, *what, check=False).returncode == 0


def plugin(words, environment):
    """Exit code, standard output, standard error."""
    done = subprocess.run(["kubectl-testkit", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=90, env=environment)
    return done.returncode, done.stdout, done.stderr


def until_it_says(words, said, environment):
    """The same of one that goes on: it is ended once it has said this, if there is something to wait for. Both outputs are one."""
    process = subprocess.Popen(
        ["kubectl-testkit", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
    )
    watchdog = threading.Timer(30, process.kill)
    watchdog.start()
    try:
        text = ""
        for line in process.stdout:
            text += line
            if said is not None and said in text:
                process.terminate()
                break
        text += process.stdout.read()
        return process.wait(10), "", text
    finally:
        watchdog.cancel()
        process.kill()


def faults(space, permission, wanted, code, goes_on, answer):
    """What is wrong with an answer; `permission` is what the user lacks, if anything."""
    status, out, err = answer
    found = [f"{word!r} in its errors" for word in ("panicked", "RUST_BACKTRACE", "Usage:", "Status {", "Failure {", "Api(") if word in err]
    if status != code:
        found.append(f"exit code {status}, not {code}")
    if permission is None:
        return found if wanted in out + err else [*found, f"{wanted!r} is not said"]
    expected = [f"error: you may not {permission}", f"try: check with: kubectl auth can-i {permission}"]
    if permission != "impersonate":
        expected.append(f"try: ask for the permission to {permission}")
        # Whoever asks for all namespaces is told that one would do.
        everywhere = "in all namespaces" in err
        expected.append("name one namespace with -n" if everywhere else f'in namespace "{space.name}"')
        if not everywhere:
            expected.append("kubectl create rolebinding NAME --clusterrole=")
    found += [f"{words!r} is not said" for words in expected if words not in err]
    if out:
        found.append("it has a result")
    return found


def all_rows(space, user, environment, places):
    """Every row as one user: what is wrong with each, and all that was said."""
    wrong, said = [], []
    for text, lacks, says, goes_on in ROWS:
        words = text.format(user=user, **places).split(" ")
        permission = lacks.get(user)
        wanted = (says if isinstance(says, str) else says.get(user, says[""])).format(user=user, **places)
        code = REFUSED if permission is not None else TERMINATED if goes_on else 0
        try:
            # What is refused ends by itself.
            answer = until_it_says(words, wanted if permission is None else None, environment) if goes_on else plugin(words, environment)
        except subprocess.TimeoutExpired as late:
            wrong.append(f"{user}: {text}: it has not ended after {late.timeout} s")
            continue
        said += answer[1:]
        wrong += [f"{user}: {text}: {fault}; it says {answer[1]!r} and {answer[2]!r}" for fault in faults(space, permission, wanted, code, goes_on, answer)]
    return wrong, said


def secrets_of(space, tokens):
    """What nobody may read in an output, by what it is."""
    data = {key: base64.b64decode(value) for key, value in space.get("secret", "users-ssh")["data"].items()}
    private = [line for line in data["ssh-privatekey"].decode().splitlines() if len(line) >= 16 and not line.startswith("-----")]
    seed = data["host-seed"]
    told = {"the seed of host keys": base64.b64encode(seed).decode(), "the same in hex": seed.hex()}
    told |= {f"line {number} of the key": line for number, line in enumerate(private)}
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json").stdout)
    return told | {f"the token of {user}": token for user, token in tokens.items()} | {"the administrator's token": config["users"][0]["user"]["token"]}


def bundles(folder):
    """The texts in what `diagnose` wrote."""
    for file in sorted(folder.glob("*.tar.gz")):
        with tarfile.open(file) as archive:
            for member in archive.getmembers():
                if member.isfile():
                    yield archive.extractfile(member).read().decode(errors="replace")


def prepared(space, folder):
    """One cluster, a run that has ended and one that runs; what the rows take along. The address of the node."""
    on_host = made(space, "users")
    done = probe("done", "users", f"{PASSED}; echo evidence")
    done["metadata"]["labels"] = {"of": "viewer"}
    space.apply(done, probe("long", "users", "trap 'exit 0' TERM; echo begun; sleep 600 & wait", timeout="15m"))
    on_host("docker tag testkit/probe:v1 testkit/carried:v1 && docker save testkit/carried:v1 -o /root/carried.tar && docker rmi testkit/carried:v1")
    kubectl("testkit", "cp", "users:/root/carried.tar", str(folder / "carried.tar"), "-n", space.name)
    paused = cluster("unnamed", 1, 0)
    paused["spec"]["paused"] = True
    (folder / "paused.json").write_text(json.dumps(paused))
    for user in USERS:
        own = probe(f"made-{user}", "users", f"{PASSED}; echo evidence")
        own["metadata"]["labels"] = {"of": user}
        (folder / f"{user}.json").write_text(json.dumps(own))
    ends(space, "done", "Complete", "CasesPassed", passed=1)
    runs_on(space, "long")
    return space.status("swarmcluster", "users")["nodes"][0]["address"]


def test_every_verb_as_five_kinds_of_user(space, tmp_path):
    page = (REPOSITORY / "docs" / "users.md").read_text()
    told = set(re.findall(r"^\| `([a-z-]+)", page, re.MULTILINE))
    assert told == {text.split(" ")[0] for text, *_ in ROWS}, "verbs of docs/users.md (left) and of the rows (right)"

    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(REPOSITORY / "deploy" / "base" / "rbac-users.yaml"))
    accounts = {user: account(space, user, tmp_path) for user in USERS}
    places = {"folder": tmp_path, "address": prepared(space, tmp_path)}
    # Kubernetes adds our roles to its own by itself.
    can = lambda: all(may(space, user, "create", C) for user in ("admin", "edit")) and may(space, "viewer", "list", C) and may(space, "ci", "create", R)
    until("the roles are what they are together", can, 30)

    def as_user(user):
        return all_rows(space, user, {**os.environ, "KUBECONFIG": str(accounts[user][0])}, places)

    with attach(space, "users", tmp_path), ThreadPoolExecutor(len(USERS)) as together:
        answers = list(together.map(as_user, USERS))
    wrong = [fault for faults_of_user, _ in answers for fault in faults_of_user]
    assert not wrong, f"{len(wrong)} faults:\n" + "\n".join(wrong)

    made_by = lambda end: {user for user in USERS if (tmp_path / f"{user}.{end}").exists()}
    assert made_by("passwd") == {"admin", "edit", "viewer"}, "files that came from a node"
    assert made_by("xml") == {"admin", "edit", "ci"}, "results of runs"
    assert made_by("tar.gz") == {"admin", "edit", "viewer", "ci"}, "bundles"
    texts = [text for _, said in answers for text in said] + list(bundles(tmp_path))
    secrets = secrets_of(space, {user: token for user, (_, token) in accounts.items()})
    found = [what for what, secret in secrets.items() if any(secret in text for text in texts)]
    assert not found, f"an output or a bundle has {found}"
