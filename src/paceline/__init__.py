"""Paceline trains a study of LoRA fine-tuning runs at once over one frozen base and compares them honestly."""

__version__ = "0.1.0"
