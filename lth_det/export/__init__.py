"""Tickets for use: compact checkpoints, removal of dead channels, 2:4 projection, ONNX. Pure torch."""

from lth_det.export.compact import save_compact as save_compact
from lth_det.export.compact_reader import CompactCheckpoint as CompactCheckpoint
from lth_det.export.compact_reader import is_compact as is_compact
from lth_det.export.compact_reader import load_compact as load_compact
