"""``python -m lth_det.env``: what this environment has, for bug reports and as the last step of the set-up."""

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import sys
from typing import Any

PACKAGES = (
    "torch",
    "torchvision",
    "detectron2",
    "fvcore",
    "pycocotools",
    "opencv-python-headless",
    "opencv-python",
    "numpy",
    "safetensors",
    "matplotlib",
)


def package_versions() -> dict[str, str]:
    """Return the installed versions of the packages we use, by distribution name; absent ones are left out."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def compiled_operators() -> bool | None:
    """Tell whether Detectron2 has its compiled operators; ``None`` when Detectron2 is not installed."""
    if importlib.util.find_spec("detectron2") is None:
        return None
    spec = importlib.util.find_spec("detectron2._C")
    return spec is not None and not str(spec.origin).endswith(".py")


def describe() -> dict[str, Any]:
    """Return versions, compiled operators, CUDA devices and threads as one dictionary (JSON types only)."""
    found: dict[str, Any] = {
        "versions": package_versions(),
        "detectron2_compiled_operators": compiled_operators(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "datasets_folder": os.environ.get("DETECTRON2_DATASETS", "datasets"),
    }
    if importlib.util.find_spec("torch") is not None:
        import torch

        found["torch_threads"] = torch.get_num_threads()
        found["cuda_devices"] = [
            torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
        ]
    return found


def main() -> int:
    """Print the environment as a table, or as JSON with ``--json``."""
    parser = argparse.ArgumentParser(
        description="Print what lth_det found on this machine.",
        epilog="Example: python -m lth_det.env --json",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = describe()
    if options.json:
        from lth_det.io import to_json

        sys.stdout.write(to_json(found))
        return 0
    rows = {**found.pop("versions"), **found}
    operators = rows.pop("detectron2_compiled_operators")
    states = {None: "Detectron2 is missing", True: "yes", False: "no (pure-Python build)"}
    rows["compiled operators"] = states[operators]
    width = max(map(len, rows))
    for name, value in rows.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        sys.stdout.write(f"{name:<{width}}  {shown if shown not in (None, '') else '-'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
