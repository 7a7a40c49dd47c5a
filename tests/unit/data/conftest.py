import pytest

from lth_det.data.shapes import ShapesConfig

TINY = ShapesConfig(
    size=96,
    train_images=6,
    val_images=4,
    keypoints_train_images=3,
    keypoints_val_images=2,
    cls_size=40,
    cls_train_per_class=2,
    cls_val_per_class=1,
    crowd_share=0.5,
)


@pytest.fixture
def tiny() -> ShapesConfig:
    return TINY


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A drawn tiny data set; tests must not change it."""
    from lth_det.data.shapes import ensure_shapes

    return ensure_shapes(TINY, home=tmp_path_factory.mktemp("home"), workers=1)
