"""The implementation of `testbed/test`: stages that run the project's real tools and count what those say."""
