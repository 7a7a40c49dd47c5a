"""What a configuration of a source task may say: frozen dataclasses, one for each section of the YAML file."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from lth_det.classify.config_checks import check_values
from lth_det.experiments.rst_presets import OF_PRESET

SHARE = -1.0
"""A prune rate of a module group that means: takes part in the budget of all others."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The data set and what is done to its images.

    Attributes:
        name: ``shapes_cls``, ``image_folder``, ``cifar10``, ``cifar100``, ``fashion_mnist`` or ``small_norb``.
        root: folder with the files; empty = ``$LTH_DET_CLASSIFY_DATA/<name>``, or ``datasets/<name>``.
        options: of the data set: for ``shapes_cls`` fields of ``lth_det.data.shapes.ShapesConfig``; for all
            ``classes``, a list of the class names to use (in that order), empty or absent = all.
        input_size: side in pixels of the square that enters the network.
        mean: per channel (RGB), on the 0-255 scale.
        std: per channel, on the 0-255 scale.
        augment: of training images: ``none``, ``flip`` (left-right), ``crop_flip`` (pad by ``pad``, random crop, flip),
            ``resized_crop_flip`` (random part of 8 to 100 % of the area, as torchvision's ImageNet training).
        pad: pixels on each side for ``crop_flip``.
        crop_share: validation images are scaled so that their short side is ``input_size / crop_share``, and the centre
            is cut out (0.875 = 224 of 256, ImageNet's usual); 1.0 = the whole square.
        workers: processes that load images; the result does not depend on it.
    """

    name: str = "shapes_cls"
    root: str = ""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    input_size: int = 64
    mean: tuple[float, ...] = (116.0, 116.0, 116.0)
    std: tuple[float, ...] = (58.0, 58.0, 58.0)
    augment: str = "crop_flip"
    pad: int = 4
    crop_share: float = 1.0
    workers: int = 0


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network.

    Attributes:
        name: ``narrow_resnet``; ``resnet20/32/44/56/110``, those of He et al. (2016) for CIFAR, with shortcuts without
            weights (option A); ``cifar_resnet20/...``, the same with 1x1 convolutions there (option B); or a ResNet of
            torchvision (``resnet18``, ``resnet50``, ``wide_resnet50_2``, ...).
        stem: ``imagenet`` (7x7 with stride 2, then max-pooling) or ``cifar`` (3x3, stride 1, no pooling).
        stem_width: channels of the stem; of ``narrow_resnet`` only, as the next two.
        widths: channels of the stages.
        blocks: basic blocks in each stage.
        weights: state dict (``.pth`` or ``.safetensors``) to start from where its names and shapes fit; "" = none.
    """

    name: str = "narrow_resnet"
    stem: str = "imagenet"
    stem_width: int = 16
    widths: tuple[int, ...] = (16, 32, 64, 128)
    blocks: tuple[int, ...] = (1, 1, 1, 1)
    weights: str = ""


@dataclasses.dataclass(frozen=True)
class SolverConfig:
    """The training of one stage.

    Attributes:
        optimizer: ``sgd`` or ``adamw``.
        lr: learning rate at the top of the schedule.
        momentum: of SGD.
        weight_decay: on all parameters, as in He et al. (2016).
        batch_size: images per step.
        max_iter: steps; 0 = ``epochs``.
        epochs: passes over the training images, where ``max_iter`` is 0.
        schedule: ``step`` (times ``gamma`` at each of ``steps``) or ``cosine`` (to zero at the end).
        steps: fractions of the schedule, ascending.
        gamma: factor of a step.
        warmup: fraction of the schedule in which the learning rate rises linearly from ``warmup_factor`` of itself.
        warmup_factor: where the warm-up begins.
        label_smoothing: of the cross entropy.
        amp: compute the training's forward pass in bfloat16 where torch deems it safe (``torch.autocast``); evaluation is
            always in float32.
        checkpoint_period: steps between the checkpoints that ``--resume`` goes on from; 0 = none.
        eval_batch_size: images at once in the evaluation.
    """

    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    batch_size: int = 128
    max_iter: int = 0
    epochs: int = 1
    schedule: str = "cosine"
    steps: tuple[float, ...] = ()
    gamma: float = 0.1
    warmup: float = 0.0
    warmup_factor: float = 0.01
    label_smoothing: float = 0.0
    amp: bool = False
    checkpoint_period: int = 100
    eval_batch_size: int = 128


@dataclasses.dataclass(frozen=True)
class PruningConfig:
    """Which weights are pruned; the same meaning as the keys of the node LTH of detector configurations.

    Attributes:
        criterion: name in ``lth_det.pruning.criteria.CRITERIA``; higher score = kept.
        mask_from: ``trained`` (scores of the weights that the round before ended with) or ``start`` (of the weights that
            the round starts from: pruning at initialisation).
        criterion_batches: training batches that a criterion with gradients looks at.
        scope: ``global``, ``group``, ``layer`` or ``sensitivity``.
        layer_ratios: with scope ``layer``: ``uniform`` or ``erk``.
        targets: prune rate after each round, ascending; empty = the next three.
        rounds: number of rounds.
        prune_rate: after the last round; round r of N keeps (1 - prune_rate)^(r / N).
        prune_rate_per_round: if above 0, the share of the survivors that each round removes, in place of ``prune_rate``.
        groups: module group (``stem``, ``backbone``, ``head``) -> -1 takes part in the budget, 0 stays dense, above 0 its
            own final prune rate. Only weights of convolutions, and of linear layers in the head, are prunable.
    """

    criterion: str = "magnitude"
    mask_from: str = "trained"
    criterion_batches: int = 8
    scope: str = "global"
    layer_ratios: str = "uniform"
    targets: tuple[float, ...] = ()
    rounds: int = 1
    prune_rate: float = 0.8
    prune_rate_per_round: float = 0.0
    groups: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class RewindConfig:
    """Where the survivors go back to.

    Attributes:
        to: ``iteration``, ``init``, ``final`` (no rewinding: Mehta's end-of-training weights) or ``pretrained``.
        iteration: steps of the dense round, with ``iteration``.
        epoch: passes over the training images instead of steps, if above 0.
        weights: state dict for ``pretrained``; "" = ``model.weights``.
        schedule: ``full`` (train for the whole schedule again) or ``remaining`` (from the rewind point on).
    """

    to: str = "iteration"
    iteration: int = 0
    epoch: float = 0.0
    weights: str = ""
    schedule: str = "full"


@dataclasses.dataclass(frozen=True)
class RstConfig:
    """Random sparse network transformation (Bai et al. 2022, arXiv 2203.04248), with ``method: rst``.

    Attributes:
        preset: what the values below mean that are -1, 0 or "": ``budget`` (the transformation takes as long as a dense
            training) or ``paper`` (the authors' code); see docs/methods.md.
        mask: ratios of the random mask: ``uniform``, ``erk`` or ``ticket``.
        mask_ticket: the ticket whose layer ratios ``ticket`` takes.
        cycles: cycle c of C ends at the prune rate 1 - (1 - p)^(c / C); 1 = one-shot.
        transform_iter: steps of one cycle.
        ramp: share of them in which the penalty grows.
        hold: share of them at its ceiling.
        penalty: ``coupled`` (a term of the loss) or ``decoupled`` (weights shrink after the step).
        ceiling: largest strength of the penalty.
        power: it grows as x^power of the ramp that is done.
        interval: steps between two increments of it.
        learning_rate: constant rate of the transformation; 0 = the schedule of ``solver``, stretched to its length.
        batch_size: of the transformation; 0 = 64 with ``paper``, else that of ``solver``.
        stop_residual: end in the hold as soon as the residual norm is at most this; 0 = hold to the end.
        check_period: steps between two looks at the residual norm.
    """

    preset: str = "budget"
    mask: str = "uniform"
    mask_ticket: str = ""
    cycles: int = 1
    transform_iter: int = 0
    ramp: float = OF_PRESET
    hold: float = OF_PRESET
    penalty: str = ""
    ceiling: float = OF_PRESET
    power: float = 1.0
    interval: int = 0
    learning_rate: float = OF_PRESET
    batch_size: int = 0
    stop_residual: float = 0.0
    check_period: int = 20


@dataclasses.dataclass(frozen=True)
class TransferConfig:
    """Transfer of tickets of one classification task to another (Mehta 2019, arXiv 1905.07785).

    Attributes:
        source: configuration file of the source run, relative to the file that names it; it is run first, in
            ``<output>/source``, or found finished there. "" = no transfer, or ``ticket``.
        ticket: one ticket of a finished run of ``train_classifier.py`` instead.
        rounds: rounds of the source run to transfer; empty = all, round 0 (dense transfer) included.
        starts: of the convolutions: ``source_final`` (weights at the end of the source round's training),
            ``source_init`` (the source's initialisation), ``random`` (another initialisation); the mask is the same.
        controls: ``random_mask`` (random mask with the ticket's layer counts on the dense source's final weights).
        finetune: ``frozen`` (only the head is trained; batch-norm statistics are frozen too) and / or ``full``.
        head_layers: 1 and / or 2 linear layers of the new head.
        head_hidden: width between two layers; 0 = as many as the features.
    """

    source: str = ""
    ticket: str = ""
    rounds: tuple[int, ...] = ()
    starts: tuple[str, ...] = ("source_final", "source_init", "random")
    controls: tuple[str, ...] = ("random_mask",)
    finetune: tuple[str, ...] = ("frozen", "full")
    head_layers: tuple[int, ...] = (1,)
    head_hidden: int = 0

    @property
    def enabled(self) -> bool:
        """Whether the configuration asks for a transfer."""
        return bool(self.source or self.ticket)


@dataclasses.dataclass(frozen=True)
class ClassifyConfig:
    """A whole configuration of ``tools/train_classifier.py``.

    Attributes:
        method: ``imp`` (rounds of pruning and rewinding) or ``rst`` (a random mask and a transformation, to one prune rate).
        data: the data set.
        model: the network.
        solver: the training of a stage.
        pruning: the rounds; of ``rst`` the prune rate and the groups.
        rst: the transformation, with ``method: rst``.
        rewind: where each round starts from.
        transfer: transfer of another run's tickets to this task; the sections ``pruning`` and ``rewind`` are not used then.
        controls: names of control runs, as in ``LTH.CONTROLS``.
        control_rounds: rounds that get them; empty = the last.
        seed: of initialisation, data order and augmentation.
        output: folder of the run.
        threads: CPU threads of torch; 0 = torch's default. Results may differ in the last bits between numbers of threads.
        device: ``cpu``, ``cuda``, ``cuda:1``, or ``auto`` (``cuda`` if there is one).

    Raises:
        ConfigError: a value is out of its range, or two contradict each other.
    """

    method: str = "imp"
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    solver: SolverConfig = dataclasses.field(default_factory=SolverConfig)
    pruning: PruningConfig = dataclasses.field(default_factory=PruningConfig)
    rewind: RewindConfig = dataclasses.field(default_factory=RewindConfig)
    rst: RstConfig = dataclasses.field(default_factory=RstConfig)
    transfer: TransferConfig = dataclasses.field(default_factory=TransferConfig)
    controls: tuple[str, ...] = ()
    control_rounds: tuple[int, ...] = ()
    seed: int = 1
    output: str = "output/classify"
    threads: int = 1
    device: str = "auto"

    def __post_init__(self) -> None:
        check_values(dataclasses.asdict(self))

    def group_rate(self, group: str) -> float:
        """Return the prune rate asked for a module group (:data:`SHARE`, 0 = dense, or its own)."""
        return self.pruning.groups.get(group, SHARE if group == "backbone" else 0.0)
