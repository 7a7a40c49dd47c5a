"""What a person can choose about an analysis, with the defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lth_det.errors import InputError

DEFAULT_CROSSES = (
    ("size", "frequency"),
    ("size", "difficulty"),
    ("size", "occlusion"),
    ("frequency", "difficulty"),
    ("size", "frequency", "difficulty"),
)


@dataclass(frozen=True)
class Options:
    """Choices of an analysis.

    Attributes:
        iou_types: what to evaluate; empty: all that the ground truth and every result file have.
        reference: the model that others are compared with and whose AP ranks the classes; None: the first.
        difficulty_from: another dense run that ranks the classes; None: the reference, cross-fitted over image halves.
        frequency: scheme of the class frequency bins, see :func:`lth_det.analysis.class_axes.frequency_axis`.
        size_edges: object sides in px that split a user's own size bins; they replace the finer sizes.
        crosses: names of axes to cross, two or more each.
        labels: external attributes: name -> {annotation id: label}.
        keypoint_sigmas: OKS constants, one per keypoint; None: those of the file, or COCO's for 17 points.
        replicates: bootstrap replicates; 0: no intervals.
        bootstrap_axes: object axes whose bins get intervals; None: sizes, and all others while that is cheap.
        seed: of the bootstrap and of the image halves.
        level: of the intervals.
        margin: non-inferiority margin in AP (0.003 = 0.3 points).
        errors: analyse error types.
        most_lost: how many lost objects to list per comparison.
        consensus: models whose agreement grades objects (``by_consensus``); empty: no such axis.
        backend: ``compiled``, ``numpy`` or None for the best there is.
    """

    iou_types: tuple[str, ...] = ()
    reference: str | None = None
    difficulty_from: str | None = None
    frequency: str = "auto"
    size_edges: tuple[float, ...] = ()
    crosses: tuple[tuple[str, ...], ...] = DEFAULT_CROSSES
    labels: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    keypoint_sigmas: tuple[float, ...] | None = None
    replicates: int = 1000
    bootstrap_axes: tuple[str, ...] | None = None
    seed: int = 1
    level: float = 0.95
    margin: float = 0.003
    errors: bool = True
    most_lost: int = 200
    consensus: tuple[str, ...] = ()
    backend: str | None = None

    def __post_init__(self) -> None:
        """Refuse what would give no sensible result.

        Raises:
            InputError: a number is out of its range.
        """
        rules = (
            (self.replicates >= 0, "--bootstrap: give 0 or more replicates"),
            (
                self.replicates != 1,
                "--bootstrap: one replicate gives no interval, take at least 100",
            ),
            (0.0 < self.level < 1.0, "--level: give a coverage between 0 and 1, such as 0.95"),
            (self.margin >= 0.0, "--margin: give 0 or more AP points"),
            (self.seed >= 0, "--seed: give 0 or a positive whole number"),
            (self.most_lost >= 0, "--most-lost: give 0 or more objects"),
            (all(e > 0 for e in self.size_edges), "--size-edges: give positive sides in pixels"),
        )
        for holds, sentence in rules:
            if not holds:
                raise InputError(f"{sentence}.")
