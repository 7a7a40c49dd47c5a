"""Runs a configuration in a process of its own and kills it with SIGKILL after a number of steps; see the test."""

import os
import signal
import sys

from lth_det.classify import training
from lth_det.classify.config_file import load_config
from lth_det.classify.run import run_classifier


def main(config_file, output, after):
    hold, steps = training.MaskKeeper.hold, [0]

    def counted(self):
        hold(self)
        steps[0] += 1
        if steps[0] == int(after):
            os.kill(os.getpid(), signal.SIGKILL)

    training.MaskKeeper.hold = counted
    run_classifier(load_config(config_file, ["output", output]), resume=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
