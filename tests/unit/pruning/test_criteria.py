import numpy as np
import pytest
import torch

from lth_det.errors import ConfigError
from lth_det.pruning import (
    CRITERIA,
    MagnitudeCriterion,
    RandomCriterion,
    build_criterion,
    register_criterion,
)


def test_magnitude_scores():
    weights = {"w": torch.tensor([[-2.0, 0.5], [-0.0, 3.0]], dtype=torch.float16)}
    scores = MagnitudeCriterion().scores(weights)
    assert scores["w"].dtype == torch.float32
    assert scores["w"].tolist() == [[2.0, 0.5], [0.0, 3.0]]
    assert weights["w"][0, 0] == -2


def test_magnitude_scores_do_not_share_memory_with_the_weights():
    weight = torch.nn.Parameter(torch.ones(2))
    scores = MagnitudeCriterion().scores({"w": weight})["w"]
    scores.zero_()
    assert weight.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "criterion", [MagnitudeCriterion(), RandomCriterion(3)], ids=lambda c: c.name
)
def test_element_scores_equal_whole_scores(criterion):
    weight = torch.randn(10, 30, generator=torch.Generator().manual_seed(0))
    whole = criterion.scores({"fc.weight": weight})["fc.weight"].reshape(-1)
    for start, step in [(0, 1), (17, 1), (0, 127), (5, 7)]:
        part = criterion.score_elements("fc.weight", weight.reshape(-1)[start::step], start, step)
        assert torch.equal(part, whole[start::step])


def test_random_scores_are_pinned():
    scores = RandomCriterion(1).scores({"fc.weight": torch.zeros(2, 2)})["fc.weight"]
    assert scores.reshape(-1).tolist() == [
        0.5997955799102783,
        0.46955227851867676,
        0.10352301597595215,
        0.7826502919197083,
    ]


def test_random_scores_depend_on_seed_name_and_index_only():
    weights = {"a": torch.zeros(50), "b": torch.ones(50)}
    scores = RandomCriterion(1).scores(weights)
    again = RandomCriterion(1).scores({"b": torch.randn(200).half(), "a": torch.zeros(5, 10)})
    assert torch.equal(scores["a"], again["a"].reshape(-1))
    assert torch.equal(scores["b"], again["b"][:50])
    assert not torch.equal(scores["a"], scores["b"])
    assert not torch.equal(scores["a"], RandomCriterion(2).scores(weights)["a"])


def test_random_scores_are_uniform_and_independent():
    scores = RandomCriterion(7).scores({"w": torch.zeros(200_000)})["w"].numpy()
    assert scores.min() >= 0
    assert scores.max() < 1
    counts = np.bincount((scores * 20).astype(int), minlength=20)
    assert np.abs(counts / 10_000 - 1).max() < 0.05
    for lag in (1, 9, 64):
        assert abs(np.corrcoef(scores[:-lag], scores[lag:])[0, 1]) < 0.01
    other = RandomCriterion(8).scores({"w": torch.zeros(200_000)})["w"].numpy()
    assert abs(np.corrcoef(scores, other)[0, 1]) < 0.01


def test_a_user_adds_a_criterion_in_a_few_lines(monkeypatch):
    monkeypatch.setattr("lth_det.pruning.criteria.CRITERIA", dict(CRITERIA))

    @register_criterion("inverse")
    class InverseCriterion:
        name = "inverse"

        def scores(self, weights):
            return {name: -weight.abs() for name, weight in weights.items()}

    assert isinstance(build_criterion("inverse"), InverseCriterion)
    with pytest.raises(ConfigError, match="already a criterion called 'inverse'"):
        register_criterion("inverse")(MagnitudeCriterion)


def test_registry():
    assert isinstance(build_criterion("magnitude"), MagnitudeCriterion)
    assert build_criterion("random", seed=5).seed == 5
    with pytest.raises(ConfigError, match=r"no criterion 'l2'; choose one of .*magnitude, random"):
        build_criterion("l2")
