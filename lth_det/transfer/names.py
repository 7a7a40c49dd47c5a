"""Names of a ResNet's tensors in torchvision, timm, MSRA's Caffe2 files and Detectron2, brought to one form.

The canonical name of a trunk tensor is the one inside Detectron2's ResNet: ``stem.conv1.weight``,
``res2.0.conv1.norm.running_mean``, ``res3.0.shortcut.weight``. A tensor of a detector outside its ResNet keeps its full
name (``backbone.fpn_lateral5.weight``).
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping

from lth_det.errors import DataError
from lth_det.tickets.differences import list_names

_TRUNK = re.compile(r"^(?:stem|res[2-5])\.")
_DETECTOR_TRUNK = re.compile(r"^(?:backbone\.(?:bottom_up\.)?|roi_heads\.(?=res5\.))")
# Order matters: the names of norm layers before those of the convolutions that own them.
_TORCHVISION = (
    (re.compile(r"^conv1\."), "stem.conv1."),
    (re.compile(r"^bn1\."), "stem.conv1.norm."),
    (re.compile(r"^layer([1-4])\.(\d+)\.conv([1-3])\."), r"res\1.\2.conv\3."),
    (re.compile(r"^layer([1-4])\.(\d+)\.bn([1-3])\."), r"res\1.\2.conv\3.norm."),
    (re.compile(r"^layer([1-4])\.(\d+)\.downsample\.0\."), r"res\1.\2.shortcut."),
    (re.compile(r"^layer([1-4])\.(\d+)\.downsample\.1\."), r"res\1.\2.shortcut.norm."),
)
_STAGE = re.compile(r"^res([1-4])\.")
_CLASSIFIER = re.compile(r"^(?:fc|classifier|head|linear)\.|^fc1000_|^pred_[wb]$")
_CAFFE2_LAYER = re.compile(r"^(?:(res_)?conv1|res([2-5])_(\d+)_branch(1|2a|2b|2c))(_bn)?_(\w+)$")
_CAFFE2_BRANCH = {"1": "shortcut", "2a": "conv1", "2b": "conv2", "2c": "conv3"}
_CAFFE2_VALUE = {"w": "weight", "b": "bias"}
_CAFFE2_NORM = {
    "s": "weight",
    "gamma": "weight",
    "b": "bias",
    "beta": "bias",
    "rm": "running_mean",
    "running_mean": "running_mean",
    "riv": "running_var",
    "running_var": "running_var",
}


@dataclasses.dataclass(frozen=True)
class NamedSource:
    """The names of a file in canonical form.

    Attributes:
        convention: ``"torchvision"`` (timm's plain ResNets have the same names), ``"caffe2"`` or ``"detectron2"``.
        prefix: What was in front of each name of the ResNet, such as ``"module.encoder."``.
        file_names: Canonical name -> name in the file.
        left_out: Name in the file -> why it has no canonical name.
    """

    convention: str
    prefix: str
    file_names: Mapping[str, str]
    left_out: Mapping[str, str]


def is_trunk(canonical: str) -> bool:
    """Return whether a canonical name is one of the ResNet (stem, res2 to res5)."""
    return bool(_TRUNK.match(canonical))


def canonical_detector_name(name: str) -> str:
    """Return the canonical name of a detector's tensor: FPN and C4 models have the same for the same ResNet layer.

    >>> canonical_detector_name("backbone.bottom_up.res2.0.conv1.weight")
    'res2.0.conv1.weight'
    >>> canonical_detector_name("roi_heads.res5.0.conv1.weight")
    'res5.0.conv1.weight'
    >>> canonical_detector_name("backbone.fpn_lateral5.weight")
    'backbone.fpn_lateral5.weight'
    """
    stripped = _DETECTOR_TRUNK.sub("", name)
    return stripped if is_trunk(stripped) else name


def canonical_torchvision_name(name: str) -> str:
    """Return the canonical name of a tensor of torchvision's ResNet.

    Raises:
        DataError: it is not the name of one.

    >>> canonical_torchvision_name("layer1.0.downsample.1.running_var")
    'res2.0.shortcut.norm.running_var'
    """
    for pattern, replacement in _TORCHVISION:
        converted, count = pattern.subn(replacement, name)
        if count:
            return _STAGE.sub(lambda match: f"res{int(match[1]) + 1}.", converted)
    raise DataError(
        f"{name} is not a name of a torchvision ResNet; give a file such as resnet18-*.pth."
    )


def canonical_caffe2_name(name: str) -> str | None:
    """Return the canonical name of a tensor of MSRA's ResNets (Detectron2's model zoo), None if it is of another part.

    >>> canonical_caffe2_name("res2_0_branch2a_bn_s")
    'res2.0.conv1.norm.weight'
    """
    match = _CAFFE2_LAYER.match(name)
    if match is None:
        return None
    stem_prefix, stage, block, branch, norm, value = match.groups()
    layer = "stem.conv1" if stage is None else f"res{stage}.{block}.{_CAFFE2_BRANCH[branch]}"
    table = _CAFFE2_NORM if norm else _CAFFE2_VALUE
    if value not in table or (stem_prefix and not norm):
        return None
    return f"{layer}.norm.{table[value]}" if norm else f"{layer}.{table[value]}"


def name_source(names: Iterable[str], path: str) -> NamedSource:
    """Find out whose names these are and bring them to canonical form.

    Args:
        names: All names of tensors in the file.
        path: The file, for messages.

    Raises:
        DataError: there is no ResNet, more than one, or a variant that Detectron2 has no place for (deep stem,
            average pooling in the shortcuts, attention).
    """
    listed = list(names)
    if "conv1_w" in listed:
        return _collect("caffe2", "", listed, canonical_caffe2_name)
    # A mask does not name a stem that is dense.
    if any(re.search(r"(?:^|\.)(?:stem|res2\.0)\.conv1\.weight$", name) for name in listed):
        return _detectron2(listed)
    prefix = _torchvision_prefix(listed, path)
    _refuse_variants(listed, prefix, path)

    def canonical(name: str) -> str | None:
        if not name.startswith(prefix):
            return None
        local = name[len(prefix) :]
        return None if _CLASSIFIER.match(local) else canonical_torchvision_name(local)

    try:
        return _collect("torchvision", prefix, listed, canonical)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _detectron2(names: list[str]) -> NamedSource:
    prefix = "module." if all(name.startswith("module.") for name in names) else ""
    return _collect(
        "detectron2", prefix, names, lambda name: canonical_detector_name(name[len(prefix) :])
    )


def _collect(
    convention: str, prefix: str, names: list[str], canonical: Callable[[str], str | None]
) -> NamedSource:
    file_names: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for name in names:
        found = canonical(name)
        if found is None:
            left_out[name] = _reason(name, prefix)
        elif found in file_names:
            raise DataError(f"{file_names[found]} and {name} are both {found}; keep one of them.")
        else:
            file_names[found] = name
    return NamedSource(convention, prefix, file_names, left_out)


def _reason(name: str, prefix: str) -> str:
    if not name.startswith(prefix):
        return f"outside the ResNet ({prefix}*)"
    return "classifier" if _CLASSIFIER.match(name[len(prefix) :]) else "not part of a ResNet"


def _torchvision_prefix(names: list[str], path: str) -> str:
    """Return what stands before ``conv1.weight`` of the one ResNet among the names."""
    blocks = "layer1.0.conv1.weight"
    prefixes = [name[: -len(blocks)] for name in names if name.endswith(blocks)]
    prefixes = [prefix for prefix in prefixes if not prefix or prefix.endswith(".")]
    if len(prefixes) > 1:
        raise DataError(
            f"{path} holds {len(prefixes)} ResNets ({list_names(prefixes)}); save the one that is meant by itself."
        )
    if not prefixes:
        raise DataError(
            f"{path} holds no ResNet: none of its {len(names)} names is layer1.0.conv1.weight (torchvision, timm), "
            "res2_0_branch2a_w (MSRA) or stem.conv1.weight (Detectron2)."
        )
    return prefixes[0]


def _refuse_variants(names: list[str], prefix: str, path: str) -> None:
    local = {name[len(prefix) :] for name in names if name.startswith(prefix)}
    variant = None
    if any(re.match(r"conv1\.\d+\.", name) for name in local):
        variant = "a deep stem (three convolutions, conv1.0 and so on)"
    elif any(re.search(r"\.downsample\.2\.", name) for name in local):
        variant = "average pooling in its shortcuts (downsample.2)"
    elif any(re.match(r"layer\d\.\d+\.(?:se|attn)\.", name) for name in local):
        variant = "attention in its blocks"
    if variant is not None:
        raise DataError(
            f"{path} is a ResNet variant with {variant}, which Detectron2's ResNet does not have; use a plain ResNet "
            "such as torchvision's resnet50 or timm's resnet50.tv_in1k."
        )
