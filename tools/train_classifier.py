#!/usr/bin/env python
"""Find lottery tickets of a classifier, or transfer them to another classification task; see --help."""

from lth_det.cli.train_classifier import main

if __name__ == "__main__":
    main()
