"""Lottery tickets for object detectors, on Detectron2.

The package is imported by layer (``lth_det.tickets``, ``lth_det.pruning``, ``lth_det.d2``, ...); this module
imports nothing heavy, so that the analysis part works where neither torch nor Detectron2 is installed.
"""

from lth_det.version import __version__ as __version__
