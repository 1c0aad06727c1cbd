"""The rules by which a policy is read: one table, by what IAM's user guide says."""
import pytest

from ec2.policies import ALLOWED, DENIED, NOT_ALLOWED, Ask, BadPolicy, Policy, context

INSTANCE = "arn:aws:ec2:us-east-1:123456789012:instance/i-0123456789abcdef0"


def policy(*statements: dict) -> Policy:
    return Policy({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "ec2:StopInstances", "Resource": "*"} | statement for statement in statements]})


def judged(*statements: dict, action="ec2:StopInstances", resource=INSTANCE, **keys) -> str:
    return policy(*statements).judge(Ask(action, resource, context({name.replace("__", ":"): value for name, value in keys.items()})))


@pytest.mark.parametrize("action, allowed", [
    ("ec2:StopInstances", True), ("EC2:stopinstances", True), ("ec2:*", True), ("*", True), ("ec2:Stop*", True), ("ec2:?topInstances", True),
    ("ec2:StopInstance", False), ("ec2:Start*", False), ("ssm:*", False), (["ec2:StartInstances", "ec2:StopInstances"], True), ([], True)])
def test_actions(action, allowed):
    statement = {"Action": action} if action else {"Action": ["ec2:StopInstances"]}
    assert (judged(statement) == ALLOWED) == allowed


@pytest.mark.parametrize("resource, allowed", [
    ("*", True), (INSTANCE, True), ("arn:aws:ec2:*:*:instance/*", True), ("arn:aws:ec2:us-east-1:123456789012:instance/i-0*", True),
    ("arn:*:ec2:*:*:*", True), ("arn:aws:ec2:*:*:volume/*", False), ("arn:aws:ec2:eu-*:*:instance/*", False),
    ("arn:aws:ec2:*:instance/*", False), ("arn:aws:ec2:*::instance/*", False), ("arn:aws:EC2:*:*:instance/*", False),
    ("arn:aws:ec2", True), ("arn:aws:ec2:*", True), ("arn:aws:ec2:us-east-1", True), ("arn:aws:ec2:eu-central-1", False), ("arn:aws:ssm", False)])
def test_resources(resource, allowed):
    assert (judged({"Resource": resource}) == ALLOWED) == allowed


def test_an_action_without_a_resource_needs_all_of_them():
    assert judged({"Resource": "arn:aws:ec2:*:*:instance/*"}, resource="*") == NOT_ALLOWED
    assert judged({}, resource="*") == ALLOWED


def test_what_is_not_there_is_told_to_whoever_may_do_such_a_thing():
    only_mine = {"Resource": "arn:aws:ec2:*:*:instance/*", "Condition": {"StringEquals": {"ec2:ResourceTag/a": "b"}}}
    assert judged(only_mine, resource=None) == ALLOWED and judged(only_mine, action="ec2:StartInstances", resource=None) == NOT_ALLOWED
    assert judged({"Effect": "Deny"}, resource=None) == NOT_ALLOWED


def test_what_is_not_named():
    statement = {"Effect": "Allow", "NotAction": "ec2:Start*", "NotResource": "arn:aws:ec2:*:*:volume/*"}
    made = Policy({"Version": "2012-10-17", "Statement": statement})
    assert made.judge(Ask("ec2:StopInstances", INSTANCE)) == ALLOWED
    assert made.judge(Ask("ec2:StartInstances", INSTANCE)) == NOT_ALLOWED
    assert made.judge(Ask("ec2:StopInstances", INSTANCE.replace("instance", "volume"))) == NOT_ALLOWED


def test_a_deny_is_stronger_than_any_allow():
    assert judged({}, {"Effect": "Deny"}) == DENIED
    assert judged({}, {"Effect": "Deny", "Condition": {"StringEquals": {"a": "b"}}}) == ALLOWED


def test_nothing_is_allowed_by_itself():
    assert judged() == NOT_ALLOWED


