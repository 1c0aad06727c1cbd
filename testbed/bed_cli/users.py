"""The users of the bed's EC2 endpoint: who they are, and what each may do. The endpoint keeps them and judges by them."""
import json

from . import http, places
from .errors import BedError

# A person at the bed, and tests that look.
ADMINISTRATOR = "administrator"
# The operator, with the policy that the project ships.
OPERATOR = "operator"
# Credentials for single clusters (spec.provider.ec2.credentials): the same within narrower limits.
CLUSTER = "cluster"
_LIMITS = [
    {"Sid": "OnlyHere", "Effect": "Deny", "Action": "*", "Resource": "*",
     "Condition": {"StringNotEquals": {"aws:RequestedRegion": "us-east-1"}}},
    {"Sid": "OnlySmall", "Effect": "Deny", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*:*:instance/*",
     "Condition": {"StringNotLike": {"ec2:InstanceType": ["t3.*", "t3a.*"]}}},
]


def admit(url: str, installation: str) -> None:
    """Makes the users, or gives them their policies again."""
    shipped = json.loads((places.CHECKOUT / "deploy" / "iam-policy.json").read_text().replace("INSTALLATION", installation))
    for name, more in ((OPERATOR, []), (CLUSTER, _LIMITS)):
        http.call(f"{url}/_bed/users/{name}", method="PUT", body=shipped | {"Statement": shipped["Statement"] + more})


def environment(url: str, name: str) -> dict[str, str]:
    """A user's keys as an AWS SDK looks for them."""
    if name == ADMINISTRATOR:
        # Always the same, so that a shell has them also while the endpoint is down.
        return {"AWS_ACCESS_KEY_ID": "testbed", "AWS_SECRET_ACCESS_KEY": "testbed"}
    users = {user["name"]: user for user in http.call(f"{url}/_bed/users")}
    if name not in users:
        raise BedError(f"the EC2 endpoint has no user {name!r}; it has {', '.join(sorted(users))}")
    return {"AWS_ACCESS_KEY_ID": users[name]["accessKeyId"], "AWS_SECRET_ACCESS_KEY": users[name]["secretAccessKey"]}


def of_daemon(url: str, name: str) -> str:
    """A daemon of a user's name has that user's keys, any other the administrator's."""
    return name if any(user["name"] == name for user in http.call(f"{url}/_bed/users")) else ADMINISTRATOR
