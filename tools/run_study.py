#!/usr/bin/env python
"""Run several plans as one study, one after the other; see --help."""

from lth_det.cli.run_study import main

if __name__ == "__main__":
    main()
