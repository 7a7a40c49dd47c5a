"""Metadata of the package; imports nothing but setuptools."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "([^"]+)"', (HERE / "lth_det/version.py").read_text()).group(1)

ANALYSIS = ["numpy>=1.24", "pycocotools>=2.0.7"]
PLOTS = ["matplotlib>=3.7", "opencv-python-headless>=4.8"]

setup(
    name="lth_det",
    version=VERSION,
    description="Lottery tickets for object detectors, on Detectron2",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["lth_det", "lth_det.*"]),
    package_data={"lth_det": ["py.typed", "**/*.json", "**/*.c", "**/*.md"]},
    # Detectron2 is not on the package index under its own name, so it cannot be listed: `make setup` installs it, and
    # lth_det.d2 says how when it is missing.
    install_requires=[*ANALYSIS, *PLOTS, "torch>=2.4", "safetensors>=0.4", "fvcore>=0.1.5"],
    extras_require={
        "classify": ["torchvision"],
        "sweep": ["submitit", "PyYAML"],
        "export": ["onnx", "onnxruntime"],
        "dev": [
            "pytest",
            "pytest-xdist",
            "pytest-randomly",
            "pytest-cov",
            "hypothesis",
            "ruff",
            "mypy",
            "import-linter",
        ],
    },
    entry_points={
        "console_scripts": [
            "lth-train-net = lth_det.cli.train_net:main",
            "lth-inspect-ticket = lth_det.cli.inspect_ticket:main",
            "lth-analyze-coco = lth_det.cli.analyze_coco:main",
        ]
    },
)
