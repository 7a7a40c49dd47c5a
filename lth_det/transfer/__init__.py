"""Tickets of one network made into tickets of another: names, masks, weights, pre-processing. Pure torch.

A *source* (a ticket of ours, or a checkpoint of torchvision, timm, MSRA or Detectron2) is read under canonical names,
matched with a *target* (a detector's parameters and module groups), and composed into a ticket of the target. Whatever
does not match is listed, never passed over.
"""
