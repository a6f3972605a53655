"""What a run was trained with beside its recipe, as digests: inputs.json of a run and of its checkpoints."""

from pathlib import Path

from pydantic import ValidationError

from paceline.errors import RunError
from paceline.runs.directory import RunDirectory
from paceline.runs.manifest import read_sealed, write_sealed
from paceline.runs.records import Record

FILE = "inputs.json"


class Inputs(Record):
    """Digests of all that decides what a run learns and that its recipe only names.

    `version` is Paceline's, `checkpoint_format` that of the checkpoints it writes. Rows are the tokenized
    examples of one side of the split, in order. An empty digest stands for what the recipe does not have.
    """

    version: str
    checkpoint_format: int
    base_weights: str
    base_config: str
    tokenizer: str
    template: str
    train_rows: str
    held_out_rows: str
    init_from: str = ""
    teacher: str = ""
    schedule: str = ""

    def changes(self, now: "Inputs") -> list[str]:
        """What is not now what it was, in words; causes stand before what may follow from them."""
        changed = [name for name in _WORDS if getattr(self, name) != getattr(now, name)]
        words = [_WORDS[name] for name in changed]
        if {"tokenizer", "template"} & set(changed) and {"train_rows", "held_out_rows"} & set(changed):
            words[-1] += " (as tokens, which may follow)"
        return words


_WORDS = {
    "base_weights": "the base's weights",
    "base_config": "the base's config.json",
    "tokenizer": "the tokenizer",
    "template": "the chat template",
    "init_from": "the adapter that it starts from",
    "teacher": "the teacher",
    "schedule": "the rates of its lr_scheduler",
    "train_rows": "the training rows",
    "held_out_rows": "the held-out rows",
}


def stored_format(folder: Path) -> int | None:
    """The format of checkpoints that a run or a checkpoint names, whatever else is in its file.

    None: no inputs are recorded there, or they are damaged.
    """
    try:
        found = read_sealed(folder / FILE).get("checkpoint_format")
    except (RunError, OSError):
        return None
    return found if isinstance(found, int) else None


def read_inputs(folder: Path) -> Inputs | None:
    """The inputs that a run directory or a checkpoint was written with; None: none are recorded there.

    Raises:
        RunError: they are damaged.
    """
    path = folder / FILE
    try:
        return Inputs.model_validate(read_sealed(path)) if path.is_file() else None
    except ValidationError as error:
        raise RunError(f"{path} is damaged, or of another version of Paceline") from error


def write_inputs(folder: Path, inputs: Inputs) -> None:
    """Records a run's inputs in its directory, or in a checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    write_sealed(folder / FILE, inputs.model_dump(mode="json"))


def refuse_other_inputs(directory: RunDirectory, now: Inputs) -> str | None:
    """Refuses to go on with a run whose inputs are not what they were; a new run has none.

    Returns:
        A line for the user where another version of Paceline has trained it so far.

    Raises:
        RunError: with what has changed, and what to do.
    """
    if not directory.recipe_file.is_file():
        return None
    checkpoint = directory.latest_checkpoint()
    other = "train under another name, or delete the directory"
    line = None
    for folder in (directory.path, *([checkpoint] if checkpoint else [])):
        if (theirs := stored_format(folder)) not in (None, now.checkpoint_format):
            version = read_sealed(folder / FILE).get("version")
            raise RunError(
                f"{folder}: written by Paceline {version} in format {theirs}, this one ({now.version}) reads "
                f"format {now.checkpoint_format}; finish it with that version, or {other}"
            )
        began = read_inputs(folder)
        if (
            began is not None and folder != directory.path
        ):  # an extended run's rates are in its own file alone
            began = began.model_copy(update={"schedule": now.schedule})
        if began is None and checkpoint is None:
            continue  # nothing has been learned, and the run begins anew
        if began is None:
            raise RunError(
                f"{folder}: no {FILE}, so nobody can tell whether its inputs are the same; {other}"
            )
        if changed := began.changes(now):
            raise RunError(
                f"{directory.path}: {_listed(changed)} changed since the run began, and it would be no run "
                f"of either; restore what was there and run the same command again, or {other}"
            )
        if began.version != now.version:
            line = f"{directory.name}: so far with Paceline {began.version}, goes on with {now.version}"
    return line


def changes_of_finished(directory: RunDirectory, now: Inputs) -> str | None:
    """A line about what has changed since a run ended; None: nothing has."""
    began = read_inputs(directory.path)
    if began is None:
        return f"{directory.name} has finished, but with which inputs is not recorded"
    if changed := began.changes(now):
        return (
            f"{directory.name} has finished with other inputs than there are now: {_listed(changed)} "
            "changed; its results are those of the old ones. For the new ones train under another name"
        )
    return None


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
