import json
import math

import numpy as np
import pytest
import torch

from lth_det.errors import MaskMismatchError, ScopeError
from lth_det.tickets import Mask
from lth_det.tickets.similarity import mask_similarity

GROUPS = {"z.w": "backbone", "a.w": "fpn", "b.w": "fpn", "unused": "rpn"}


def flags(text):
    return torch.tensor([c == "1" for c in text])


def test_literal_counts():
    first = Mask({"z.w": flags("1100"), "a.w": flags("10"), "b.w": flags("11")})
    second = Mask({"z.w": flags("0110"), "a.w": flags("10"), "b.w": flags("00")})
    found = mask_similarity(first, second, GROUPS)
    assert list(found.layers) == ["z.w", "a.w", "b.w"]
    assert list(found.groups) == ["backbone", "fpn"]
    layer = found.layers["z.w"]
    assert (layer.elements, layer.kept_first, layer.kept_second) == (4, 2, 2)
    assert layer.overlap.iou == pytest.approx(1 / 3)
    assert layer.overlap.chance == layer.layer_overlap.chance == pytest.approx(1 / 3)
    fpn = found.groups["fpn"]
    assert fpn.overlap.iou == pytest.approx(1 / 3)
    # Densities 3/4 and 1/4: 3/16 in common of 13/16. By layers: 1/2 * 1/2 * 2 = 1/2 of 3 + 1 - 1/2.
    assert fpn.overlap.chance == pytest.approx(3 / 13)
    assert fpn.layer_overlap.chance == pytest.approx(0.5 / 3.5)
    assert found.total.overlap == first.overlap(second)
    json.dumps(found.to_dict())
    assert found.to_dict()["groups"]["fpn"]["layer_chance"] == pytest.approx(0.5 / 3.5)


def test_layer_ratios_alone_are_no_similarity():
    generator = np.random.default_rng(0)
    densities = {"z.w": 0.9, "a.w": 0.05, "b.w": 0.3}
    first, second = (
        Mask({n: torch.from_numpy(generator.random(40_000) < d) for n, d in densities.items()})
        for _ in range(2)
    )
    total = mask_similarity(first, second, GROUPS).total
    assert total.overlap.kappa > 0.3
    assert abs(total.layer_overlap.kappa) < 0.01


def test_ends():
    full = Mask({"z.w": flags("11"), "a.w": torch.empty(0, dtype=torch.bool)})
    none = Mask({"z.w": flags("00"), "a.w": torch.empty(0, dtype=torch.bool)})
    same = mask_similarity(full, full, GROUPS)
    assert same.total.overlap.iou == 1.0
    assert math.isnan(same.total.layer_overlap.kappa)
    assert math.isnan(same.layers["a.w"].overlap.iou)
    assert math.isnan(mask_similarity(none, none, GROUPS).total.overlap.iou)
    assert mask_similarity(full, none, GROUPS).total.overlap.iou == 0.0


def test_masks_that_do_not_fit_are_refused():
    mask = Mask({"z.w": flags("11")})
    with pytest.raises(MaskMismatchError, match=r"wrong shape z\.w"):
        mask_similarity(mask, Mask({"z.w": flags("1")}), GROUPS)
    with pytest.raises(ScopeError, match=r"no module group: z\.w"):
        mask_similarity(mask, mask, {})
