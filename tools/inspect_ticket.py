#!/usr/bin/env python
"""Look at a ticket, compare two, or see what a configuration would prune; see --help."""

from lth_det.cli.inspect_ticket import main

if __name__ == "__main__":
    main()
