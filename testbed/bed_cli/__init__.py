"""The implementation of `testbed/bed`: Python's standard library and nothing else, so that it runs before anything is installed."""
