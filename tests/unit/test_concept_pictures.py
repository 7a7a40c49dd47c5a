"""The pictures of the concepts are drawn from any run of several rounds."""

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lth_det.tickets import Mask, Provenance, Ticket, save_ticket

ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location(
    "concept_pictures", ROOT / "docs/images/concept_pictures.py"
)
pictures = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(pictures)


def provenance(number, rate):
    return Provenance(
        criterion="magnitude", scope="global", prune_rate=rate, prune_rates_by_group={}, sparsity=rate, round=number,
        parent_sha256=None, source_task="t", source_weights="w", seed=1, rewind="iteration 6",
    )  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """Return the folder of a run of two nested rounds on two layers."""
    generator = torch.Generator().manual_seed(1)
    weights = {
        name: torch.randn(8, 8, generator=generator) for name in (pictures.LAYER, "a.weight")
    }
    (tmp_path / "round_00").mkdir()
    torch.save({"model": weights}, tmp_path / "round_00/model_final.pth")
    for number, limit in ((1, 0.5), (2, 1.0)):
        mask = Mask({name: value.abs() > limit for name, value in weights.items()})
        (tmp_path / f"round_{number:02d}").mkdir()
        ticket = Ticket(mask, weights, provenance(number, mask.prune_rate))
        save_ticket(tmp_path / f"round_{number:02d}/ticket.safetensors", ticket)
    return tmp_path


def test_a_weight_counts_the_rounds_that_it_survives(run):
    masks = [ticket.mask for ticket in pictures.rounds_of(run)]
    survived = pictures.when_pruned(masks, pictures.LAYER)
    size = torch.load(run / "round_00/model_final.pth")["model"][pictures.LAYER].abs()
    assert torch.equal(survived, (size > 0.5).int() + (size > 1.0).int())


def test_every_picture_of_the_concepts_is_drawn(run, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["x", "--run", str(run), "--output", str(tmp_path / "out")])
    pictures.main()
    drawn = {path.name for path in (tmp_path / "out").iterdir()}
    page = (ROOT / "docs/concepts.md").read_text()
    assert {
        f"{one}.png" for one in ("concept_rounds", "concept_scopes", "concept_rewinding")
    } == drawn
    for name in drawn:
        assert f"(images/{name})" in page
        image = np.asarray(
            Image.open(io.BytesIO((tmp_path / "out" / name).read_bytes())).convert("L")
        )
        assert image.std() > 5, name
