"""Imported by the fork server alone: importing this module imports everything that commands need."""

from lth_det.sweeps.warm_imports import import_all

import_all()
