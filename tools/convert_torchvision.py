#!/usr/bin/env python
"""Convert a torchvision ResNet checkpoint into a file for MODEL.WEIGHTS; see --help."""

from lth_det.cli.convert_torchvision import main

if __name__ == "__main__":
    main()
