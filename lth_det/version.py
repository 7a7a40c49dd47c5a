"""The version of the package, read as text by ``setup.py`` (so that installing imports nothing)."""

__version__ = "0.1.0"
