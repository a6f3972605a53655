"""The command line: one thin file a command group. Heavy modules are imported inside the commands."""

import atexit
import errno
import gc
import sys

import typer

from paceline.cli import (
    bench,
    board,
    compare,
    data,
    doctor,
    evaluate,
    export,
    generate,
    held_out,
    launch,
    metrics,
    mtbench,
    plan,
    report,
    start,
    study,
    train,
    validate,
)
from paceline.cli.output import OutputError, checked_output
from paceline.errors import ConfigError, PacelineError, visible
from paceline.version import __version__

# Exit codes of sysexits.h: a fault of the program's own, and output that could not be written.
INTERNAL, OUTPUT_LOST = 70, 74
# What the system does not let this user write or read: nobody's fault in the program.
REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)

app = typer.Typer(
    name="paceline",
    help="Train a study of LoRA runs at once over one frozen base, and learn which differences are real.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("try")(start.try_)
app.command("init")(start.init)
app.command("validate")(validate.validate)
app.command("train")(train.train)
app.command("evaluate")(held_out.evaluate)
app.command("rehearse")(study.rehearse)
app.command("plan")(plan.plan)
app.command("check")(doctor.check)
app.command("doctor")(doctor.doctor)
app.command("compare")(compare.compare)
app.command("report")(report.report)
app.command("fetch-metrics")(metrics.fetch_metrics)
app.command("watch")(report.watch)
app.command("board")(board.board)
app.command("bench")(bench.bench)
app.command("merge")(export.merge)
app.command("push")(export.push)
app.command("pull")(export.pull)
app.command("launch")(launch.launch)
app.command("chat")(generate.chat)
app.command("mtbench")(mtbench.mtbench)
app.command("generate")(generate.generate)
app.command("serve")(generate.serve)
app.command("presets")(train.presets)
app.add_typer(study.app, name="study")
app.add_typer(data.app, name="data")
app.add_typer(evaluate.app, name="eval")


@app.callback(invoke_without_command=True)
def version(show: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    """Train a study of LoRA runs at once over one frozen base, and learn which differences are real."""
    if show:
        print(__version__)
        raise typer.Exit


def _dashes(argument: str) -> str:
    """--kl_coef as people's scripts have it is --kl-coef here."""
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else argument


def _refuse_empty(arguments: list[str]) -> None:
    """Refuses an empty argument: for a path it would be the folder that the command runs in.

    Raises:
        ConfigError: with what stands before it.
    """
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if not argument:
            where = f"after {before}" if before else "of the command"
            raise ConfigError(f"an argument {where} is empty ('': an unset variable?); give it a value")
        if argument.startswith("--") and argument.endswith("="):
            raise ConfigError(f"{argument[:-1]} is empty (an unset variable?); give it a value")


def main() -> None:
    """Runs the command line; docs/reliability.md has the exit codes.

    Whatever is wrong is one line, and `--debug` anywhere shows the traceback.
    """
    _collect_seldom()
    debug = "--debug" in sys.argv
    arguments = [_dashes(argument) for argument in sys.argv[1:] if argument != "--debug"]
    try:
        _refuse_empty(arguments)
        with checked_output():
            app(arguments)
    except Exception as error:
        if debug:
            raise
        line, code = _explain(error)
        print(visible(line).replace("\n", " "), file=sys.stderr)
        sys.exit(code)
    except KeyboardInterrupt:
        if debug:
            raise
        print(
            "interrupted; nothing of the steps that were saved is lost, the same command goes on",
            file=sys.stderr,
        )
        sys.exit(130)


def _collect_seldom() -> None:
    """Importing torch and transformers makes a million objects of which none is garbage.

    Looking through them again and again takes a second of each command's start, and one more at its end.
    """
    gc.set_threshold(10_000, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)


def _explain(error: Exception) -> tuple[str, int]:
    """A line for the user, and the exit code."""
    if isinstance(error, PacelineError):
        return f"error: {error}", 2
    if isinstance(error, OutputError):
        return f"error: {error}", OUTPUT_LOST
    if isinstance(error, OSError) and error.errno in REFUSED and error.filename:
        return (
            f"error: {error.filename}: {error.strerror}; let this user write there, or choose another place",
            2,
        )
    said = " ".join(str(error).split())
    return (
        f"error: {type(error).__name__}: {said}; this is a fault of Paceline's own, and what was saved is "
        "safe. Please open an issue with what the same command shows with --debug",
        INTERNAL,
    )
