"""The command line tools, above all layers; the scripts in ``tools/`` and the console commands call these."""
