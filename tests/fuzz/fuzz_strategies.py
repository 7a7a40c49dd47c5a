"""Hypothesis strategies: valid files of which a few nodes have become something else."""

import copy
import json
from typing import Any

import fuzz_mutate
from hypothesis import strategies as st

from lth_det.tickets.manifest import manifest_json, manifest_sha256

_LEAF = (
    st.sampled_from(fuzz_mutate.HOSTILE).map(copy.deepcopy)
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.booleans()
)
ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    _LEAF,
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@st.composite
def changed_json(draw: Any, value: Any) -> Any:
    """Draw a copy of ``value`` in which one to four nodes are replaced, removed, repeated or copied elsewhere."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 4))):
        nodes = fuzz_mutate.nodes(value)
        if not nodes:
            return draw(ANY_JSON)
        parent, key = nodes[draw(st.integers(0, len(nodes) - 1))]
        operation = draw(
            st.sampled_from(["replace", "replace", "remove", "repeat", "copy", "wrap"])
        )
        if operation == "replace":
            parent[key] = draw(ANY_JSON)
        elif operation == "remove":
            del parent[key]
        elif operation == "repeat" and isinstance(parent, list):
            parent.extend([parent[key]] * draw(st.integers(1, 20)))
        elif operation == "copy":
            other, place = nodes[draw(st.integers(0, len(nodes) - 1))]
            parent[key] = json.loads(json.dumps(other[place]))
        else:
            parent[key] = [parent[key]]
    return value


@st.composite
def _document(draw: Any, seeds: list[bytes]) -> bytes:
    value = draw(changed_json(json.loads(draw(st.sampled_from(seeds)))))
    return json.dumps(value).encode()


@st.composite
def _ticket(draw: Any, seeds: list[bytes]) -> bytes:
    parts = fuzz_mutate.split_ticket(draw(st.sampled_from(seeds)))
    if parts is None:
        raise ValueError("a seed is not a ticket")
    header, body = parts
    part = draw(st.sampled_from(["manifest", "manifest", "header", "body", "both"]))
    if part in ("manifest", "both"):
        manifest = draw(changed_json(json.loads(header["__metadata__"]["lth_det"])))
        text = json.dumps(manifest)
        if isinstance(manifest, dict) and draw(st.booleans()):
            try:
                manifest["sha256"] = manifest_sha256(manifest)
                text = manifest_json(manifest)
            except (ValueError, TypeError):
                pass  # NaN has no canonical form: the text stays as it was
        header["__metadata__"]["lth_det"] = text
    if part in ("header", "both"):
        header = draw(changed_json(header))
    if part == "body":
        place = draw(st.integers(0, len(body)))
        body = (
            body[:place] + draw(st.binary(max_size=12)) + body[place + draw(st.integers(0, 12)) :]
        )
    return fuzz_mutate.join_ticket(header, body)


def files_like(name: str, target: Any) -> st.SearchStrategy[bytes]:
    """Return files like the valid ones of a target, and now and then arbitrary bytes."""
    seeds = target.seeds()
    build = _ticket if name in ("ticket", "manifest") else _document
    return build(seeds) | build(seeds) | build(seeds) | st.binary(max_size=400)
