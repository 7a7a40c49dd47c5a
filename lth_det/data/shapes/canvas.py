"""The picture while it is drawn: pixels, and which object owns each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lth_det.data.shapes.paint import MAX_LIGHT, Colour, Image
from lth_det.data.shapes.sprites import SUPERSAMPLING, Sprite

_SHADOW_OFFSET = 3  # drawing pixels, right and down
_OUTLINE = 0.55  # brightness of an object's rim relative to its fill

Box = tuple[slice, slice]


@dataclass(frozen=True)
class Window:
    """Where a sprite meets the scene, in scene pixels: matching slices of both."""

    scene: Box
    sprite: Box


def _fine(box: Box) -> Box:
    rows, columns = (slice(part.start * SUPERSAMPLING, part.stop * SUPERSAMPLING) for part in box)
    return rows, columns


class Canvas:
    """A square picture, twice as fine as the scene, with the scene's map of object ids.

    Args:
        ground: Background, (size, size, 3) BGR at scene resolution.

    Attributes:
        owner: (size, size) int32, id of the topmost object of each scene pixel (0: background).
        full: id -> area in scene pixels of the whole object, hidden and cut-off parts included.
        visible: id -> scene pixels that the object owns now.
    """

    def __init__(self, ground: Image) -> None:
        self.size = int(ground.shape[0])
        side = self.size * SUPERSAMPLING
        # One 32-bit word a pixel (B, G, R, unused) makes masked copies several times faster.
        wide = cv2.cvtColor(ground, cv2.COLOR_BGR2BGRA)
        self._bytes: Image = cv2.resize(wide, (side, side), interpolation=cv2.INTER_NEAREST)
        self._words: NDArray[np.uint32] = self._bytes.view(np.uint32)[..., 0]
        self.owner: NDArray[np.int32] = np.zeros((self.size, self.size), np.int32)
        self.full: dict[int, int] = {}
        self.visible: dict[int, int] = {}

    def new_id(self) -> int:
        """Reserve and return the next object id, from 1."""
        identity = len(self.full) + 1
        self.full[identity] = self.visible[identity] = 0
        return identity

    def window(self, sprite: Sprite, x: int, y: int) -> Window:
        """Return the overlap of the scene with a sprite whose corner is at scene pixel (x, y)."""
        height, width = sprite.mask.shape
        left, top = max(0, x), max(0, y)
        right, bottom = max(left, min(self.size, x + width)), max(top, min(self.size, y + height))
        return Window(
            (slice(top, bottom), slice(left, right)),
            (slice(top - y, bottom - y), slice(left - x, right - x)),
        )

    def covered(self, sprite: Sprite, window: Window) -> dict[int, int]:
        """Return object id (0: background) -> scene pixels that the sprite would take from it."""
        counts = np.bincount(self.owner[window.scene][sprite.mask[window.sprite]])
        return {int(i): int(counts[i]) for i in np.flatnonzero(counts)}

    def mean_colour(self, window: Window) -> Colour:
        """Return the mean BGR colour of the window; mid grey if it is empty."""
        patch = self._bytes[_fine(window.scene)]
        if patch.size == 0:
            return 128, 128, 128
        blue, green, red = (int(patch[::2, ::2, c].sum(dtype=np.int64)) for c in range(3))
        count = patch[::2, ::2, 0].size
        return blue // count, green // count, red // count

    def draw(
        self,
        sprite: Sprite,
        window: Window,
        identity: int,
        *,
        colours: list[Colour],
        light: NDArray[np.int32],
    ) -> None:
        """Draw a sprite over everything before it and give it the pixels.

        Args:
            sprite: What to draw.
            window: Where, from ``window``.
            identity: Object id from ``new_id``; one id may own several sprites.
            colours: BGR colour of each tone.
            light: Brightness in 1/256, 0 to ``MAX_LIGHT``, for each drawing pixel of the sprite.
        """
        for other, count in self.covered(sprite, window).items():
            if other:
                self.visible[other] -= count
        owned = sprite.mask[window.sprite]
        self.visible[identity] += int(np.count_nonzero(owned))
        self.full[identity] += sprite.area
        self.owner[window.scene][owned] = identity

        box = _fine(window.sprite)
        tones = sprite.tones[box]
        self._shadow(tones > 0, window)
        rim = cv2.erode(sprite.tones, np.ones((3, 3), np.uint8))[box] == 0
        keys = (tones.astype(np.int32) * 2 + rim) * (MAX_LIGHT + 1) + light[box]
        np.copyto(self._words[_fine(window.scene)], _palette(colours)[keys], where=tones > 0)

    def _shadow(self, inside: NDArray[np.bool_], window: Window) -> None:
        rows, columns = _fine(window.scene)
        shift = _SHADOW_OFFSET
        moved = self._words[
            rows.start + shift : rows.stop + shift, columns.start + shift : columns.stop + shift
        ]
        # Where the object itself comes to lie the shadow would be painted over: leave it out.
        part = inside[: moved.shape[0], : moved.shape[1]].copy()
        part[:-shift, :-shift] &= ~inside[shift : part.shape[0], shift : part.shape[1]]
        under = moved[part].view(np.uint8)
        moved[part] = (under.astype(np.uint16) * 3 >> 2).astype(np.uint8).view(np.uint32)

    def picture(self) -> Image:
        """Return the picture at scene resolution, (size, size, 3) BGR."""
        # Averages 2 x 2 bytes with rounding: integer arithmetic, the same on every platform.
        size = (self.size, self.size)
        coarse = cv2.resize(self._bytes, size, interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(coarse[..., :3], np.uint8)


def _palette(colours: list[Colour]) -> NDArray[np.uint32]:
    """Return the word of every (tone, rim or not, light), flattened in that order."""
    base = np.array([(0, 0, 0), *colours], np.int32)
    light = np.arange(MAX_LIGHT + 1, dtype=np.int32)
    lights = np.stack([light, (light * int(_OUTLINE * 256)) >> 8])
    table = np.zeros((len(base), 2, MAX_LIGHT + 1, 4), np.uint8)
    table[..., :3] = np.minimum((base[:, None, None, :] * lights[None, :, :, None]) >> 8, 255)
    return table.view(np.uint32).ravel()
