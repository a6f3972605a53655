"""What several tests need and no fixture gives."""

from pathlib import Path


def adapter_bytes(folder: Path) -> bytes:
    """The weights of a run's adapter, bit for bit."""
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()
