"""The overlap of several tickets: pairs, groups, chance, and parameters that only one has."""

import numpy as np
import pytest
import torch

from lth_det.errors import MaskMismatchError
from lth_det.experiments.overlap_matrix import overlap_matrix
from lth_det.tickets.mask import Mask
from lth_det.tickets.scope import ParameterEntry, ParameterTable
from lth_det.tickets.serialization import save_ticket
from lth_det.tickets.table_record import TABLE_KEY, table_to_text
from lth_det.tickets.ticket import Provenance, Ticket

GROUP = {"backbone.a": "backbone", "fpn.b": "fpn", "mask.c": "mask_head", "key.d": "keypoint_head"}


def save(path, arrays, *, table=True):
    mask = Mask({name: torch.from_numpy(value) for name, value in arrays.items()})
    entries = ParameterTable(
        ParameterEntry(name, value.shape, value.size, GROUP[name], True, False, "")
        for name, value in arrays.items()
    )
    extra = {TABLE_KEY: table_to_text(entries)} if table else {}
    provenance = Provenance("magnitude", "global", mask.prune_rate, {}, 0.5, 1, None, "task", "", 1, "init", {}, extra)  # fmt: skip
    save_ticket(path, Ticket(mask, None, provenance))
    return path


def draw(seed, density, *names):
    generator = np.random.default_rng(seed)
    return {name: generator.random((40, 25)) < density for name in names}


@pytest.fixture
def files(tmp_path):
    mask = draw(1, 0.3, "backbone.a", "fpn.b", "mask.c")
    keypoint = draw(2, 0.1, "backbone.a", "fpn.b", "key.d")
    keypoint["fpn.b"] = mask["fpn.b"].copy()
    other = draw(3, 0.5, "backbone.a")
    return {
        "mask": (save(tmp_path / "m.safetensors", mask), mask),
        "keypoint": (save(tmp_path / "k.safetensors", keypoint), keypoint),
        "backbone only": (save(tmp_path / "b.safetensors", other, table=False), other),
    }


def test_every_pair_over_what_both_have(files):
    found = overlap_matrix({name: path for name, (path, _) in files.items()})
    assert found["format_version"] == 1
    assert found["names"] == list(files)
    assert found["groups"] == ["all", "backbone", "fpn"]
    rows = {(row["first"], row["second"], row["group"]): row for row in found["pairs"]}
    assert list(rows) == [
        ("mask", "keypoint", "all"), ("mask", "keypoint", "backbone"), ("mask", "keypoint", "fpn"),
        ("mask", "backbone only", "all"), ("mask", "backbone only", "backbone"),
        ("keypoint", "backbone only", "all"), ("keypoint", "backbone only", "backbone"),
    ]  # fmt: skip
    one, two = files["mask"][1], files["keypoint"][1]
    row = rows["mask", "keypoint", "all"]
    a = np.concatenate([one[name].ravel() for name in ("backbone.a", "fpn.b")])
    b = np.concatenate([two[name].ravel() for name in ("backbone.a", "fpn.b")])
    iou, p, q = (a & b).sum() / (a | b).sum(), a.mean(), b.mean()
    chance = p * q / (p + q - p * q)
    assert row["iou"] == pytest.approx(iou)
    assert row["chance"] == pytest.approx(chance)
    assert row["kappa"] == pytest.approx((iou - chance) / (1 - chance))
    assert (row["density_first"], row["density_second"]) == pytest.approx((p, q))
    assert (row["common_parameters"], row["common_elements"]) == (2, 2000)
    assert (row["only_first"], row["only_second"]) == (1000, 1000)
    assert rows["mask", "keypoint", "fpn"]["kappa"] == 1
    # Independent draws of different densities share nothing beyond chance, though the IoU is not 0.
    backbone = rows["mask", "keypoint", "backbone"]
    assert backbone["iou"] > 0.05
    assert abs(backbone["kappa"]) < 0.05


def test_layer_ratios_alone_raise_only_the_uncorrected_value(tmp_path):
    sparse, dense = draw(1, 0.02, "backbone.a"), draw(2, 0.9, "fpn.b")
    again = {**draw(3, 0.02, "backbone.a"), **draw(4, 0.9, "fpn.b")}
    one, two = (
        save(tmp_path / "1.safetensors", {**sparse, **dense}),
        save(tmp_path / "2.safetensors", again),
    )
    row = overlap_matrix({"one": one, "two": two})["pairs"][0]
    assert row["kappa"] > 0.5
    assert abs(row["layer_kappa"]) < 0.05


def test_what_cannot_be_compared(files, tmp_path):
    with pytest.raises(MaskMismatchError, match="two tickets or more, not 1"):
        overlap_matrix({"mask": files["mask"][0]})
    lone = save(tmp_path / "lone.safetensors", draw(5, 0.5, "key.d"))
    with pytest.raises(MaskMismatchError, match="The tickets mask and lone have no parameter"):
        overlap_matrix({"mask": files["mask"][0], "lone": lone})
