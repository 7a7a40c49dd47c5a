"""Data sets for classification, read from their own file formats."""
