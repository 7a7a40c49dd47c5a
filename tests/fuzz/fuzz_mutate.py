"""Changes of valid files that keep their structure, so that a change reaches the check it is aimed at."""

import copy
import json
import random
import struct
from collections.abc import Callable
from typing import Any

from lth_det.tickets.manifest import manifest_json, manifest_sha256

HOSTILE: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 7, 255, 65536, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, -(2**63), 2**64,
    10**400, 0.5, -0.0, 1e-300, 1e5, 1e9, 1e308, float("nan"), float("inf"), "", "a", "\ud800", "\x00", "\n", "é",
    "../../etc/passwd", "/etc/passwd", "a" * 3000, "<script>", "0" * 40, "PPYo1", [], {}, [[]], [{}], [0], [0] * 4,
    [1, 1, 1e5, 1e5], [[0, 0, 1e5, 1e5, 0, 1e5]], {"size": [40, 60], "counts": "o"}, {"counts": []}, "bbox", "F32",
]  # fmt: skip


def _depth(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


def hostile(dice: random.Random) -> Any:
    """Return a value that a careless reader trips over."""
    return copy.deepcopy(dice.choice(HOSTILE))


def change_json(value: Any, dice: random.Random) -> Any:
    """Return a JSON value with one node changed; the argument is not kept."""
    parents = nodes(value)
    if not parents:
        return hostile(dice)
    parent, key = dice.choice(parents)
    operation = dice.randrange(10)
    if operation < 4:
        parent[key] = hostile(dice)
    elif operation == 4:
        del parent[key]
    elif operation == 5:
        other, other_key = dice.choice(parents)
        parent[key] = copy.deepcopy(other[other_key])
    elif operation == 6 and isinstance(parent[key], float):
        parent[key] = parent[key] + dice.choice([-1, 1, 0.5, -1000, 1e6])
    elif operation == 7 and isinstance(parent, list):
        parent.extend([parent[key]] * dice.choice([1, 2, 30]))
    elif operation == 8 and isinstance(parent, dict):
        parent[dice.choice(["id", "size", "extra", "__metadata__", "neg_category_ids", "x"])] = (
            parent[key]
        )
    elif operation == 9 and isinstance(parent[key], str):
        parent[key] = _change_text(parent[key], dice)
    else:
        parent[key] = dice.choice(
            [[parent[key]], {"a": parent[key]}, _depth(dice.choice([3, 300]))]
        )
    return value


def _change_text(text: str, dice: random.Random) -> str:
    if not text:
        return "0"
    place = dice.randrange(len(text))
    return (
        text[:place] + dice.choice(["", "~", "0", "o", "\ud800", "/", "P" * 20]) + text[place + 1 :]
    )


def nodes(value: Any) -> list[tuple[Any, Any]]:
    """Return container and key of the nodes of a JSON value, of the first 2,000 of a large one."""
    found: list[tuple[Any, Any]] = []
    waiting = [value] if isinstance(value, list | dict) else []
    while waiting and len(found) < 2000:
        container = waiting.pop()
        keys: Any = range(len(container)) if isinstance(container, list) else container
        found += [(container, key) for key in keys]
        waiting += [container[key] for key in keys if isinstance(container[key], list | dict)]
    return found


def change_bytes(data: bytes, dice: random.Random) -> bytes:
    """Return bytes with a few flipped, cut, doubled or replaced."""
    content = bytearray(data)
    for _ in range(dice.choice([1, 1, 2, 8])):
        place = dice.randrange(len(content) + 1)
        operation = dice.randrange(5)
        if operation == 0 and place < len(content):
            content[place] ^= 1 << dice.randrange(8)
        elif operation == 1:
            del content[place : place + dice.choice([1, 4, 64])]
        elif operation == 2:
            content[place:place] = content[place : place + dice.choice([1, 16, 256])]
        elif operation == 3:
            content[place:place] = dice.choice(
                [b"[", b"{", b'"', b"\xff", b"9" * 30, b"1e999", b"\\ud800", b"[" * 2000]
            )
        else:
            content[place : place + 1] = bytes([dice.randrange(256)])
    return bytes(content)


def change_document(data: bytes, dice: random.Random) -> bytes:
    """Return a changed JSON file."""
    if dice.random() < 0.2:
        return change_bytes(data, dice)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return change_bytes(data, dice)
    try:
        for _ in range(dice.choice([1, 1, 1, 2, 4])):
            value = change_json(value, dice)
        return json.dumps(value).encode()
    except (ValueError, RecursionError):
        return change_bytes(data, dice)


def split_ticket(data: bytes) -> tuple[Any, bytes] | None:
    """Return header and tensor bytes of a ticket file, None if there is no header to be found."""
    if len(data) < 8:
        return None
    (length,) = struct.unpack("<Q", data[:8])
    try:
        return json.loads(data[8 : 8 + length]), data[8 + length :]
    except (ValueError, RecursionError):
        return None


def join_ticket(header: Any, body: bytes) -> bytes:
    """Return a ticket file of header and tensor bytes."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def change_ticket(data: bytes, dice: random.Random) -> bytes:
    """Return a changed ticket file; most changes of the manifest come with a hash that fits."""
    parts = split_ticket(data)
    if parts is None or dice.random() < 0.2:
        return change_bytes(data, dice)
    header, body = parts
    try:
        if dice.random() < 0.6:
            _change_manifest(header, dice)
        elif dice.random() < 0.7:
            header = change_json(header, dice)
        else:
            body = change_bytes(body, dice)
        return join_ticket(header, body)
    except (ValueError, TypeError, KeyError, RecursionError):
        return change_bytes(data, dice)


def _change_manifest(header: Any, dice: random.Random) -> None:
    manifest = json.loads(header["__metadata__"]["lth_det"])
    for _ in range(dice.choice([1, 1, 2])):
        manifest = change_json(manifest, dice)
    if dice.random() < 0.8 and isinstance(manifest, dict):
        manifest["sha256"] = manifest_sha256(manifest)
        header["__metadata__"]["lth_det"] = manifest_json(manifest)
    else:
        header["__metadata__"]["lth_det"] = json.dumps(manifest)


Mutator = Callable[[bytes, random.Random], bytes]
