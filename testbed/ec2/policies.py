"""IAM policies: whether a document allows an action on a resource, with its conditions. Knows nothing of EC2 or of moto.

The rules are those of the IAM user guide, "Policy evaluation logic" and "Condition operators", for identity-based policies.
"""
import ipaddress
import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache

ALLOWED, DENIED, NOT_ALLOWED = "allowed", "explicitly denied", "not allowed"
# Of a managed policy, without white space.
_LONGEST = 6144
_ELEMENTS = {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}


class BadPolicy(ValueError):
    """A document that IAM would not take, or that asks for what is not evaluated here."""


@dataclass(frozen=True)
class Ask:
    """One action on one resource. `context` has the condition keys and the values of each; a key that is not there is absent.

    Without a resource, on one that is not there: whoever may do it to some is told so.
    """

    action: str
    resource: "str | None"
    context: dict = field(default_factory=dict)


class Policy:
    def __init__(self, document: dict):
        self.document = document
        if not isinstance(document, dict) or document.get("Version") != "2012-10-17" or "Statement" not in document:
            raise BadPolicy('a policy is an object with "Version": "2012-10-17" and "Statement"')
        if len("".join(json.dumps(document, ensure_ascii=False, separators=(",", ":")).split())) > _LONGEST:
            raise BadPolicy(f"Cannot exceed quota for PolicySize: {_LONGEST}")
        self._statements = [_Statement(statement) for statement in _list(document["Statement"])]
        sids = [statement["Sid"] for statement in _list(document["Statement"]) if "Sid" in statement]
        if len(set(sids)) < len(sids):
            raise BadPolicy("Statement IDs (SID) in a single policy must be unique.")

    def judge(self, ask: Ask) -> str:
        """One Deny that applies is enough; without one, one Allow."""
        if ask.resource is None:
            return ALLOWED if any(statement.effect == "Allow" and statement.names(ask.action) for statement in self._statements) else NOT_ALLOWED
        effects = {statement.effect for statement in self._statements if statement.applies(ask)}
        return DENIED if "Deny" in effects else ALLOWED if "Allow" in effects else NOT_ALLOWED


class _Statement:
    def __init__(self, statement: dict):
        if not isinstance(statement, dict):
            raise BadPolicy(f"a statement is an object, not {statement!r}")
        name = statement.get("Sid") or statement
        if unknown := set(statement) - _ELEMENTS:
            raise BadPolicy(f"statement {name} has {', '.join(sorted(unknown))}, which a policy of a user does not have")
        self.effect, self.sid = statement.get("Effect"), statement.get("Sid", "")
        if self.effect not in ("Allow", "Deny"):
            raise BadPolicy(f"the Effect of statement {name} is neither Allow nor Deny")
        for one, other in (("Action", "NotAction"), ("Resource", "NotResource")):
            if (one in statement) == (other in statement):
                raise BadPolicy(f"statement {name} needs one of {one} and {other}")
        if "${" in str(statement).replace("${*}", "").replace("${?}", "").replace("${$}", ""):
            raise BadPolicy(f"statement {name} has a policy variable: these are not evaluated here")
        self._actions, self._but_actions = _list(statement.get("Action")), _list(statement.get("NotAction"))
        self._resources, self._but_resources = _list(statement.get("Resource")), _list(statement.get("NotResource"))
        self._check(name)
        self._conditions = [(_operator(operator), key, [_text(value) for value in _list(values)])
                            for operator, keys in statement.get("Condition", {}).items() for key, values in keys.items()]

    def _check(self, name: object) -> None:
        if not re.fullmatch("[0-9A-Za-z]*", str(self.sid)):
            raise BadPolicy(f"Statement IDs (SID) must be alpha-numeric; {self.sid!r} is not")
        for action in self._actions + self._but_actions or [""]:
            if action != "*" and not re.fullmatch("[A-Za-z0-9-]+:[A-Za-z0-9*?]+", action):
                raise BadPolicy(f"Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.: {action!r} in statement {name}")
        for resource in self._resources + self._but_resources or [""]:
            if resource != "*" and not resource.startswith("arn:"):
                raise BadPolicy(f'Resource {resource} must be in ARN format or "*".')

    def names(self, action: str) -> bool:
        return _about(action, self._actions, self._but_actions, _same_action)

    def applies(self, ask: Ask) -> bool:
        return (self.names(ask.action)
                and _about(ask.resource, self._resources, self._but_resources, _same_resource)
                and all(operator.holds(ask.context.get(key.lower()), wanted) for operator, key, wanted in self._conditions))


def context(keys: dict) -> dict:
    """Condition keys as `Ask` takes them: names in lower case, values as lists of text. What is None is absent."""
    return {name.lower(): [_text(value) for value in _list(found)] for name, found in keys.items() if found is not None}


