"""Real Detectron2 models on the meta device: all modules and shapes, no memory, a twentieth of a second each."""

import torch
from detectron2 import model_zoo
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from lth_det.d2.config import add_lth_config

MASK = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"
KEYPOINT = "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml"
FASTER = "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"
FASTER_C4 = "COCO-Detection/faster_rcnn_R_50_C4_1x.yaml"
MASK_C4 = "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml"
FASTER_DC5 = "COCO-Detection/faster_rcnn_R_50_DC5_1x.yaml"
RETINANET = "COCO-Detection/retinanet_R_50_FPN_1x.yaml"
RPN_ONLY = "COCO-Detection/rpn_R_50_FPN_1x.yaml"
CASCADE = "Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml"
PANOPTIC = "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml"


def zoo_cfg(name, *opts, depth=50):
    """Return the configuration of Detectron2's model zoo, with the node LTH and a ResNet of another depth."""
    cfg = get_cfg()
    add_lth_config(cfg)
    cfg.merge_from_file(model_zoo.get_config_file(name))
    cfg.MODEL.RESNETS.DEPTH = depth
    if depth in (18, 34):
        cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    cfg.merge_from_list(list(opts))
    return cfg


def build_meta(cfg):
    """Build the model of ``cfg`` without allocating its weights."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return build_model(cfg)


def zoo_model(name, *opts, depth=50):
    return build_meta(zoo_cfg(name, *opts, depth=depth))
