"""Digests of the default data set, to notice when another platform draws other bytes."""

from __future__ import annotations

CHECKSUMS: dict[int, dict[str, dict[str, str]]] = {
    1: {
        "train": {
            "pixels_sha256": "7ea1a19b73bbe1e1fb88614240ae789b341463b9b158912e728fb0083626ac3e",
            "annotations_sha256": "48c32a4965ed41c9ddcde997d603c28edcf8ba9b930b6db34c2e62b1c27d293b",
        },
        "val": {
            "pixels_sha256": "0c40c202bede55d9fd880d0d59200a29d5eeca755c798fe1386e83272a5b5505",
            "annotations_sha256": "1f09fea2d311a7c703959bf929c7e3377b2c935ee6d6fef2b75a02fcd9a89619",
        },
        "keypoints_train": {
            "pixels_sha256": "1c91209859d1fbe9739ed46c66da8c53f1d07fd02de0eef5ec0b1a94cb76b82a",
            "annotations_sha256": "6b8c5351404e6555090daa69e490812aa28d5cc6d995f368e8336dceb3280c03",
        },
        "keypoints_val": {
            "pixels_sha256": "757aea4ecf53c5a70b282fde22ca26d531af57d4e2f334987058c029ad3ab931",
            "annotations_sha256": "d9d2fa130ab1ae2adf7f0a72ed0590e235c91979404643505b79d2ac1c03084d",
        },
        "cls_train": {
            "pixels_sha256": "a1259ff7ce947dabe8f4442e2fe9d6b178bfeb97090279d9d839d3cb6308be68",
            "annotations_sha256": "8c3b522572ec77d8a1786e475d77b1234619b97215ba2a680cee637886ee853d",
        },
        "cls_val": {
            "pixels_sha256": "930300410feec3b8b6fcc8e5ebb0e695ddec0a41d8c936891eeae58b42c7c454",
            "annotations_sha256": "8f4d9b83a9cafe094c7831f749b5ef82bbd14d21543fe13c0a6b4a04297ecfc3",
        },
    },
}
"""Generator version -> split -> digests as in the manifest (drawn on x86-64 Linux, OpenCV 5.0).

Pixels are hashed, not files: another zlib may encode the same picture differently.
"""


def differing_splits(version: int, splits: dict[str, dict[str, object]]) -> list[str]:
    """Return the names of the splits whose digests are not the stored ones.

    Args:
        version: Generator version.
        splits: The "splits" of a manifest of the default config.
    """
    stored = CHECKSUMS[version]
    return [
        name
        for name, digests in stored.items()
        if any(splits[name][key] != value for key, value in digests.items())
    ]
