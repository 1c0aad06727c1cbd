"""The one error the command line shows to a person. Every message says what failed, what was said, and what to do."""


class BedError(Exception):
    """Something a person has to know about; printed without a traceback."""


class Ended(BedError):
    """A process of the bed ended by itself while it was to become ready."""
