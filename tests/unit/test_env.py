import json
import platform
import sys

import pytest

from lth_det import env


def test_versions_are_those_installed_and_missing_packages_are_left_out(monkeypatch):
    import numpy as np

    monkeypatch.setattr(env, "PACKAGES", ("numpy", "no-such-package-of-ours"))
    assert env.package_versions() == {"python": platform.python_version(), "numpy": np.__version__}


def test_a_missing_detectron2_is_told_from_one_without_operators(monkeypatch):
    monkeypatch.setattr(env.importlib.util, "find_spec", lambda name: None)
    assert env.compiled_operators() is None


@pytest.mark.parametrize("json_wanted", [True, False])
def test_the_command_prints_what_was_found(monkeypatch, capsys, json_wanted):
    monkeypatch.setattr(sys, "argv", ["env", *(["--json"] if json_wanted else [])])
    assert env.main() == 0
    text = capsys.readouterr().out
    if json_wanted:
        assert json.loads(text)["versions"]["python"] == platform.python_version()
    else:
        assert f"{platform.python_version()}\n" in text
        assert "compiled operators" in text
