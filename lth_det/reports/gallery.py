"""The picture part of a run report: images where tickets differ from the dense model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lth_det.errors import DataError, LthDetError
from lth_det.reports import html, images, overlay
from lth_det.reports.found import Detections, Match, best_cut, match_all
from lth_det.reports.html import Html
from lth_det.reports.marks import Panel, model_panel, truth_panel
from lth_det.reports.scenes import LOWEST_SCORE, Picture, Scenes, read_detections

MOST_LOST, MOST_GAINED, UNCHANGED = 3, 2, 1


@dataclass(frozen=True)
class Model:
    """Detections of one model and their matching with the ground truth, by image."""

    title: str
    detections: Detections
    matches: Mapping[int, Match]

    def found(self, image: int, cut: float) -> set[int]:
        """Return the places of the objects of ``image`` found by detections of at least score ``cut``."""
        scores = self.matches[image].found_at
        return {place for place, score in enumerate(scores) if score >= cut}


@dataclass(frozen=True)
class Change:
    """What a ticket found otherwise than dense in one image: objects lost, gained, and found by both."""

    image: int
    lost: int
    gained: int
    both: int

    @property
    def text(self) -> str:
        """The counts as a sentence part."""
        return f"{self.lost} lost, {self.gained} gained, {self.both} found by both"


def read_model(scenes: Scenes, path: Path, *, title: str) -> Model:
    """Read the detections of one model and match them.

    Raises:
        InputError: the file is missing or damaged.
    """
    detections = read_detections(path)
    return Model(title, detections, match_all(scenes, detections))


def changes(scenes: Scenes, dense: Model, ticket: Model, *, cut: float) -> list[Change]:
    """Compare two models in every image at one score cut, ordered by image id."""
    result = []
    for image in sorted(scenes.pictures):
        before, after = dense.found(image, cut), ticket.found(image, cut)
        result.append(Change(image, len(before - after), len(after - before), len(before & after)))
    return result


def choose(found: Sequence[Change]) -> list[Change]:
    """Choose images: most objects lost, most gained, and most found by both without any change.

    Ties are decided by the lower image id; an image is chosen once; images without a change fill no place of the
    first two kinds.
    """
    by_loss = sorted((c for c in found if c.lost), key=lambda c: (-c.lost, c.gained, c.image))
    by_gain = sorted((c for c in found if c.gained), key=lambda c: (-c.gained, c.lost, c.image))
    same = sorted(
        (c for c in found if not c.lost and not c.gained), key=lambda c: (-c.both, c.image)
    )
    chosen: list[Change] = []
    for ranking, count in ((by_loss, MOST_LOST), (by_gain, MOST_GAINED), (same, UNCHANGED)):
        chosen += [change for change in ranking if change not in chosen][:count]
    return chosen


def write_gallery(scenes: Scenes, models: Sequence[Model], root: Path, folder: Path) -> Html:
    """Return the gallery and write one PNG strip per chosen image to ``folder``.

    Args:
        scenes: ground truth.
        models: dense first, then tickets; the last ticket decides which images are shown.
        root: folder of the images.
        folder: an existing folder for the PNG files.

    An image file that cannot be read is left out with a note.
    """
    dense, last = models[0], models[-1]
    cut = best_cut(scenes, dense.detections, dense.matches)
    found = changes(scenes, dense, last, cut=cut)
    parts = [_introduction(found, last, cut), _controls(cut), _legend()]
    for change in choose(found):
        picture = scenes.pictures[change.image]
        try:
            parts.append(
                _strip(scenes, models, picture, change=change, cut=cut, files=(root, folder))
            )
        except LthDetError as error:
            parts.append(html.note(str(error)))
    return Html(f'<div class="gallery">{html.join(parts)}</div>')


def _introduction(found: Sequence[Change], last: Model, cut: float) -> Html:
    lost, gained, both = (
        sum(getattr(change, name) for change in found) for name in ("lost", "gained", "both")
    )
    return html.paragraph(
        f"In all {len(found)} images, at score {cut:.2f} and above and IoU 0.5, {last.title} loses {lost} objects that "
        f"dense finds, gains {gained} that dense misses, and both find {both}. Shown: up to {MOST_LOST} images with "
        f"most losses, {MOST_GAINED} with most gains, and {UNCHANGED} where nothing changed. The score cut is the one "
        "with the best F1 of the dense model; move it to see others."
    )


def _controls(cut: float) -> Html:
    return Html(
        '<div class="controls"><label>score at least '
        f'<input class="score" type="range" min="{LOWEST_SCORE}" max="0.95" step="0.05" value="{cut}"> '
        f'<output class="score-shown">{cut:.2f}</output></label>'
        '<label><input class="toggle" type="checkbox" value="no-labels" checked> labels</label>'
        '<label><input class="toggle" type="checkbox" value="no-areas" checked> masks</label></div>'
    )


def _legend() -> Html:
    return overlay.legend(("truth", "found", "false", "missed", "ignored"))


def _strip(
    scenes: Scenes,
    models: Sequence[Model],
    picture: Picture,
    *,
    change: Change,
    cut: float,
    files: tuple[Path, Path],
) -> Html:
    root, folder = files
    image = images.read_image_of(root, picture.file_name)
    if image.shape[:2] != (picture.height, picture.width):
        raise DataError(
            f"The image {root / picture.file_name} has {image.shape[1]} x {image.shape[0]} pixels, but the ground truth "
            f"says {picture.width} x {picture.height}."
        )
    views = [truth_panel(scenes, picture), *(_view(scenes, model, picture) for model in models)]
    name = f"image_{picture.image_id}.png"
    (folder / name).write_bytes(images.encode_png(images.strip(image, views, cut=cut)))
    count = sum(not item.crowd for item in scenes.objects.get(picture.image_id, ()))
    captions = [f"{count} objects", *(_caption(model, picture, cut) for model in models)]
    panels = html.join(
        overlay.panel(picture, view, cut=cut, caption=caption)
        for view, caption in zip(views, captions, strict=True)
    )
    title = html.escape(f"{picture.file_name}: {change.text}")
    return Html(
        f'<div class="strip"><p class="strip-title"><strong>{title}</strong> '
        f'<span class="files"><a href="{name}" download>PNG</a></span></p>'
        f"{overlay.photograph(picture, *images.encode_for_page(image))}"
        f'<div class="panels">{panels}</div></div>'
    )


def _view(scenes: Scenes, model: Model, picture: Picture) -> Panel:
    return model_panel(
        scenes,
        picture,
        title=model.title,
        detections=model.detections.get(picture.image_id, ()),
        result=model.matches[picture.image_id],
    )


def _caption(model: Model, picture: Picture, cut: float) -> str:
    result = model.matches[picture.image_id]
    items = model.detections.get(picture.image_id, ())
    false = sum(
        state == "false" and item.score >= cut
        for item, state in zip(items, result.states, strict=True)
    )
    return f"{len(model.found(picture.image_id, cut))} found, {false} without object"
