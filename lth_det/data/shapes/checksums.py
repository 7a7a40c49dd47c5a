"""Digests of the default data set, to notice when another platform draws other bytes."""

from __future__ import annotations

CHECKSUMS: dict[int, dict[str, dict[str, str]]] = {
    1: {
        "train": {
            "pixels_sha256": "562b7b6f185711b5075d18babc33801ecb588d420d9b3af8a86849d83f9cdc95",
            "annotations_sha256": "d9a6fac4e94ddaa80b9d11202aec033e75e36f2411fd177fd398ef4b6e56763d",
        },
        "val": {
            "pixels_sha256": "11ca029e2f9cb6b0bcc978050fdb89b672b61fa2ff0370893b8cfc461daccef3",
            "annotations_sha256": "da7a0c2432a83619da94fd6ad47a6c983d0cf887a69b3ffe7c6e9c378d778914",
        },
        "keypoints_train": {
            "pixels_sha256": "b0ef08f8f61a6544b7cee505983a07696e64cdad6021be1ca5e565c6bd9b3149",
            "annotations_sha256": "fb046c1045ea9786bb0fbafbf743362911c6ecd1b3a1bc2b43736d310dedc04f",
        },
        "keypoints_val": {
            "pixels_sha256": "230106253ccbad5dc158fdcc19181e5b013367c2a56453ef8e5bac544859106d",
            "annotations_sha256": "3889a01b6769423ea61d0b7f81077df184441279429cb6b2ff8712e6fd4442d4",
        },
        "cls_train": {
            "pixels_sha256": "adf50127cc44a19d28502eae23f3acd319d4fd75278894a8134c941a1f5fb3c5",
            "annotations_sha256": "8c3b522572ec77d8a1786e475d77b1234619b97215ba2a680cee637886ee853d",
        },
        "cls_val": {
            "pixels_sha256": "7458451c43ceb8816ca170c0e5521cd4c9849d863d540c8f962fe64fef21bcd3",
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
