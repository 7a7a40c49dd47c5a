"""The embedded data set ``shapes``: COCO-format scenes drawn by our own code on first use.

``ensure_shapes()`` returns the folder of the data set; ``python -m lth_det.data.shapes --help``
prints statistics, checks the files and draws the contact sheet.
"""

from lth_det.data.shapes.config import GENERATOR_VERSION, Category, ShapesConfig
from lth_det.data.shapes.figure import (
    KEYPOINT_FLIP_PAIRS,
    KEYPOINT_NAMES,
    KEYPOINT_OKS_SIGMAS,
    SKELETON,
)
from lth_det.data.shapes.splits import SPLITS, Split
from lth_det.data.shapes.store import dataset_folder, ensure_shapes, shapes_home, verify_pixels

__all__ = [
    "GENERATOR_VERSION",
    "KEYPOINT_FLIP_PAIRS",
    "KEYPOINT_NAMES",
    "KEYPOINT_OKS_SIGMAS",
    "SKELETON",
    "SPLITS",
    "Category",
    "ShapesConfig",
    "Split",
    "dataset_folder",
    "ensure_shapes",
    "shapes_home",
    "verify_pixels",
]
