"""Paceline trains a study of LoRA fine-tuning runs at once over one frozen base and compares them honestly."""

from paceline.version import __version__ as __version__
