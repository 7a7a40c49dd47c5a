#!/usr/bin/env python
"""Rebuild the matrix and the report of a sweep from its cells.json; see --help."""

from lth_det.cli.report_comparison import main

if __name__ == "__main__":
    main()
