"""An analysis of the made-up run, by the real analysis, so that the reports are tested on its real JSON."""

from lth_det.analysis.analyze import analyze
from lth_det.analysis.inputs import ModelInfo
from lth_det.analysis.options import Options

FEWER = ("size_rel", "truncation", "aspect", "thinness", "kitti", "visible_keypoints")
MODELS = {
    "dense": ("round_00", 0.0, None),
    "t50": ("round_01", 0.5, None),
    "t75": ("round_02", 0.75, None),
    "random": ("round_02/control_random", 0.75, "random_layer_ratios"),
}


def make_analysis(folder, *, models=tuple(MODELS), iou_types=("bbox",)):
    """Return the JSON of an analysis of the run in ``folder`` (of at least three rounds)."""
    files = {
        name: str(folder / MODELS[name][0] / "inference" / "coco_instances_results.json")
        for name in models
    }
    info = {name: ModelInfo(sparsity=MODELS[name][1], control=MODELS[name][2]) for name in models}
    options = Options(
        iou_types=iou_types, replicates=10, backend="numpy", keypoint_sigmas=(0.05,) * 4
    )
    raw = analyze(folder / "data" / "val.json", files, info=info, options=options).to_dict()
    for axes in raw["axes"].values():
        # Fewer axes make fewer figures, and tests faster.
        for name in FEWER:
            axes.pop(name, None)
    return raw
