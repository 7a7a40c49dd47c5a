"""The Detectron2 side: the only package that imports Detectron2 or fvcore."""

import importlib.util

from lth_det.errors import ConfigError

if importlib.util.find_spec("detectron2") is None:
    raise ConfigError(
        "Detectron2 is not installed; run 'make setup' in the repository, or "
        "pip install 'git+https://github.com/facebookresearch/detectron2.git'."
    )
