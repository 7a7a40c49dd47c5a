"""Small classification data: coloured noise that a classifier can learn, in memory or as a folder of images."""

import numpy as np
import PIL.Image

from lth_det.classify.config_file import load_config
from lth_det.classify.data.images import ArrayImages, ClassificationData

CLASSES = ("blue", "green", "red")


def pixels_of(label, number, side=16):
    rng = np.random.default_rng(100 * label + number)
    image = rng.integers(0, 120, (side, side, 3), dtype=np.uint8)
    image[..., 2 - label] += 110
    return image


def split(per_class, first=0):
    labels = np.repeat(np.arange(len(CLASSES)), per_class)
    images = [pixels_of(label, first + place) for place, label in enumerate(labels)]
    return ArrayImages(np.stack(images), labels.astype(np.int64))


def tiny_data(train=8, val=3):
    from pathlib import Path

    return ClassificationData("tiny", CLASSES, split(train), split(val, 50), Path("tiny"))


def image_folder(root, train=6, val=2):
    for name, count, first in (("train", train, 0), ("val", val, 50)):
        for label, kind in enumerate(CLASSES):
            folder = root / name / kind
            folder.mkdir(parents=True)
            for number in range(count):
                image = PIL.Image.fromarray(pixels_of(label, first + number))
                image.save(folder / f"{number:02d}.png")
    return root


TINY = """
data: {name: image_folder, input_size: 16, augment: crop_flip, pad: 2}
model: {name: narrow_resnet, stem_width: 4, widths: [4, 6], blocks: [1, 1]}
solver: {optimizer: sgd, lr: 0.05, batch_size: 4, max_iter: 6, checkpoint_period: 2, warmup: 0.2}
pruning: {targets: [0.5, 0.8]}
rewind: {to: iteration, iteration: 2}
device: cpu
"""


def tiny_config(tmp_path, *options, text=TINY):
    file = tmp_path / "tiny.yaml"
    file.write_text(text)
    return load_config(str(file), options)


RST = TINY.replace("pruning: {targets: [0.5, 0.8]}", "pruning: {prune_rate: 0.75}")
RST += "method: rst\nrst: {cycles: 2, transform_iter: 6, check_period: 2}\n"
