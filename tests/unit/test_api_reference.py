"""The API reference builds without warnings and shows what a package offers."""

import importlib.util
import pkgutil
from pathlib import Path

import pytest

import lth_det.tickets

pytest.importorskip("pdoc")
ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("build_api", ROOT / "tools/build_api.py")
build_api = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(build_api)


@pytest.fixture
def restored(monkeypatch):
    """Take back what the builder sets on the package."""
    monkeypatch.setattr(lth_det.tickets, "__all__", ["Mask"], raising=False)
    monkeypatch.delattr(lth_det.tickets, "__all__")


@pytest.mark.filterwarnings("error")
def test_a_package_is_shown_with_what_it_offers(tmp_path, restored):
    build_api.build(["lth_det.tickets"], tmp_path)
    page = (tmp_path / "lth_det/tickets.html").read_text()
    offers = build_api.offered_names(lth_det.tickets)
    assert {"Mask", "save_ticket", "apply_mask_"} <= set(offers)
    for name in offers:
        assert f'<section id="{name}">' in page, name
    assert "Raises:" in page  # sections of docstrings are read as such
    written = {path.stem for path in (tmp_path / "lth_det/tickets").glob("*.html")}
    assert written == {found.name for found in pkgutil.iter_modules(lth_det.tickets.__path__)}


def test_a_missing_package_is_one_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["build_api.py", "--output", str(tmp_path), "lth_det.nothing"])
    with pytest.raises(SystemExit) as stop:
        build_api.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: No module named 'lth_det.nothing'; ")
