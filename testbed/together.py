"""Which tests one worker of pytest-xdist runs, one after the other: those of these files, which share what their module makes.
For conftest.py to import from.

By xdist's own mark for that (`xdist_group`) they would not be together: 3.8 writes the group into an attribute of the item that
pytest 9.2 does not read any more, and every worker makes what the others make. bed_cli/tests/test_together.py tries it.
"""
import pytest

FILES = ("test_permissions.py", "test_pod.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return file if file.endswith(FILES) else nodeid

    return Together(config, log)
