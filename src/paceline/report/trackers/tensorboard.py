"""TensorBoard: event files in tensorboard/RUN beside the study's runs."""

from __future__ import annotations

from paceline.training.callbacks import RunView


class TensorBoardTracker:
    """A run's event files."""

    def __init__(self, run: RunView) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = run.directory.path.parent / "tensorboard" / run.name
        self._writer = SummaryWriter(str(folder))

    def log(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
