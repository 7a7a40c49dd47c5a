import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lth_det.errors import MaskMismatchError
from lth_det.tickets.mask import Mask, chance_overlap


def bools(*values):
    return torch.tensor(values, dtype=torch.bool)


def random_masks(seed, density=0.5):
    generator = np.random.default_rng(seed)
    shapes = {"fc.weight": (7, 9), "conv.weight": (4, 3, 3, 3), "scalar": (), "empty": (0, 5)}
    return {
        name: torch.from_numpy(np.asarray(generator.random(s) < density))
        for name, s in shapes.items()
    }


def test_look_up_gives_back_what_was_put_in():
    tensors = random_masks(0)
    mask = Mask(tensors)
    assert list(mask) == sorted(tensors)
    assert len(mask) == 4
    for name, tensor in tensors.items():
        assert torch.equal(mask[name], tensor)
        assert mask[name].shape == tensor.shape
        assert mask.kept_in(name) == int(tensor.sum())
    assert mask.numel == sum(t.numel() for t in tensors.values())
    assert mask.kept == sum(int(t.sum()) for t in tensors.values())


def test_a_mask_cannot_be_changed():
    tensors = {"w": bools(True, False, True)}
    mask = Mask(tensors)
    before = mask.sha256()
    tensors["w"][1] = True
    mask["w"].fill_(False)
    assert mask["w"].tolist() == [True, False, True]
    assert Mask({"w": mask["w"]}).sha256() == before
    with pytest.raises(ValueError, match="read-only"):
        mask.packed("w")[0] = 1
    with pytest.raises(TypeError):
        mask["w"] = bools(True)


def test_from_packed_does_not_keep_the_array_it_gets():
    bits = np.array([0b10100000], dtype=np.uint8)
    mask = Mask.from_packed({"w": (3,)}, {"w": bits})
    bits[0] = 0
    assert mask["w"].tolist() == [True, False, True]


def test_rates_of_a_literal_mask():
    mask = Mask({"a": bools(True, True, False, False), "b": bools(True)})
    assert (mask.numel, mask.kept) == (5, 3)
    assert mask.density == 0.6
    assert mask.prune_rate == 0.4


def test_an_empty_mask_prunes_nothing():
    mask = Mask({})
    assert (mask.numel, mask.kept, mask.density, mask.prune_rate) == (0, 0, 1.0, 0.0)
    assert Mask({"e": torch.empty(0, dtype=torch.bool)}).density == 1.0


def test_ones_like_keeps_all_elements_of_parameters():
    layer = torch.nn.Linear(3, 2)
    mask = Mask.ones_like(dict(layer.named_parameters()))
    assert mask.shapes == {"bias": (2,), "weight": (2, 3)}
    assert mask.kept == 8


def test_hash_is_pinned_and_independent_of_the_order():
    first = Mask({"b": bools(True, False), "a": torch.ones(2, 3, dtype=torch.bool)})
    second = Mask({"a": torch.ones(2, 3, dtype=torch.bool), "b": bools(True, False)})
    assert first.sha256() == "6a17b792546e24aee7f5f7d0acf6cc5e34324bd212001d3a34be3649a47cc1ad"
    assert first == second
    assert hash(first) == hash(second)


@pytest.mark.parametrize(
    "other",
    [
        {"a": torch.ones(2, 3, dtype=torch.bool), "b": bools(False, True)},
        {"a": torch.ones(3, 2, dtype=torch.bool), "b": bools(True, False)},
        {"a": torch.ones(2, 3, dtype=torch.bool), "c": bools(True, False)},
        {"a": torch.ones(2, 3, dtype=torch.bool)},
        {"a": torch.ones(2, 3, dtype=torch.bool), "b": bools(True, False, False)},
    ],
    ids=["bits", "shape", "name", "fewer", "longer"],
)
def test_hash_sees_names_shapes_and_bits(other):
    mask = Mask({"a": torch.ones(2, 3, dtype=torch.bool), "b": bools(True, False)})
    assert mask != Mask(other)
    assert mask.sha256() != Mask(other).sha256()


def test_a_name_with_a_line_break_is_not_two_names():
    one = Mask({'a\n["b", [1]]': bools(True)})
    two = Mask({"a": bools(True), "b": bools(True)})
    assert one.sha256() != two.sha256()


@pytest.mark.parametrize("bad", [torch.ones(2), torch.ones(2, dtype=torch.uint8), [True]])
def test_only_bool_tensors_make_a_mask(bad):
    with pytest.raises(MaskMismatchError, match=r"mask of fc\.weight must be"):
        Mask({"fc.weight": bad})


