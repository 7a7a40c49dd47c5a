"""The result of an analysis; its JSON form is described in ``schema.md`` beside this file."""

import json
from dataclasses import dataclass
from typing import Any

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class AnalysisResult:
    """All numbers of an analysis: AP and AR in 0-1, NaN where not computable."""

    value: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of schema version 1, with None instead of NaN; a fresh copy."""
        copy: dict[str, Any] = json.loads(json.dumps(_plain(self.value), allow_nan=False))
        return copy

    def model(self, name: str, iou_type: str) -> dict[str, Any]:
        """Return the numbers of one model and IoU type."""
        found: dict[str, Any] = self.value["models"][name][iou_type]
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(value) if value - value == 0.0 else None
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):
        return _plain(value.item())
    return value