@pytest.mark.parametrize("operator, wanted, found, holds", [
    ("StringEquals", "a", "a", True), ("StringEquals", ["b", "a"], "a", True), ("StringEquals", "A", "a", False), ("StringEquals", "a*", "ab", False),
    ("StringEquals", "a", None, False), ("StringEqualsIfExists", "a", None, True), ("StringEqualsIfExists", "a", "b", False),
    ("StringNotEquals", "a", "b", True), ("StringNotEquals", ["a", "b"], "b", False), ("StringNotEquals", "a", None, True),
    ("StringEqualsIgnoreCase", "A", "a", True), ("StringNotEqualsIgnoreCase", "A", "a", False),
    ("StringLike", "t3*.m?dium", "t3a.medium", True), ("StringLike", "t3.[m]edium", "t3.medium", False), ("StringLike", "a${*}", "a*", True),
    ("StringLike", "a${*}", "ab", False), ("StringNotLike", "t3.*", "t3.medium", False), ("StringNotLike", "t3.*", "m5.large", True),
    ("NumericLessThanEquals", "1", 1, True), ("NumericLessThan", 1, "1", False), ("NumericGreaterThan", 1, "10", True),
    ("NumericEquals", "1", "1.0", True), ("NumericNotEquals", "1", "2", True), ("NumericEquals", "1", "one", False),
    ("DateLessThan", "2026-01-02T00:00:00Z", "2026-01-01T00:00:00+00:00", True), ("DateGreaterThan", "2026-01-02T00:00:00Z", "1767225600", False),
    ("DateNotEquals", "2026-01-01", "2026-01-02", True), ("Bool", "true", True, True), ("Bool", "false", True, False), ("Bool", "true", None, False),
    ("IpAddress", "10.0.0.0/8", "10.1.2.3", True), ("IpAddress", ["192.0.2.1", "2001:db8::/32"], "2001:db8::1", True),
    ("NotIpAddress", "10.0.0.0/8", "10.1.2.3", False), ("ArnLike", "arn:aws:ec2:*:*:vpc/*", "arn:aws:ec2:us-east-1:1:vpc/vpc-1", True),
    ("ArnEquals", "arn:aws:ec2:*:*:vpc/*", "arn:aws:ec2:us-east-1:1:subnet/vpc", False), ("ArnNotLike", "arn:aws:ec2:*:*:vpc/*", "arn:aws:ec2:a:1:vpc/v", False),
    ("Null", "true", None, True), ("Null", "false", None, False), ("Null", "false", "a", True), ("Null", True, "a", False),
    ("ForAllValues:StringEquals", ["a", "b"], ["a"], True), ("ForAllValues:StringEquals", ["a"], ["a", "b"], False),
    ("ForAllValues:StringEquals", ["a"], None, True), ("ForAnyValue:StringEquals", ["a"], ["a", "b"], True),
    ("ForAnyValue:StringEquals", ["a"], None, False), ("ForAnyValue:StringLike", ["a*"], ["b", "ab"], True),
    ("ForAllValues:StringNotEquals", ["a"], ["b", "c"], True), ("ForAnyValue:StringNotEquals", ["a"], ["a"], False)])
def test_conditions(operator, wanted, found, holds):
    assert (judged({"Condition": {operator: {"AWS:Some/Key": wanted}}}, **{"aws__some/key": found}) == ALLOWED) == holds


def test_all_conditions_of_a_statement_hold():
    both = {"StringEquals": {"a": "1", "b": "2"}, "Bool": {"c": "true"}}
    assert judged({"Condition": both}, a="1", b="2", c=True) == ALLOWED
    for wrong in ({"a": "2"}, {"b": None}, {"c": False}):
        assert judged({"Condition": both}, **({"a": "1", "b": "2", "c": True} | wrong)) == NOT_ALLOWED


@pytest.mark.parametrize("document, words", [
    ([], "Version"), ({"Version": "2008-10-17", "Statement": []}, "Version"), ({"Version": "2012-10-17", "Statement": ["x"]}, "'x'")])
def test_documents_that_are_none(document, words):
    with pytest.raises(BadPolicy, match=words):
        Policy(document)


def test_a_policy_as_a_whole():
    with pytest.raises(BadPolicy, match="must be unique"):
        policy({"Sid": "a"}, {"Sid": "a"})
    policy(*({"Sid": f"a{n}", "Resource": INSTANCE} for n in range(40)))
    with pytest.raises(BadPolicy, match="PolicySize: 6144"):
        policy(*({"Sid": f"a{n}", "Resource": INSTANCE} for n in range(60)))


@pytest.mark.parametrize("change, words", [
    ({"Effect": "Maybe"}, "neither Allow nor Deny"), ({"NotAction": "ec2:*"}, "one of Action and NotAction"), ({"Principal": "*"}, "Principal"),
    ({"Condition": {"StringSame": {"a": "b"}}}, "StringSame"), ({"Condition": {"ForSome:StringEquals": {"a": "b"}}}, "ForSome"),
    ({"Resource": "arn:aws:ec2:*:*:instance/${aws:username}"}, "policy variable"), ({"Resource": "instance/*"}, "ARN format"),
    ({"Action": "StopInstances"}, "vendor"), ({"Action": []}, "vendor"), ({"Sid": "a-b"}, "alpha-numeric")])
def test_statements_that_cannot_be_read(change, words):
    with pytest.raises(BadPolicy, match=words):
        policy(change)
