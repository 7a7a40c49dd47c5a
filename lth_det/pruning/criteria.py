"""Criteria: what a weight is worth. Higher = keep.

A criterion is a small class with a ``name`` and ``scores``; it knows no rounds, files or detectors. One that looks
at each weight alone may also have ``score_elements``, and is then computed in small pieces where it is needed, so
that a full-size copy of the weights never exists. Add your own from any module::

    @register_criterion("inverse")
    class InverseCriterion:
        name = "inverse"

        def scores(self, weights):
            return {name: -weight.abs() for name, weight in weights.items()}
"""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from lth_det.errors import ConfigError


class Criterion(Protocol):
    """Weights -> scores."""

    @property
    def name(self) -> str:
        """The name that tickets record."""
        ...

    def scores(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return a finite score for each element of each weight, of the same shape; higher = keep."""
        ...


@runtime_checkable
class ElementCriterion(Protocol):
    """A criterion that can score some elements of a weight without seeing the others."""

    def score_elements(self, name: str, values: Tensor, start: int, step: int) -> Tensor:
        """Return the scores of elements start, start + step, ... of the flattened weight ``name``.

        Args:
            name: The parameter.
            values: Those elements, 1-D, on the CPU, in the weight's dtype; not to be changed.
            start: Flat index (C order) of the first of them.
            step: Distance from one to the next.
        """
        ...


CriterionFactory = Callable[..., Criterion]
CRITERIA: dict[str, CriterionFactory] = {}
"""The criteria that a config can name."""

_Factory = TypeVar("_Factory", bound=CriterionFactory)


def register_criterion(name: str) -> Callable[[_Factory], _Factory]:
    """Return a decorator that makes a class (or function) known as the criterion ``name``.

    Raises:
        ConfigError: the name is taken by another criterion.
    """

    def register(factory: _Factory) -> _Factory:
        if CRITERIA.get(name, factory) is not factory:
            raise ConfigError(f"There is already a criterion called {name!r}; choose another name.")
        CRITERIA[name] = factory
        return factory

    return register


def build_criterion(name: str, **options: Any) -> Criterion:
    """Return the criterion registered under a name, made with these options.

    Raises:
        ConfigError: the name is unknown, or the options are not those of this criterion (one that needs gradients
            needs ``model`` and ``loss_fn``).
    """
    if name not in CRITERIA:
        known = ", ".join(sorted(CRITERIA))
        raise ConfigError(f"There is no criterion {name!r}; choose one of {known}.")
    factory = CRITERIA[name]
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        raise ConfigError(f"The criterion {name!r} does not fit its options: {error}.") from error
    return factory(**options)


@register_criterion("magnitude")
class MagnitudeCriterion:
    """The absolute value of the weight (Han et al. 2015, arXiv 1506.02626; Frankle & Carbin 2019)."""

    name = "magnitude"

    def scores(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the absolute values as float32."""
        return {name: weight.detach().abs().float() for name, weight in weights.items()}

    def score_elements(self, name: str, values: Tensor, start: int, step: int) -> Tensor:
        """Return the absolute values as float32."""
        return values.abs().float()


@register_criterion("random")
class RandomCriterion:
    """Uniform random scores in [0, 1) that depend on the seed, the parameter's name and the index only.

    The same seed gives the same scores for a parameter whatever other parameters there are, whatever their order,
    dtype and values, and on every machine and version of torch: they are a hash (SplitMix64; Steele et al. 2014) of
    the index, not the stream of a generator.

    Args:
        seed: Any whole number, or a text that holds one together with what the draw is for.
    """

    name = "random"

    def __init__(self, seed: int | str = 0) -> None:
        self.seed = seed

    def scores(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return random scores as float32, on the CPU; the values of the weights do not matter."""
        return {
            name: self._uniform(name, 0, 1, weight.numel()).reshape(weight.shape)
            for name, weight in weights.items()
        }

    def score_elements(self, name: str, values: Tensor, start: int, step: int) -> Tensor:
        """Return random scores as float32; the values do not matter."""
        return self._uniform(name, start, step, values.numel())

    def _uniform(self, name: str, start: int, step: int, count: int) -> Tensor:
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        state = np.arange(start, start + step * count, step, dtype=np.uint64)
        state *= np.uint64(0x9E3779B97F4A7C15)
        state += np.frombuffer(digest[:8], dtype="<u8")[0]
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
        # 24 bits are what a float32 in [0, 1) holds exactly.
        return torch.from_numpy((state >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24))
