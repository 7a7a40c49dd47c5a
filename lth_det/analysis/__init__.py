"""COCO-result analysis by object size, class frequency and difficulty; NumPy and pycocotools only.

The public entry points are :func:`lth_det.analysis.analyze.analyze` (several models, several IoU types, comparisons)
and the parts it is made of; ``schema.md`` beside this file describes the result as JSON.
"""
