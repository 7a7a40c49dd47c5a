#!/usr/bin/env python
"""Make a ticket of a detector out of a classifier's, another detector's, or a sparse checkpoint; see --help."""

from lth_det.cli.transfer_ticket import main

if __name__ == "__main__":
    main()
