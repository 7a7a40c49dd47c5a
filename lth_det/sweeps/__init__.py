"""Many runs from one plan file: expansion, scheduling, estimates, and the matrix they fill (no torch, no Detectron2).

A plan (YAML) is expanded into runs (``plan``), each a few commands that a person could type. One scheduler starts them
through submitit, on this machine or SLURM, respects what needs what, and goes on after a stop where it was
(``scheduler``, ``state``). The results of the finished runs are collected into ``cells.json`` (``collect``) and
summarised (``summary``). ``docs/sweeps.md`` describes the format of plans.
"""
