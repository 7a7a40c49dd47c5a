#!/usr/bin/env python
"""Build and install a pure-Python wheel of Detectron2 0.6 that runs with current torch, NumPy and Pillow.

Detectron2 is not on the Python package index under its own name. This step takes the source distribution that is there
(pinned by SHA-256 in requirements/detectron2-source.txt), makes the replacements listed in ``REPLACEMENTS``, puts a stub
in the place of the compiled module, and caches the result as a wheel, so that it is built once per machine. An already
installed Detectron2 (for example upstream main with compiled operators) is kept.

Example: ``.venv/bin/python tools/build_detectron2.py`` (``make setup`` calls it; torch must be installed before).
"""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE_PIN = ROOT / "requirements" / "detectron2-source.txt"
VERSION = (
    "0.6+lthdet.2"  # change the label whenever the replacements change: the cache is keyed by it
)

# (file or glob below the package, pattern, replacement, number of places). A count that differs stops the build: the
# source is then not the one these lines were written for.
REPLACEMENTS: list[tuple[str, str, str, int]] = [
    # NumPy 1.24 removed the aliases of the built-in types.
    ("**/*.py", r"\bnp\.(bool|int|float|str|object)\b", r"\1", 19),
    # Pillow 10 removed the old name of the same filter.
    ("data/transforms/transform.py", r"\bImage\.LINEAR\b", "Image.BILINEAR", 1),
    # setuptools 81 removed pkg_resources; the configs lie next to the module.
    ("model_zoo/model_zoo.py", r"^import pkg_resources\n", "", 1),
    (
        "model_zoo/model_zoo.py",
        r'pkg_resources\.resource_filename\(\s*"detectron2\.model_zoo", '
        r'os\.path\.join\("configs", config_path\)\s*\)',
        'os.path.join(os.path.dirname(__file__), "configs", config_path)',
        1,
    ),
]

STUB = '''"""Stand-in for the compiled operators, which this build does not have."""

COMPILED = False


def get_compiler_version():
    return "none (built without compiled operators)"


def get_cuda_version():
    return "not available"


def has_cuda():
    return False


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise ImportError(
        f"detectron2._C.{name} is a compiled operator and this Detectron2 was built without them "
        "(needed for deformable convolution, rotated boxes and the fast COCO evaluation only); "
        "install upstream Detectron2 to have it."
    )
'''

SETUP = """from setuptools import find_namespace_packages, setup

setup(
    name="detectron2",
    version="{version}",
    description="Detectron2 0.6 without compiled operators, for current torch, NumPy and Pillow",
    license="Apache-2.0",
    packages=find_namespace_packages(include=["detectron2", "detectron2.*"]),
    package_data={{"detectron2.model_zoo": ["configs/**/*.yaml", "configs/**/*.py"]}},
    python_requires=">=3.10",
    install_requires=[
        "Pillow", "matplotlib", "pycocotools>=2.0.2", "termcolor", "yacs>=0.1.8", "tabulate", "cloudpickle",
        "tqdm", "tensorboard", "fvcore>=0.1.5,<0.1.6", "iopath>=0.1.7", "omegaconf>=2.1", "hydra-core>=1.1", "black",
    ],
)
"""


def cache_folder() -> Path:
    """Return the folder of the built wheel (``$XDG_CACHE_HOME/lth_det`` or ``~/.cache/lth_det``)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lth_det"


def download(target: Path) -> Path:
    """Download the pinned source distribution with pip, which checks its hash, into ``target``."""
    # Without build isolation: pip asks the package for its metadata, and its setup.py imports torch.
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
    ]
    command += [
        "--no-binary",
        ":all:",
        "--require-hashes",
        "-d",
        str(target),
        "-r",
        str(SOURCE_PIN),
    ]
    subprocess.run(command, check=True)
    return next(target.glob("*.tar.gz"))


def unpack(archive: Path, target: Path) -> Path:
    """Unpack the archive below ``target`` and return the folder that holds its ``setup.py``."""
    with tarfile.open(archive) as handle:
        # The first releases of Python 3.10 and 3.11 lack the filter; the archive's hash is pinned all the same.
        if hasattr(tarfile, "data_filter"):
            handle.extractall(target, filter="data")
        else:
            handle.extractall(target)
    return next(target.glob("*/setup.py")).parent


def adapt(source: Path) -> None:
    """Make the listed replacements, add the stub and the projects, and replace the set-up script."""
    package = source / "detectron2"
    for pattern, old, new, expected in REPLACEMENTS:
        found = 0
        for path in sorted(package.glob(pattern)):
            text = path.read_text(encoding="utf-8")
            changed, count = re.subn(old, new, text, flags=re.MULTILINE)
            found += count
            if count:
                path.write_text(changed, encoding="utf-8")
        if found != expected:
            sys.exit(f"error: {pattern}: {found} places match {old!r}, expected {expected}.")
    (package / "_C.py").write_text(STUB, encoding="utf-8")
    for name in ("PointRend/point_rend", "DeepLab/deeplab", "Panoptic-DeepLab/panoptic_deeplab"):
        module = package / "projects" / Path(name).name
        if not module.exists():
            shutil.copytree(source / "projects" / name, module)
    (source / "setup.py").write_text(SETUP.format(version=VERSION), encoding="utf-8")


def build_wheel(target: Path) -> Path:
    """Build the wheel into the folder ``target`` and return its path; an existing one is taken as it is."""
    finished = sorted(target.glob(f"detectron2-{VERSION}-*.whl"))
    if finished:
        return finished[0]
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="detectron2-") as scratch:
        source = unpack(download(Path(scratch)), Path(scratch))
        adapt(source)
        wheels = Path(scratch) / "wheels"
        command = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
        ]
        subprocess.run([*command, "-w", str(wheels), str(source)], check=True)
        built = next(wheels.glob("*.whl"))
        # A copy under another name first: a half-copied wheel must never carry the final name.
        partial = target / f".{built.name}.{os.getpid()}"
        shutil.copy(built, partial)
        partial.replace(target / built.name)
    return target / built.name


def main() -> None:
    """Install Detectron2 unless one is installed already."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--rebuild", action="store_true", help="build and install even if a Detectron2 is installed"
    )
    options = parser.parse_args()
    if importlib.util.find_spec("detectron2") is not None and not options.rebuild:
        print("Detectron2 is installed already: kept as it is.")
        return
    cache = cache_folder()
    if options.rebuild:
        for old in cache.glob(f"detectron2-{VERSION}-*.whl"):
            old.unlink()
    wheel = build_wheel(cache)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall"]
    subprocess.run([*command, str(wheel)], check=True)
    print(f"Installed {wheel.name}.")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        # pip has said why, for example that the package index cannot be reached.
        sys.stderr.write(f"error: {' '.join(error.cmd[1:4])} failed; see above, then run again.\n")
        sys.exit(2)
