"""The loaders read the published byte formats; files here are written by hand in exactly those."""

import gzip
import pickle
import struct

import numpy as np
import PIL.Image
import pytest

from lth_det.classify.config import DataConfig
from lth_det.classify.data.cifar import read_batch, read_cifar10
from lth_det.classify.data.idx import read_fashion_mnist
from lth_det.classify.data.image_folder import read_image_folder
from lth_det.classify.data.registry import load_data
from lth_det.classify.data.small_norb import read_small_norb
from lth_det.errors import ConfigError, DataError

RNG = np.random.default_rng(1)
CIFAR_NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def cifar_pixels(count):
    return RNG.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def write_cifar_binary(folder, pixels, labels):
    folder.mkdir(parents=True, exist_ok=True)
    for name in CIFAR_NAMES:
        records = [
            bytes([label]) + image.tobytes() for image, label in zip(pixels, labels, strict=True)
        ]
        (folder / f"{name}.bin").write_bytes(b"".join(records))


def python2_batch(pixels, labels):
    """The opcodes of the published batches: NumPy on Python 2, protocol 2, byte strings everywhere."""
    data = pixels.reshape(len(pixels), -1)
    raw = data.tobytes()

    def short(text):
        return b"U" + bytes([len(text)]) + text

    items = b"".join(b"K" + bytes([label]) for label in labels)
    dtype = b"cnumpy\ndtype\n" + short(b"u1") + b"K\x00K\x01\x87R(K\x03" + short(b"|")
    dtype += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + short(b"b") + b"\x87R"
    )
    shape = b"K" + bytes([len(data)]) + b"M\x00\x0c\x86"
    array += b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"
    return (
        b"\x80\x02}(" + short(b"data") + array + short(b"labels") + b"](" + items + b"e"
        + short(b"batch_label") + short(b"training batch 1 of 5") + b"u."
    )  # fmt: skip


def write_cifar_python(folder, content):
    folder.mkdir(parents=True, exist_ok=True)
    for name in CIFAR_NAMES:
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("kind", ["binary", "python2", "python3"])
def test_cifar_versions_hold_the_same_images(tmp_path, kind):
    pixels, labels = cifar_pixels(3), [9, 0, 4]
    if kind == "binary":
        write_cifar_binary(tmp_path / "cifar-10-batches-bin", pixels, labels)
    else:
        batch = {b"data": pixels.reshape(3, -1), b"labels": labels, b"filenames": [b"a.png"] * 3}
        content = python2_batch(pixels, labels) if kind == "python2" else pickle.dumps(batch)
        write_cifar_python(tmp_path / "cifar-10-batches-py", content)
    data = read_cifar10(tmp_path)
    assert len(data.train.labels) == 15
    assert data.val.labels.tolist() == labels
    assert data.classes[9] == "truck"
    for number in range(3):
        # Planes of the file become (row, column, colour).
        assert np.array_equal(data.train[3 + number], pixels[number].transpose(1, 2, 0))


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_cifar_pickle_never_runs_code(tmp_path):
    write_cifar_python(tmp_path, pickle.dumps({b"data": Evil(tmp_path / "written"), b"labels": []}))
    with pytest.raises(DataError, match=r"it names .*open"):
        read_cifar10(tmp_path)
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "numpy.load", "collections.Counter"]
)
def test_pickles_may_name_arrays_only(tmp_path, name):
    module, function = name.rsplit(".", 1)
    path = tmp_path / "batch"
    path.write_bytes(f"c{module}\n{function}\n.".encode())
    with pytest.raises(DataError, match=f"it names {module}.{function}"):
        read_batch(path)


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_every_protocol_are_read(tmp_path, protocol):
    value = {"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "labels": [1, 2], "x": b"\xff"}
    (tmp_path / "batch").write_bytes(pickle.dumps(value, protocol))
    found = read_batch(tmp_path / "batch")
    assert np.array_equal(found["data"], value["data"])
    assert found["x"] == b"\xff"


def test_cifar_mistakes(tmp_path):
    with pytest.raises(DataError, match="neither"):
        read_cifar10(tmp_path)
    folder = tmp_path / "cifar-10-batches-bin"
    write_cifar_binary(folder, cifar_pixels(2), [1, 2])
    (folder / "test_batch.bin").write_bytes((folder / "test_batch.bin").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"test_batch\.bin has 6145 bytes"):
        read_cifar10(tmp_path)
    write_cifar_binary(folder, cifar_pixels(1), [10])
    with pytest.raises(DataError, match="label 10"):
        read_cifar10(tmp_path)
    (folder / "data_batch_3.bin").unlink()
    write_cifar_binary(folder, cifar_pixels(1), [1])
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_3\.bin cannot be read"):
        read_cifar10(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickle.dumps([1]),
        pickle.dumps({"data": 1, "labels": [1]}),
        pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}),
        pickle.dumps({"data": np.zeros((1, 3072), np.float32), "labels": [1]}),
        pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": ["cat"]}),
        pickle.dumps({"data": np.zeros((4, 3072), np.uint8), "labels": [1] * 4})[:-40],
    ],
)
def test_damaged_python_batches_are_one_sentence(tmp_path, content):
    write_cifar_python(tmp_path, content)
    with pytest.raises(DataError) as error:
        read_cifar10(tmp_path)
    assert "data_batch_1" in str(error.value)


