"""Whose a call is, by what it is signed with: the key, the secret, the time; and what a wrong one of each answers."""
from datetime import datetime, timedelta, timezone

import botocore.auth
import pytest
from refusals import refused
from test_users import client, user  # noqa: F401: a fixture

IMAGE = "/aws/service/testkit/docker/28.5/ami-id"


def test_a_key_that_is_nobodys_is_refused(bed):
    nobody = {"accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
    with refused("AuthFailure", "AWS was not able to validate the provided access credentials", status=401):
        client(bed, nobody).describe_instances()
    with refused("UnrecognizedClientException", "The security token included in the request is invalid."):
        client(bed, nobody, "ssm").get_parameter(Name="/aws/service/testkit/docker/28.5/ami-id")
    with refused("InvalidClientTokenId", "The security token included in the request is invalid.", status=403):
        client(bed, nobody, "sts").get_caller_identity()


def test_a_wrong_secret_is_refused(bed, user):
    one = user({"Action": "*"})
    wrong = {"aws_secret_access_key": one["secretAccessKey"][::-1]}
    with refused("AuthFailure", status=401):
        client(bed, one, **wrong).describe_instances()
    with refused("SignatureDoesNotMatch", "does not match the signature you provided", status=403):
        client(bed, one, "sts", **wrong).get_caller_identity()
    with refused("InvalidSignatureException"):
        client(bed, one, "ssm", **wrong).get_parameter(Name="/aws/service/testkit/docker/28.5/ami-id")
    client(bed, one).describe_instances()


def test_whoever_asks_who_he_is_is_told(bed, user):
    one = user({"Action": "ec2:DescribeImages"})
    told = client(bed, one, "sts").get_caller_identity()
    assert (told["Arn"], told["Account"]) == (f"arn:aws:iam::123456789012:user/{one['name']}", "123456789012") and told["UserId"].startswith("AIDA")


def test_a_token_of_a_session_does_not_go_with_keys_of_a_user(bed, user):
    """What is left in the environment, or in a Secret, when the keys were changed."""
    one = user({"Action": "*"})
    token = {"aws_session_token": "FwoGZXIvYXdzEBYaD"}
    with refused("AuthFailure", "AWS was not able to validate the provided access credentials", status=401):
        client(bed, one, **token).describe_instances()
    with refused("UnrecognizedClientException", "The security token included in the request is invalid."):
        client(bed, one, "ssm", **token).get_parameter(Name=IMAGE)
    with refused("InvalidClientTokenId", status=403):
        client(bed, one, "sts", **token).get_caller_identity()


@pytest.mark.parametrize("service, minutes, code, words", [
    ("ec2", -14, None, ""), ("ec2", -16, "RequestExpired", "Request has expired."), ("ec2", 16, "RequestExpired", "Request has expired."),
    ("sts", -4, None, ""), ("sts", -6, "SignatureDoesNotMatch", "Signature expired: "), ("sts", 6, "SignatureDoesNotMatch", "Signature not yet current: "),
    ("ssm", -6, "InvalidSignatureException", "is now earlier than"), ("ssm", 6, "InvalidSignatureException", "is still later than")])
def test_a_clock_that_is_wrong(bed, user, monkeypatch, service, minutes, code, words):
    one = client(bed, user({"Action": "*"}), service)
    call = {"ec2": lambda: one.describe_vpcs(), "sts": lambda: one.get_caller_identity(), "ssm": lambda: one.get_parameter(Name=IMAGE)}[service]
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda **_: (datetime.now(timezone.utc) + timedelta(minutes=minutes)).replace(tzinfo=None))
    if code is None:
        call()
    else:
        with refused(code, words):
            call()
