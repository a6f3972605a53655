"""The version, in a file that nothing else is imported by."""

__version__ = "0.1.0"
