"""How tests look at a refused call."""
from contextlib import contextmanager

import pytest
from botocore.exceptions import ClientError


@contextmanager
def refused(code: str, *words: str, status: "int | None" = None):
    with pytest.raises(ClientError) as raised:
        yield raised
    error = raised.value.response["Error"]
    assert error["Code"] == code, error
    for word in words:
        assert word in error["Message"], error
    if status is not None:
        assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
