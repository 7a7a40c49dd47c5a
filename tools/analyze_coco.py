#!/usr/bin/env python
"""AP by size, frequency and difficulty from COCO result files; see --help."""

from lth_det.cli.analyze_coco import main

if __name__ == "__main__":
    main()
