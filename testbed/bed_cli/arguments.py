"""What the command lines here need of argparse and cannot have from every Python that the project allows."""
import argparse
from collections.abc import Iterable


def one_of(choices: Iterable[str]):
    """The `type` of an argument with nargs="*", in place of `choices`: with those, Python 3.11 refuses to be given none."""
    known = tuple(choices)

    def check(word: str) -> str:
        if word not in known:
            raise argparse.ArgumentTypeError(f"{word!r} is not one of {', '.join(known)}")
        return word

    return check
