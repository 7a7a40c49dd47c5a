"""Source tasks: classifiers, their data sets, and their trainer for ``lth_det.experiments`` (torch and torchvision only).

``config`` holds what a YAML file of ``configs/classify`` may say, ``data`` reads the data sets' own file formats,
``stages`` trains one stage of an experiment, ``run`` makes a lottery-ticket run of it, and ``transfer_run`` the
classification-to-classification transfer of Mehta (2019).
"""
