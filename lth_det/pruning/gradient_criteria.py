"""Criteria that need gradients: SNIP, GraSP, Taylor, SynFlow. They know no detector: a closure gives the loss.

The closure takes nothing and returns a scalar loss of the model on some batch, such as
``lambda: sum(model(batch).values())`` for a Detectron2 model in training mode. Scoring leaves the model as it was:
parameters, buffers, ``requires_grad`` and ``grad``.
"""

import abc
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from lth_det.errors import ConfigError, MaskMismatchError
from lth_det.pruning.criteria import register_criterion
from lth_det.tickets.differences import list_names, require_equal_shapes
from lth_det.tickets.rewinding import capture_weights, rewind_

_ROOT = 1 / 8  # keeps what float64 tells apart, from 1e-300 on, within float32

_INPUT_NORMS = ("GroupNorm", "LayerNorm", "InstanceNorm2d")

LossFunction = Callable[[], Tensor]


class GradientCriterion(abc.ABC):
    """A criterion that differentiates a loss of the model at its present weights.

    Args:
        model: The model; the weights to score are its parameters. Frozen ones get scores too.
        loss_fn: Returns a scalar loss of the model; called ``repeats`` times, so a closure over a data iterator
            scores several batches.
        repeats: How many losses to look at, at least 1.

    Raises:
        ConfigError: ``repeats`` is less than 1.
    """

    name: str

    def __init__(self, model: nn.Module, loss_fn: LossFunction, repeats: int = 1) -> None:
        if repeats < 1:
            raise ConfigError(f"A criterion needs at least one batch, not {repeats}.")
        self._model = model
        self._loss_fn = loss_fn
        self._repeats = repeats

    def scores(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a score for each element, as float32; 0 for a parameter that the loss does not use.

        Args:
            weights: Parameters of the model, or tensors with their names and exactly their values.

        Raises:
            MaskMismatchError: a weight is not a parameter of the model, or has other values.
        """
        parameters = _parameters_for(self._model, weights)
        with _left_as_it_was(self._model, parameters.values()):
            total = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in weights.items()}
            for _ in range(self._repeats):
                for name, score in self._scores_once(parameters).items():
                    total[name] += score.to(total[name].device, torch.float32)
        return {name: self._finish(score) for name, score in total.items()}

    @abc.abstractmethod
    def _scores_once(self, parameters: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the summand of one loss for each parameter."""

    def _finish(self, summed: Tensor) -> Tensor:
        """Return the score that the sum over all losses gives."""
        return summed

    def _gradients(
        self, parameters: Mapping[str, Tensor], *, differentiable: bool = False
    ) -> dict[str, Tensor]:
        gradients: tuple[Tensor | None, ...] = torch.autograd.grad(
            self._loss_fn(),
            list(parameters.values()),
            create_graph=differentiable,
            allow_unused=True,
        )
        return {
            name: torch.zeros_like(parameter) if gradient is None else gradient
            for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True)
        }


