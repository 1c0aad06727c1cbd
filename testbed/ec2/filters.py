"""What the value of a filter means: `*` stands for anything, `?` for one character or none, and a backslash takes that away."""
import re
from functools import lru_cache

from moto.ec2 import utils
from moto.ec2.models import security_groups, tags


def install() -> None:
    """In the place of what moto has for it, which reads other characters as patterns, too, or no pattern at all."""
    utils.simple_aws_filter_to_re = tags.simple_aws_filter_to_re = lambda value: _expression(value) + r"\Z"
    utils.instance_value_in_filter_values = _is_among
    security_groups.aws_api_matches = lambda value, found: matches(value, str(found))


@lru_cache(maxsize=4096)
def _expression(value: str) -> str:
    parts = re.split(r"(\\.|[*?])", value, flags=re.DOTALL)
    special = {"*": ".*", "?": ".?"}
    return "(?s:" + "".join(special.get(part) or re.escape(part[1:] if part.startswith("\\") and len(part) > 1 else part) for part in parts) + ")"


def matches(value: str, found: str) -> bool:
    return bool(re.fullmatch(_expression(value), found))


def _is_among(found, values) -> bool:
    """Of an attribute of an instance: itself, each of several, or true and false."""
    texts = found if isinstance(found, list) else [str(found).lower() if isinstance(found, bool) else found]
    return any(text is not None and matches(value, str(text)) for text in texts for value in values)