def idx(array, code=8):
    header = bytes((0, 0, code, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def write_fashion(folder, images, labels, *, packed=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("train", "t10k"):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx(np.asarray(array, dtype=np.uint8))
            path = folder / f"{name}-{kind}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", [".", "FashionMNIST/raw"])
def test_fashion_mnist(tmp_path, packed, below):
    images = RNG.integers(0, 256, (4, 28, 28), dtype=np.uint8)
    write_fashion(tmp_path / below, images, [0, 9, 3, 3], packed=packed)
    data = read_fashion_mnist(tmp_path)
    assert data.train.labels.tolist() == [0, 9, 3, 3]
    image = data.val[2]
    assert image.shape == (28, 28, 3)
    assert all(np.array_equal(image[..., channel], images[2]) for channel in range(3))


def test_fashion_mnist_mistakes(tmp_path):
    with pytest.raises(DataError, match="lacks train-images-idx3-ubyte"):
        read_fashion_mnist(tmp_path)
    images = np.zeros((2, 28, 28), dtype=np.uint8)
    write_fashion(tmp_path, images, [1])
    with pytest.raises(DataError, match=r"2 images, but .* 1 labels"):
        read_fashion_mnist(tmp_path)
    write_fashion(tmp_path, images, [1, 10])
    with pytest.raises(DataError, match="label 10"):
        read_fashion_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    for content, words in (
        (idx(images)[:-1], "cut"),
        (idx(images) + b"x", "cut"),
        (idx(images)[:9], "ends in its header"),
        (idx(images, code=13), "begins with 00 00 0d 03"),
        (idx(images[0]), "begins with 00 00 08 02"),
        (gzip.compress(idx(images))[:-9], "damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=words) as error:
            read_fashion_mnist(tmp_path)
        assert str(path) in str(error.value)


MAGIC = {"u1": 0x1E3D4C55, "i4": 0x1E3D4C54}
NORB = {
    "train": "smallnorb-5x46789x9x18x6x2x96x96-training",
    "val": "smallnorb-5x01235x9x18x6x2x96x96-testing",
}


def norb_matrix(array):
    kind = "u1" if array.dtype == np.uint8 else "i4"
    # At least three sizes stand in the header; those past the dimensions are 1.
    sizes = [*array.shape, *[1] * (3 - array.ndim)]
    return struct.pack(f"<II{len(sizes)}I", MAGIC[kind], array.ndim, *sizes) + array.tobytes()


def write_norb(folder, images, labels, *, packed=False):
    info = np.zeros((len(labels), 4), dtype="<i4")
    for name in NORB.values():
        for kind, array in (("dat", images), ("cat", np.array(labels, "<i4")), ("info", info)):
            content = norb_matrix(array)
            path = folder / f"{name}-{kind}.mat{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("packed", [False, True])
def test_small_norb_has_both_cameras_of_each_pair(tmp_path, packed):
    images = RNG.integers(0, 256, (3, 2, 96, 96), dtype=np.uint8)
    write_norb(tmp_path, images, [4, 0, 2], packed=packed)
    data = read_small_norb(tmp_path)
    assert data.train.labels.tolist() == [4, 4, 0, 0, 2, 2]
    assert np.array_equal(data.train[3][..., 0], images[1, 1])
    assert data.classes[4] == "car"


def test_small_norb_mistakes(tmp_path):
    images = np.zeros((2, 2, 96, 96), dtype=np.uint8)
    write_norb(tmp_path, images, [1, 2])
    path = tmp_path / f"{NORB['train']}-dat.mat"
    whole = path.read_bytes()
    for content, words in (
        (b"MATLAB 5.0 MAT-file, Platform: x", "no magic number"),
        (whole[:-1], "cut"),
        (whole[:10], "ends in its header"),
        (b"\x55", "ends in its header"),
        (norb_matrix(images[:, :1].copy()), "1 cameras"),
        (norb_matrix(images[:, 0].copy()), "not pairs of images"),
        (norb_matrix(images[:1].copy()), "1 pairs, but .* 2 labels"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=words) as error:
            read_small_norb(tmp_path)
        assert "\n" not in str(error.value)
    write_norb(tmp_path, images, [1, 5])
    with pytest.raises(DataError, match="labels from 1 to 5"):
        read_small_norb(tmp_path)
    write_norb(tmp_path, images, [1, 2])
    (tmp_path / f"{NORB['val']}-info.mat").write_bytes(norb_matrix(np.zeros((1, 4), "<i4")))
    with pytest.raises(DataError, match=r"info\.mat has the shape"):
        read_small_norb(tmp_path)


def picture(path, value, size=(5, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", size, value).save(path)


def test_image_folder_numbers_classes_by_name(tmp_path):
    for split in ("train", "val"):
        picture(tmp_path / split / "n02" / "b.JPEG", (200, 0, 0))
        picture(tmp_path / split / "n01" / "x.png", (0, 0, 9))
        picture(tmp_path / split / "n02" / "a.png", (7, 0, 0))
        (tmp_path / split / "n01" / "notes.txt").write_text("not an image")
    data = read_image_folder(tmp_path)
    assert data.classes == ("n01", "n02")
    assert data.train.labels.tolist() == [0, 1, 1]
    assert data.train[1][0, 0].tolist() == [7, 0, 0]
    assert data.train[0].shape == (4, 5, 3)


def test_image_folder_mistakes(tmp_path):
    picture(tmp_path / "train" / "a" / "1.png", 0)
    with pytest.raises(DataError, match="val cannot be read"):
        read_image_folder(tmp_path)
    (tmp_path / "val" / "a").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no image"):
        read_image_folder(tmp_path)
    picture(tmp_path / "val" / "b" / "1.png", 0)
    with pytest.raises(DataError, match="differ in b"):
        read_image_folder(tmp_path)
    (tmp_path / "train" / "a" / "1.png").write_bytes(b"GIF89a broken")
    picture(tmp_path / "val" / "a" / "1.png", 0)
    picture(tmp_path / "train" / "b" / "1.png", 0)
    with pytest.raises(DataError, match=r"1\.png cannot be read as an image"):
        read_image_folder(tmp_path).train[0]


@pytest.mark.parametrize(
    "name", ["image_folder", "cifar10", "cifar100", "fashion_mnist", "small_norb"]
)
def test_missing_data_says_where_it_is_expected_and_what_runs_without(tmp_path, monkeypatch, name):
    monkeypatch.setenv("LTH_DET_CLASSIFY_DATA", str(tmp_path))
    with pytest.raises(DataError) as error:
        load_data(DataConfig(name=name))
    assert str(tmp_path) in str(error.value)
    assert "shapes_cls_imp.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_classes_select_and_number_a_part(tmp_path):
    write_cifar_binary(tmp_path / "cifar-10-batches-bin", cifar_pixels(4), [9, 0, 4, 9])
    config = DataConfig(name="cifar10", root=str(tmp_path), options={"classes": ["truck", "deer"]})
    data = load_data(config)
    assert data.classes == ("truck", "deer")
    assert data.val.labels.tolist() == [0, 1, 0]
    whole = load_data(DataConfig(name="cifar10", root=str(tmp_path)))
    assert np.array_equal(data.val[2], whole.val[3])
    with pytest.raises(DataError, match="names boat"):
        load_data(DataConfig(name="cifar10", root=str(tmp_path), options={"classes": ["boat"]}))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("cifar10", {"side": 3}, "cifar10 does not know"),
        ("shapes_cls", {"hue": 0.1}, "shapes_cls does not know"),
        ("shapes_cls", {"seed": 0.5}, "must be a number"),
        ("shapes_cls", {"classes": "square"}, "list of names"),
    ],
)
def test_unknown_options_are_refused(tmp_path, name, options, words):
    with pytest.raises(ConfigError, match=words):
        load_data(DataConfig(name=name, root=str(tmp_path), options=options))


def test_shapes_cls_is_drawn_on_first_use(tmp_path, monkeypatch):
    monkeypatch.setenv("LTH_DET_DATA", str(tmp_path))
    few = dict.fromkeys(
        ("train_images", "val_images", "keypoints_train_images", "keypoints_val_images"), 1
    )
    few |= {"num_categories": 3, "cls_train_per_class": 2, "cls_val_per_class": 1, "cls_size": 32}
    data = load_data(DataConfig(options={**few, "size": 64}))
    assert data.classes == ("circle", "figure", "square")  # of the data set, in the order of names
    assert len(data.train.labels) == 6
    assert data.train[0].shape == (32, 32, 3)
