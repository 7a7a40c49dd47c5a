#!/usr/bin/env python
"""Train detectors and find their lottery tickets; see --help."""

from lth_det.cli.train_net import main

if __name__ == "__main__":
    main()
