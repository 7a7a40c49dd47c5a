#!/usr/bin/env python
"""Run a plan of many trainings and compare tickets; see --help."""

from lth_det.cli.compare_tickets import main

if __name__ == "__main__":
    main()
