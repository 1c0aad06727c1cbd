"""The tests that take minutes each: marked `long`, and run by `testbed/test --long` only. For conftest.py to import from."""


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes minutes; only with --long")


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="run the tests that take minutes, and no others")
    parser.addoption("--any", action="store_true", help="run tests however long they take")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--any"):
        return
    wanted = [item for item in items if bool(item.get_closest_marker("long")) == config.getoption("--long")]
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = wanted