def _about(asked: str, named: list, but: list, same) -> bool:
    return any(same(pattern, asked) for pattern in named) if named else not any(same(pattern, asked) for pattern in but)


def _same_action(pattern: str, action: str) -> bool:
    return _glob(pattern.lower(), action.lower())


def _same_resource(pattern: str, resource: str) -> bool:
    if pattern == "*":
        return True
    # One that is cut short ends with anything.
    return resource != "*" and _same_arn(pattern + ":*" * (5 - pattern.count(":")), resource)


def _same_arn(pattern: str, arn: str) -> bool:
    """Wildcards do not reach over a colon, but for the last part."""
    ours, theirs = pattern.split(":", 5), arn.split(":", 5)
    return len(ours) == len(theirs) == 6 and all(map(_glob, ours, theirs))


def _glob(pattern: str, text: str) -> bool:
    return bool(_pattern(pattern).fullmatch(text))


@lru_cache(maxsize=4096)
def _pattern(pattern: str) -> re.Pattern:
    special = {"*": ".*", "?": ".", "${*}": r"\*", "${?}": r"\?", "${$}": r"\$"}
    return re.compile("".join(special.get(part, re.escape(part)) for part in re.split(r"(\$\{[*?$]\}|[*?])", pattern)), re.DOTALL)


# -- conditions ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Operator:
    matches: object
    negated: bool = False
    if_exists: bool = False
    # ForAllValues, ForAnyValue or nothing.
    quantifier: str = ""

    def holds(self, found: "list | None", wanted: list) -> bool:
        if self.matches is None:
            return all((found is None) == (value.lower() == "true") for value in wanted)
        if found is None:
            return self.if_exists or self.quantifier == "ForAllValues" or self.negated and not self.quantifier
        each = [self.negated != any(self.matches(pattern, value) for pattern in wanted) for value in found]
        return all(each) if self.quantifier == "ForAllValues" or self.negated and not self.quantifier else any(each)


def _number(matches):
    def compare(pattern: str, value: str) -> bool:
        try:
            return matches(float(value), float(pattern))
        except ValueError:
            return False
    return compare


def _moment(matches):
    def when(text: str) -> datetime:
        try:
            return datetime.fromtimestamp(float(text), timezone.utc)
        except ValueError:
            made = datetime.fromisoformat(text)
            return made if made.tzinfo else made.replace(tzinfo=timezone.utc)

    def compare(pattern: str, value: str) -> bool:
        try:
            return matches(when(value), when(pattern))
        except ValueError:
            return False
    return compare


def _in_network(pattern: str, value: str) -> bool:
    try:
        return ipaddress.ip_address(value) in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return False


def _comparisons(kind: str, make) -> dict:
    return {f"{kind}Equals": make(lambda a, b: a == b), f"{kind}LessThan": make(lambda a, b: a < b),
            f"{kind}LessThanEquals": make(lambda a, b: a <= b), f"{kind}GreaterThan": make(lambda a, b: a > b),
            f"{kind}GreaterThanEquals": make(lambda a, b: a >= b)}


_OPERATORS = {
    "StringEquals": lambda pattern, value: pattern == value,
    "StringEqualsIgnoreCase": lambda pattern, value: pattern.lower() == value.lower(),
    "StringLike": _glob,
    "Bool": lambda pattern, value: pattern.lower() == value.lower(),
    "BinaryEquals": lambda pattern, value: pattern == value,
    "IpAddress": _in_network,
    "ArnEquals": _same_arn,
    "ArnLike": _same_arn,
    **_comparisons("Numeric", _number),
    **_comparisons("Date", _moment),
}
_NEGATED = {"StringNotEquals": "StringEquals", "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase", "StringNotLike": "StringLike",
            "NotIpAddress": "IpAddress", "ArnNotEquals": "ArnEquals", "ArnNotLike": "ArnLike",
            "NumericNotEquals": "NumericEquals", "DateNotEquals": "DateEquals"}


def _operator(name: str) -> _Operator:
    quantifier, _, rest = name.rpartition(":")
    plain = rest.removesuffix("IfExists")
    if rest == "Null" and not quantifier:
        return _Operator(None)
    found = _OPERATORS.get(_NEGATED.get(plain, plain))
    if found is None or quantifier not in ("", "ForAllValues", "ForAnyValue"):
        raise BadPolicy(f"there is no condition operator {name!r}")
    return _Operator(found, plain in _NEGATED, plain != rest, quantifier)


def _list(value: object) -> list:
    return [] if value is None else list(value) if isinstance(value, (list, tuple, set)) else [value]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
