"""What a network's input layer expects: channel order, mean, standard deviation; and where its blocks have the stride."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from lth_det.errors import DataError

PREPROCESSING_KEY = "preprocessing"
STRIDE_KEY = "stride_in_1x1"
_TOLERANCE = 1e-3  # relative; published statistics differ in their third digit (123.675 and 123.68)
_FORMATS = ("RGB", "BGR")


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """(pixel - mean) / std for each channel of an image in this order.

    Attributes:
        format: ``"RGB"`` or ``"BGR"``.
        mean: Of each channel in that order, on the scale 0-255.
        std: Likewise.
    """

    format: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to_json(self) -> str:
        """Return the text that tickets carry."""
        return json.dumps(
            {"format": self.format, "mean": list(self.mean), "std": list(self.std)}, sort_keys=True
        )

    @classmethod
    def from_json(cls, text: str, where: str) -> "Preprocessing":
        """Return what :meth:`to_json` wrote.

        Raises:
            DataError: the text is something else; ``where`` names its place.
        """
        try:
            value: Any = json.loads(text)
            found = cls(
                str(value["format"]),
                tuple(float(number) for number in value["mean"]),
                tuple(float(number) for number in value["std"]),
            )
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise DataError(
                f'{where} is not of the form {{"format": "RGB", "mean": [r, g, b], "std": [r, g, b]}} ({error}).'
            ) from error
        numbers = (*found.mean, *found.std)
        if (
            found.format not in _FORMATS
            or (len(found.mean), len(found.std)) != (3, 3)
            or not all(map(math.isfinite, numbers))
            or min(found.std) <= 0
        ):
            raise DataError(
                f"{where} needs the format RGB or BGR, three means and three standard deviations above 0."
            )
        return found

    def same_numbers(self, other: "Preprocessing", field: str) -> bool:
        """Return whether ``mean`` or ``std`` agree, as printed, to a thousandth."""
        return all(
            math.isclose(a, b, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
            for a, b in zip(getattr(self, field), getattr(other, field), strict=True)
        )

    def in_format(self, channel_order: str) -> "Preprocessing":
        """Return the same function of a pixel for images in another channel order."""
        if channel_order == self.format:
            return self
        return Preprocessing(channel_order, self.mean[::-1], self.std[::-1])


IMAGENET_RGB = Preprocessing("RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""torchvision's and timm's usual statistics, 255 (0.485, 0.456, 0.406) and 255 (0.229, 0.224, 0.225)."""

MSRA_BGR = Preprocessing("BGR", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0))
"""Detectron2's defaults, for the MSRA weights of its model zoo."""

NAMED = {"torchvision": IMAGENET_RGB, "msra": MSRA_BGR}


@dataclasses.dataclass(frozen=True)
class InputFacts:
    """What is known about the input side of a network.

    Attributes:
        preprocessing: None if nothing says.
        stride_in_1x1: Whether bottleneck blocks have their stride in the first 1x1 convolution (MSRA) and not in the 3x3
            one (torchvision); None if nothing says, or there are no bottleneck blocks.
        origin: Where this is known from, in words.
    """

    preprocessing: Preprocessing | None
    stride_in_1x1: bool | None
    origin: str


def facts_of_convention(convention: str) -> InputFacts:
    """Return what the names in a checkpoint say about the input: torchvision's and MSRA's are known, others are not."""
    if convention == "torchvision":
        return InputFacts(IMAGENET_RGB, False, "ImageNet statistics of torchvision and timm")
    if convention == "caffe2":
        return InputFacts(MSRA_BGR, True, "MSRA weights of Detectron2's model zoo")
    return InputFacts(None, None, "the file does not say")


def facts_of_extra(extra: Mapping[str, str], where: str) -> InputFacts:
    """Return what the provenance of a ticket says.

    Raises:
        DataError: it says something else than channel order, means and deviations.
    """
    text, stride = extra.get(PREPROCESSING_KEY), extra.get(STRIDE_KEY)
    if text is None and stride is None:
        return InputFacts(None, None, "the ticket does not say")
    found = None if text is None else Preprocessing.from_json(text, f"{where}: {PREPROCESSING_KEY}")
    if stride not in (None, "true", "false"):
        raise DataError(f"{where}: {STRIDE_KEY} is {stride!r}, not true or false.")
    return InputFacts(found, None if stride is None else stride == "true", "the ticket")


def facts_to_extra(facts: InputFacts) -> dict[str, str]:
    """Return the entries of a ticket's provenance that :func:`facts_of_extra` reads."""
    extra: dict[str, str] = {}
    if facts.preprocessing is not None:
        extra[PREPROCESSING_KEY] = facts.preprocessing.to_json()
    if facts.stride_in_1x1 is not None:
        extra[STRIDE_KEY] = json.dumps(facts.stride_in_1x1)
    return extra


def options_for(facts: InputFacts, *, bottleneck: bool) -> list[tuple[str, Any]]:
    """Return the ``KEY VALUE`` pairs that a Detectron2 configuration needs for a network with these facts.

    Args:
        facts: Of the source.
        bottleneck: Whether the target has bottleneck blocks: with basic ones the stride has only one place.
    """
    options: list[tuple[str, Any]] = []
    if facts.preprocessing is not None:
        options += [
            ("INPUT.FORMAT", facts.preprocessing.format),
            ("MODEL.PIXEL_MEAN", list(facts.preprocessing.mean)),
            ("MODEL.PIXEL_STD", list(facts.preprocessing.std)),
        ]
    if bottleneck and facts.stride_in_1x1 is not None:
        options.append(("MODEL.RESNETS.STRIDE_IN_1X1", facts.stride_in_1x1))
    return options


def differing_options(
    required: list[tuple[str, Any]], present: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    """Return the required pairs that a configuration does not have; numbers agree to a thousandth.

    Args:
        required: As :func:`options_for` returns them.
        present: The configuration's value of each of these keys.
    """
    return [(key, value) for key, value in required if not _same(value, present[key])]


def _same(required: Any, present: Any) -> bool:
    if isinstance(required, list):
        return len(required) == len(present) and all(
            math.isclose(a, b, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
            for a, b in zip(required, present, strict=True)
        )
    return bool(required == present)


def options_text(options: list[tuple[str, Any]]) -> str:
    """Return the pairs as words of a command line.

    >>> options_text([("INPUT.FORMAT", "RGB"), ("MODEL.PIXEL_STD", [1.0, 1.0, 1.0])])
    'INPUT.FORMAT RGB MODEL.PIXEL_STD "[1.0, 1.0, 1.0]"'
    """
    return " ".join(
        f'{key} "{value}"' if isinstance(value, list) else f"{key} {value}"
        for key, value in options
    )
