#!/usr/bin/env python
"""Write a trained ticket as a compact checkpoint, and restore the dense one from it; see --help."""

from lth_det.cli.export_ticket import main

if __name__ == "__main__":
    main()