@register_criterion("snip")
class SnipCriterion(GradientCriterion):
    """SNIP: |w * dL/dw|, with the gradient summed over the losses (Lee et al. 2019, arXiv 1810.02340, eq. 6).

    The normalisation of the paper does not change any order and is left out.
    """

    name = "snip"

    def _scores_once(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        gradients = self._gradients(parameters)
        return {name: parameters[name].detach() * grad for name, grad in gradients.items()}

    def _finish(self, summed: Tensor) -> Tensor:
        return summed.abs()


@register_criterion("taylor")
class TaylorCriterion(GradientCriterion):
    """Taylor: (w * dL/dw)^2, summed over the losses (Molchanov et al. 2019, arXiv 1906.10771, eq. 8, per weight)."""

    name = "taylor"

    def _scores_once(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        gradients = self._gradients(parameters)
        return {name: (parameters[name].detach() * g).square() for name, g in gradients.items()}


@register_criterion("grasp")
class GraspCriterion(GradientCriterion):
    """GraSP: w * (H g), keeping what the gradient flow needs (Wang et al. 2020, arXiv 2002.07376, eq. 8).

    H is the Hessian and g the gradient of one loss, over the scored weights; summed over the losses. The paper
    removes the highest of -w * (H g), so here the sign is turned. Its softmax temperature belongs in the closure.
    The loss must be differentiable twice: some compiled operations are not, and torch then says which.
    """

    name = "grasp"

    def _scores_once(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        gradients = self._gradients(parameters, differentiable=True)
        # d/dw (stop(g) . g) = H g: one more backward instead of a Hessian.
        product = torch.stack([(g.detach() * g).sum() for g in gradients.values()]).sum()
        if not product.requires_grad:
            return {name: torch.zeros_like(p) for name, p in parameters.items()}
        seconds: tuple[Tensor | None, ...] = torch.autograd.grad(
            product, list(parameters.values()), allow_unused=True
        )
        return {
            name: torch.zeros_like(parameter) if second is None else parameter.detach() * second
            for (name, parameter), second in zip(parameters.items(), seconds, strict=True)
        }


@register_criterion("synflow")
class SynFlowCriterion(GradientCriterion):
    """SynFlow: w * dR/dw, where all parameters and buffers are replaced by their absolute values.

    No data is used (Tanaka et al. 2020, arXiv 2006.05467, eq. 1 and algorithm 1). While scoring, the model is in
    evaluation mode, and its floating parameters and buffers are absolute values in float64 (products over many
    layers overflow float32); the running means of batch norm are zero. Scores are divided by the largest one, and
    of that the eighth root is taken, which keeps their order and fits float32. Use it over many rounds
    (:func:`lth_det.pruning.gradual.prune_gradually`): in one shot whole layers vanish, which the paper shows.

    Args:
        model: The model.
        loss_fn: Returns the sum R of the model's outputs for an input of ones, in float64.
        repeats: As for the others; 1 is enough as nothing is random.

    Attributes:
        data_free: The loss is the sum of outputs for ones, not one of training data.
        steps: Prunings with new scores that make up one, where nothing else is asked for; the paper's 100.
    """

    name = "synflow"
    data_free = True
    steps = 100

    def scores(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the scores, 0 to 1, as float32."""
        _parameters_for(self._model, weights)
        with _linear(self._model):
            parameters = dict(self._model.named_parameters())
            chosen = {name: parameters[name] for name in weights}
            with _left_as_it_was(self._model, chosen.values()):
                scores = dict(self._scores_once(chosen))
        largest = max((float(s.max()) for s in scores.values() if s.numel()), default=0.0)
        scale = largest if largest > 0 else 1.0
        return {
            name: ((score / scale).abs().pow(_ROOT) * score.sign()).float()
            for name, score in scores.items()
        }

    def _scores_once(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        gradients = self._gradients(parameters)
        return {name: parameters[name].detach() * grad for name, grad in gradients.items()}


def _parameters_for(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, nn.Parameter]:
    own = dict(model.named_parameters())
    require_equal_shapes(
        {name: tuple(parameter.shape) for name, parameter in own.items()},
        {name: tuple(weight.shape) for name, weight in weights.items()},
        what="The weights to score are not those of the model",
        allow_missing=True,
    )
    # Gradients at other values than those that will be pruned would be a silent error.
    others = [
        name
        for name, weight in weights.items()
        if weight is not own[name] and not torch.equal(weight.detach().to(own[name]), own[name])
    ]
    if others:
        raise MaskMismatchError(
            f"The model has other values than the weights to score: {list_names(others)}; "
            "load the weights into the model first."
        )
    return {name: own[name] for name in weights}


@contextlib.contextmanager
def _left_as_it_was(model: nn.Module, parameters: Iterable[Tensor]) -> Iterator[None]:
    """Let all these parameters have gradients, and undo that and what a forward pass did to the buffers."""
    frozen = [parameter for parameter in parameters if not parameter.requires_grad]
    buffers = dict(model.named_buffers())
    before = capture_weights(buffers)
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        with torch.enable_grad():
            yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
        rewind_(buffers, before)


@contextlib.contextmanager
def _linear(model: nn.Module) -> Iterator[None]:
    """Make the model one of absolute float64 values in evaluation mode for the time of the block."""
    # What normalises by the input itself is not homogeneous: absolute weights do not make its outputs positive.
    norms = sorted({type(m).__name__ for m in model.modules() if type(m).__name__ in _INPUT_NORMS})
    if norms:
        raise ConfigError(
            f"SynFlow cannot score a model with {', '.join(norms)}, which normalises by the input; choose another "
            "LTH.CRITERION, such as snip."
        )
    means = {id(b) for name, b in model.named_buffers() if name.endswith("running_mean")}
    tensors = [t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]
    data = [tensor.data for tensor in tensors]
    training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        for tensor in tensors:
            # A mean would be subtracted, and what is negative dies in the next ReLU.
            tensor.data = tensor.data.double().abs() * (id(tensor) not in means)
        yield
    finally:
        for tensor, value in zip(tensors, data, strict=True):
            tensor.data = value
        for module, mode in training.items():
            module.training = mode
