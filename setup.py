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
        "classify": ["torchvision", "PyYAML", "Pillow"],
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
            "pdoc",
        ],
    },
    entry_points={
        "console_scripts": [
            "lth-train-net = lth_det.cli.train_net:main",
            "lth-inspect-ticket = lth_det.cli.inspect_ticket:main",
            "lth-analyze-coco = lth_det.cli.analyze_coco:main",
            "lth-train-classifier = lth_det.cli.train_classifier:main",
            "lth-transfer-ticket = lth_det.cli.transfer_ticket:main",
            "lth-compare-tickets = lth_det.cli.compare_tickets:main",
            "lth-run-study = lth_det.cli.run_study:main",
            "lth-report-comparison = lth_det.cli.report_comparison:main",
            "lth-export-ticket = lth_det.cli.export_ticket:main",
            "lth-convert-torchvision = lth_det.cli.convert_torchvision:main",
        ],
        # The entry has the module's name, so that `-p lth_det.testing.plugin` beside it registers it once.
        "pytest11": ["lth_det.testing.plugin = lth_det.testing.plugin"],
    },
)
