"""Data sets: the embedded ``shapes`` data set and writers of others' formats (no torch, no Detectron2)."""
