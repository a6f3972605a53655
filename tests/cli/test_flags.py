"""Options made from models."""

from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from paceline.cli.flags import options_from, recipe_flags
from paceline.config.load import make_recipe
from paceline.config.strict import Strict


class Inner(Strict):
    depth: int | None = Field(None, gt=0, description="how deep")
    share: float = 0.5


class Model(Strict):
    """A field of every kind that the configuration has."""

    name: str = Field("x", description="what it is called")
    kind: Literal["round", "square"] = Field("round", description="its shape")
    thick: bool = Field(False, description="thick or thin")
    count: int = 3
    words: list[str] | None = None
    pair: tuple[float, float] | None = None
    pattern: list[str] | str = "a.*"
    groups: dict[str, list[str]] = Field({})
    cycles: Annotated[int, Field(gt=0)] | Literal["all"] = 1
    size: int | Inner = 4
    parts: tuple[Inner, ...] | None = None
    inner: Inner | None = None


def ask(line: Any, **options: Any) -> Any:
    """The fields that a command gets from a line, and the model made of them."""
    app, given = typer.Typer(), []

    @app.command()
    @options_from(Model, **options)
    def command(file: str, fields: dict, dry: bool = False) -> None:
        given.append(fields)

    result = CliRunner().invoke(app, ["file", *line.split()])
    assert result.exit_code == 0, result.output
    return given[0], Model.model_validate(given[0])


def test_only_what_is_given_is_a_field() -> None:
    assert ask("")[0] == {}
    assert ask("--dry")[0] == {}


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("--name y --kind square", {"name": "y", "kind": "square"}),
        ("--thick", {"thick": True}),
        ("--no-thick", {"thick": False}),
        ("--words a,b", {"words": ["a", "b"]}),
        ("--words a", {"words": ["a"]}),
        ("--pair 2.5,10", {"pair": ["2.5", "10"]}),
        ("--pattern q_proj,v_proj", {"pattern": ["q_proj", "v_proj"]}),
        (r"--pattern .*\.(q|v)_proj", {"pattern": r".*\.(q|v)_proj"}),
        ("--pattern [qv]_proj", {"pattern": "[qv]_proj"}),
        ("--cycles all", {"cycles": "all"}),
        ("--size 8", {"size": "8"}),
        ("--inner-depth 2", {"inner": {"depth": 2}}),
    ],
)
def test_text_becomes_what_the_field_holds(line: Any, fields: Any) -> None:
    given, model = ask(line)
    assert given == fields
    assert model == Model.model_validate(fields)


def test_structured_values_are_written_as_yaml() -> None:
    app, given = typer.Typer(), []

    @app.command()
    @options_from(Model)
    def command(fields: dict) -> None:
        given.append(Model.model_validate(fields))

    line = ["--groups", "{a: [b, c]}", "--size", "{depth: 1}", "--parts", "[{share: 0.1}]", "--cycles", "3"]
    assert CliRunner().invoke(app, line).exit_code == 0
    (model,) = given
    assert (model.groups, model.size, model.cycles) == ({"a": ["b", "c"]}, Inner(depth=1), 3)
    assert model.parts == (Inner(share=0.1),)


def test_options_can_be_chosen_and_named() -> None:
    fields, _ = ask("-n 5 --amount 6", only=("count", "name"), names={"count": ("n", "amount")})
    assert fields == {"count": 6}
    app = typer.Typer()
    app.command()(options_from(Model, exclude=("inner", "words"))(lambda fields: None))
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    assert "--inner" not in shown
    assert "--words" not in shown
    assert "[round|square]" in shown
    assert "what it is called" in shown


def test_several_models_can_give_options_to_one_command() -> None:
    app, given = typer.Typer(), []

    @app.command()
    @options_from(Inner, "first")
    @options_from(Model, "second", only=("name",))
    def command(first: dict, second: dict) -> None:
        given.append((first, second))

    assert CliRunner().invoke(app, ["--depth", "2", "--name", "z"]).exit_code == 0
    assert given == [({"depth": 2}, {"name": "z"})]


def recipe_from(*line: Any) -> Any:
    app, given = typer.Typer(), []

    @app.command()
    @recipe_flags
    def command(flags: dict) -> None:
        given.append(flags)

    result = CliRunner().invoke(app, ["--base", "b", "--data", "d", *line])
    assert result.exit_code == 0, result.output
    return make_recipe(given[0], "flags")


def test_a_recipes_flags_have_the_names_that_people_know() -> None:
    line = """--learning-rate 1e-4 --per-device-train-batch-size 2 --gradient-accumulation-steps 3 --lora-rank 8
        --load-in-4bit --bnb-4bit-use-double-quant --num-train-epochs 2 --report-to none --kl-limit-seq 9
        --bf16 --no-packing --optim paged_adamw_32bit --save-total-limit 5 -n 7"""
    made = recipe_from(*line.split())
    assert (made.lr, made.batch_size, made.grad_accum, made.lora_r, made.epochs) == (1e-4, 2, 3, 8, 2)
    assert (made.quantize, made.compute_dtype, made.track, made.kl.tail) == (
        "nf4-double",
        "bfloat16",
        "none",
        9,
    )
    assert (made.optim, made.save_limit, made.data.n) == ("adamw", 5, 7)


def test_a_growing_batch_and_a_curriculum_are_flags_too() -> None:
    made = recipe_from(
        "--batch-size",
        "{start: 2, end: 8, steps: 10}",
        "--phases",
        "{easy: [a]}",
        "--target-modules",
        "q_proj,v_proj",
    )
    assert (made.batch_size.end, made.phases, made.target_modules) == (
        8,
        {"easy": ["a"]},
        ["q_proj", "v_proj"],
    )
