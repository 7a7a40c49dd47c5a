"""The pytest plugin of the invariants: ``pytest -p lth_det.testing.plugin --pyargs lth_det.testing.invariants ...``.

Options: ``--lth-config FILE`` (needed), ``--lth-options "KEY VALUE ..."``, ``--lth-steps N``. Nothing heavy is imported
until a test asks for the detector, so that the plugin may be active in other test runs, too.
"""

from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("lth_det", "invariants of lottery-ticket training")
    group.addoption("--lth-config", metavar="FILE", help="configuration of train_net.py to check")
    group.addoption(
        "--lth-options",
        default="",
        metavar='"KEY VALUE ..."',
        help="options for the configuration, such as a smaller batch or data set",
    )
    group.addoption("--lth-steps", type=int, default=4, help="steps of each training (default 4)")


@pytest.fixture(scope="session")
def lth_detector(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The configuration under test, as a :class:`lth_det.testing.detector.Detector`."""
    return make_detector(request.config, tmp_path_factory.mktemp("lth_det"))


def make_detector(settings: pytest.Config, folder: Path) -> Any:
    """Return the detector that the options of a pytest run ask for.

    Raises:
        pytest.UsageError: ``--lth-config`` is missing or ``--lth-steps`` too low.
    """
    config = settings.getoption("--lth-config")
    if not config:
        raise pytest.UsageError("--lth-config is missing: name the configuration to check.")
    steps = settings.getoption("--lth-steps")
    if steps < 2:
        raise pytest.UsageError("--lth-steps: give at least 2, a training is broken off inside.")
    from lth_det.testing.detector import Detector, split_options

    options = split_options(settings.getoption("--lth-options"))
    return Detector(str(config), folder, options=options, steps=steps)