def test_nesting():
    wide = Mask({"w": bools(True, True, False, True)})
    narrow = Mask({"w": bools(True, False, False, True)})
    assert narrow.is_nested_in(wide)
    assert wide.is_nested_in(wide)
    assert not wide.is_nested_in(narrow)


def test_nesting_looks_at_every_parameter():
    first = Mask({"a": bools(True), "b": bools(True), "c": bools(False)})
    second = Mask({"a": bools(True), "b": bools(False), "c": bools(True)})
    assert not first.is_nested_in(second)


@pytest.mark.parametrize("method", ["is_nested_in", "intersection", "overlap"])
def test_masks_of_other_models_are_refused_with_all_differences(method):
    mask = Mask({"a": bools(True), "b": bools(True)})
    other = Mask({"b": bools(True, True), "c": bools(True)})
    with pytest.raises(
        MaskMismatchError, match=r"missing a; unexpected c; wrong shape b \(2,\) instead of \(1,\)"
    ):
        getattr(mask, method)(other)


def test_overlap_of_literal_masks():
    first = Mask({"w": bools(True, True, False, False)})
    second = Mask({"w": bools(False, True, True, False)})
    overlap = first.overlap(second)
    assert overlap.iou == pytest.approx(1 / 3)
    assert overlap.chance == pytest.approx(0.25 / 0.75)
    assert overlap.kappa == pytest.approx(0.0)


def test_overlap_at_its_ends():
    dense = Mask({"w": bools(True, True)})
    half = Mask({"w": bools(True, False)})
    none = Mask({"w": bools(False, False)})
    assert half.overlap(half).iou == 1.0
    assert half.overlap(half).kappa == 1.0
    assert half.overlap(Mask({"w": bools(False, True)})).kappa == pytest.approx(-0.5)
    assert dense.overlap(dense).iou == 1.0
    assert np.isnan(dense.overlap(dense).kappa)
    assert np.isnan(none.overlap(none).iou)
    assert half.overlap(none).iou == 0.0


def test_two_random_masks_overlap_as_much_as_chance_says():
    # The published comparison: 32.8 % density, two independent masks overlap 19.6 %.
    assert chance_overlap(0.328, 0.328) == pytest.approx(0.196, abs=5e-4)
    generator = np.random.default_rng(3)
    masks = [Mask({"w": torch.from_numpy(generator.random(200_000) < 0.328)}) for _ in range(2)]
    overlap = masks[0].overlap(masks[1])
    assert overlap.iou == pytest.approx(overlap.chance, abs=0.005)
    assert abs(overlap.kappa) < 0.006


def test_restricted_to_names():
    mask = Mask({"a": bools(True), "b": bools(False, True)})
    assert mask.restricted_to(["b"]) == Mask({"b": bools(False, True)})
    with pytest.raises(MaskMismatchError, match="no parameter c"):
        mask.restricted_to(["a", "c"])


def test_copies_are_equal():
    mask = Mask(random_masks(1))
    assert copy.deepcopy(mask) == mask
    again = pickle.loads(pickle.dumps(mask))
    assert again == mask
    with pytest.raises(ValueError, match="read-only"):
        again.packed("fc.weight")[0] = 1


@pytest.mark.parametrize(
    ("bits", "match"),
    [
        (np.zeros(2, np.uint8), "must be 1 bytes for 3 elements"),
        (np.zeros(1, np.int64), "values of int64"),
        (np.array([0b00010000], np.uint8), "go on after its last element"),
        (np.array([0b00000001], np.uint8), "go on after its last element"),
    ],
)
def test_damaged_bits_are_refused(bits, match):
    with pytest.raises(MaskMismatchError, match=match):
        Mask.from_packed({"w": (3,)}, {"w": bits})


def test_bits_and_shapes_of_other_names_are_refused():
    with pytest.raises(MaskMismatchError, match="different names: v, w"):
        Mask.from_packed({"w": (3,)}, {"v": np.zeros(1, np.uint8)})


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_algebra_equals_that_of_sets(pairs):
    first = {i for i, (a, _) in enumerate(pairs) if a}
    second = {i for i, (_, b) in enumerate(pairs) if b}
    one = Mask({"w": torch.tensor([a for a, _ in pairs], dtype=torch.bool)})
    two = Mask({"w": torch.tensor([b for _, b in pairs], dtype=torch.bool)})
    both = one.intersection(two)
    assert {i for i, kept in enumerate(both["w"].tolist()) if kept} == first & second
    assert one.is_nested_in(two) == (first <= second)
    assert one.kept_in_both(two, "w") == len(first & second)
    assert both.is_nested_in(one)
    assert both.is_nested_in(two)
    if first | second:
        assert one.overlap(two).iou == pytest.approx(len(first & second) / len(first | second))
