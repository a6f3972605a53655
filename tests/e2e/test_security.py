"""Every claim of SECURITY.md is backed by tests: named here, and there."""

from __future__ import annotations

import ast
import json
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch

from helpers import CPU, MakeBase
from paceline.config.data import Data
from paceline.config.load import load_study
from paceline.data.chat import load_chat
from paceline.data.tokens import load_tokens
from paceline.errors import PacelineError
from paceline.model.base import load_base

ROOT = Path(__file__).parents[2]
HERE = "e2e/test_security.py"

# {a phrase of SECURITY.md: the tests that fail where it is not true}, each as FILE::FUNCTION below tests/.
CLAIMS: dict[str, list[str]] = {
    # a study or recipe file
    "name data, bases, adapters and questions to read": [
        "e2e/test_cli.py::test_rehearse_walks_a_study_on_the_embedded_base"
    ],
    "name a judge's address, which gets the questions and the answers, but no key": [
        "evaluate/mtbench/judges/test_openai_api.py::test_a_server_that_only_a_file_names_gets_no_key",
        "evaluate/mtbench/judges/test_openai_api.py::test_an_address_with_a_password_or_of_another_kind_is_refused",
    ],
    "and a Trackio space, which gets the log": ["launch/test_trackio.py::test_two_runs_reach_a_server"],
    "run a command, build Python objects": [
        f"{HERE}::test_a_study_file_builds_no_object",
        "config/test_yaml_text.py::test_odd_yaml_is_refused_with_its_line",
    ],
    "hold a token": [f"{HERE}::test_a_study_file_holds_no_token"],
    # a data set
    "be read as Parquet, JSON or CSV": ["data/test_sources.py::test_a_file_that_cannot_be_read_is_named"],
    "be quoted in reports, escaped": [
        "report/test_page.py::test_what_others_wrote_does_nothing",
        "report/test_export.py::test_markdown_holds_no_markup_of_others",
        "api/test_results.py::test_everything_shows_itself_and_what_others_wrote_is_escaped",
    ],
    "bring a loading script": [f"{HERE}::test_a_data_sets_loading_script_is_not_run"],
    # its code, and a model's
    "run in the sandbox, when": ["evaluate/test_sandbox.py::test_what_pries_finds_nothing"],
    "run anywhere else": [
        "evaluate/test_sandbox.py::test_without_bubblewrap_it_refuses_unless_accepted",
        "api/test_calls.py::test_a_rehearsal_runs_no_code_where_it_cannot",
    ],
    "as code, run in the sandbox when asked for": ["evaluate/test_sandbox.py::test_an_honest_program_runs"],
    "call tools": ["evaluate/test_serve_fields.py::test_calls_of_an_answer_are_openais"],
    # a base
    "bring weights, a tokenizer and a chat template": [
        "faults/test_hostile_weights.py::test_a_base_of_a_stranger_is_refused_in_a_line",
        "data/test_chat.py::test_a_template_that_does_not_end_is_refused",
        "data/test_chat.py::test_a_template_that_asks_for_all_memory_is_refused",
    ],
    "run code of its own": [f"{HERE}::test_a_bases_own_code_is_not_run"],
    # a request
    "ask any of the served models": ["evaluate/test_serve.py::test_every_adapter_is_a_model"],
    "read or write files, load another model": [
        "evaluate/test_serve.py::test_bad_requests_say_what_is_wrong"
    ],
    "change or end another's answer": [
        "evaluate/test_serve_fields.py::test_one_request_never_changes_another",
        "faults/test_odd_requests.py::test_one_that_fails_in_the_batch_fails_alone",
    ],
    "have a tool called": ["evaluate/test_serve_fields.py::test_calls_of_an_answer_are_openais"],
    "read the study's folder and its runs' data as pages": [
        "board/test_board.py::test_nobody_without_the_token_sees_or_does_anything",
        "board/test_stop.py::test_a_training_run_saves_stops_and_can_go_on",
    ],
    "come from another site or server": [
        "board/test_board.py::test_only_the_boards_own_pages_on_this_machine_may_change_anything",
        "board/test_stop.py::test_what_would_not_save_here_is_not_stopped",
    ],
    "ask its adapters, and add a vote to its folder": [
        "board/test_playground.py::test_blind_answers_get_their_names_with_the_vote"
    ],
    "have the process that trains save and stop": [
        "board/test_stop.py::test_a_training_run_saves_stops_and_can_go_on"
    ],
    "check and plan a study's text": ["board/test_editing.py::test_check_and_plan_answer_what_is_posted"],
    "end a process that would not save": ["board/test_stop.py::test_what_would_not_save_here_is_not_stopped"],
    "read other files": ["board/test_board.py::test_no_address_leads_out_of_the_folder"],
    # what follows the table
    "neither unpickles nor calls `torch.load`, and never passes `trust_remote_code`": [
        f"{HERE}::test_no_line_unpickles_or_trusts_remote_code"
    ],
    "adapters and checkpoints are safetensors": [
        "faults/test_hostile_weights.py::test_an_adapter_of_a_stranger_is_refused_in_a_line",
        "faults/test_hostile_checkpoint.py::test_a_checkpoint_of_a_stranger_is_refused_in_a_line",
    ],
    "Weights are checked before any is loaded": [
        "faults/test_hostile_weights.py::test_a_base_of_a_stranger_is_refused_in_a_line",
        "faults/test_hostile_weights.py::test_a_base_of_the_hub_is_checked_before_it_is_loaded",
    ],
    "are written into no run directory": [
        "export/test_push.py::test_the_token_is_in_no_file_and_without_one_nothing_is_asked",
        "evaluate/mtbench/judges/test_openai_api.py::test_a_refused_key_is_one_line_and_never_shown",
    ],
    "hands both to the job as": ["launch/test_jobs.py::test_a_job_is_started_followed_and_brought_back"],
    "What is pushed is private unless you say `--public`": [
        "export/test_push.py::test_a_run_is_pushed_private_with_its_card_and_pulled_again",
        "launch/test_trackio.py::test_a_new_space_is_private",
    ],
    "no network, the system's `/usr` and the compiler read-only, no home folder, an empty": [
        "evaluate/test_sandbox.py::test_what_pries_finds_nothing",
        "evaluate/test_sandbox.py::test_a_program_that_is_told_a_secret_sees_no_process_and_no_file",
    ],
    "limits on time, memory, processes, output and files": [
        "evaluate/test_sandbox.py::test_what_would_never_end_is_ended",
        "faults/test_hostile_programs.py::test_no_program_holds_more_than_its_limit",
    ],
    "Where bubblewrap is missing or forbidden, Paceline refuses": [
        "evaluate/test_sandbox.py::test_without_bubblewrap_it_refuses_unless_accepted",
        "evaluate/test_sandbox.py::test_where_the_kernel_forbids_it_it_says_so",
    ],
    # known limits
    "`OPENAI_API_KEY` goes there only if you name the host": [
        "evaluate/mtbench/judges/test_openai_api.py::test_a_key_goes_to_openai_and_to_servers_that_the_user_named",
        "evaluate/mtbench/judges/test_openai_api.py::test_the_command_line_names_a_host",
    ],
    "Without a terminal it is refused": [f"{HERE}::test_a_bases_own_code_is_not_run"],
    "`torch.load(weights_only=True)`": [f"{HERE}::test_weights_in_a_pickle_run_nothing"],
    "Processes and files in memory have one limit together": [
        "evaluate/test_sandbox.py::test_no_folder_in_memory_holds_more_than_the_limit"
    ],
    "control group (version 2)": [
        "evaluate/test_control_group.py::test_a_program_begins_inside_its_group_and_ends_for_its_memory",
        "evaluate/test_sandbox.py::test_a_burst_of_memory_ends_by_itself",
    ],
    "`--sandbox docker`": ["evaluate/test_docker.py::test_a_container_is_held_to_its_limits_and_removed"],
    "has one key for all": [
        "faults/test_odd_requests.py::test_a_key_is_asked_for",
        "faults/test_odd_requests.py::test_a_public_address_needs_a_key",
    ],
    "refuses pages of other sites (`Host`, `Origin`)": [
        "faults/test_odd_requests.py::test_without_a_key_only_this_machine_is_answered"
    ],
    "Bodies, prompts and the": [
        "faults/test_odd_requests.py::test_what_is_too_much_is_refused_before_it_is_read",
        "faults/test_odd_requests.py::test_a_full_line_is_said",
        "evaluate/test_serve_fields.py::test_what_cannot_be_kept_is_refused",
    ],
}
# What is said of other software, or advice.
NOT_OURS = ("Ray",)


def text() -> str:
    return " ".join((ROOT / "SECURITY.md").read_text().split())


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_is_there_and_its_tests_are(claim: str) -> None:
    assert claim in text()
    for name in CLAIMS[claim]:
        file, function = name.split("::")
        tree = ast.parse((ROOT / "tests" / file).read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name


def test_every_line_has_a_claim() -> None:
    """Each clause of the table and each limit needs a test, or a reason to have none."""
    rows = re.findall(r"^\| (?!\||---)(.+?) \| (.+?) \| (.+?) \|$", (ROOT / "SECURITY.md").read_text(), re.M)
    assert len(rows) == 7
    limits = re.findall(r"- \*\*(.*?)(?=- \*\*|$)", text().split("## Known limits")[1])
    assert len(limits) == 6
    pieces = [piece for _, *cells in rows for cell in cells for piece in re.split(r"; |\. ", cell)]
    for line in pieces + limits:
        assert any(claim in line for claim in CLAIMS) or line.startswith(NOT_OURS), line


def test_a_study_file_builds_no_object(tmp_path: Path) -> None:
    made = tmp_path / "made"
    for tag in (
        f"!!python/object/apply:os.system ['touch {made}']",
        f"!!python/object/new:pathlib.Path ['{made}']",
        "!!python/name:os.system",
    ):
        (tmp_path / "s.yaml").write_text(
            f"study: s\nrecipe: {{base: embedded, data: d, lr: {tag}}}\nruns: [{{name: a}}]\n"
        )
        with pytest.raises(PacelineError):
            load_study(tmp_path / "s.yaml")
    assert not made.exists()


@pytest.mark.parametrize(
    "field", ["token", "hub_token", "hf_token", "api_key", "openai_api_key", "judge_api_key"]
)
def test_a_study_file_holds_no_token(field: str, tmp_path: Path) -> None:
    for place in ("recipe: {base: embedded, data: d, %s: x}", "%s: x\nrecipe: {base: embedded, data: d}"):
        (tmp_path / "s.yaml").write_text(f"study: s\n{place % field}\nruns: [{{name: a}}]\n")
        with pytest.raises(PacelineError, match=field):
            load_study(tmp_path / "s.yaml")


def test_a_data_sets_loading_script_is_not_run(tmp_path: Path) -> None:
    folder, made = tmp_path / "rows", tmp_path / "made"
    folder.mkdir()
    (folder / "rows.py").write_text(f"open({str(made)!r}, 'w')\n")
    for source in (folder, folder / "rows.py"):
        with pytest.raises(PacelineError):
            load_tokens(Data(source=str(source)), load_chat("embedded"))
    assert not made.exists()


def test_a_bases_own_code_is_not_run(tiny_base: MakeBase, tmp_path: Path) -> None:
    folder, made = tmp_path / "base", tmp_path / "made"
    shutil.copytree(tiny_base(), folder)
    (folder / "modeling_own.py").write_text(f"open({str(made)!r}, 'w')\nclass Own: pass\n")
    config = json.loads((folder / "config.json").read_text())
    own = {"auto_map": {"AutoModelForCausalLM": "modeling_own.Own", "AutoConfig": "modeling_own.Own"}}
    (folder / "config.json").write_text(json.dumps({**config, **own, "model_type": "own"}))
    with pytest.raises(PacelineError):
        load_base(str(folder), CPU)
    assert not made.exists()


class _Runs:
    """What a pickle makes of it opens a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


def test_weights_in_a_pickle_run_nothing(tiny_base: MakeBase, tmp_path: Path) -> None:
    folder, made = tmp_path / "base", tmp_path / "made"
    shutil.copytree(tiny_base(), folder)
    (folder / "model.safetensors").unlink()
    for save in (torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))):
        save({"model.norm.weight": _Runs(made)}, folder / "pytorch_model.bin")
        with pytest.raises(PacelineError):
            load_base(str(folder), CPU)
        assert not made.exists()


# Modules that make objects or run code from what they read.
UNPICKLERS = {
    "pickle",
    "_pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "jsonpickle",
}
# Functions that do, by their full names.
RUNNERS = {
    *("eval", "exec", "compile", "__import__", "torch.load", "torch.jit.load", "torch.hub.load"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load"),
    *("yaml.full_load_all", "yaml.Loader", "yaml.UnsafeLoader", "yaml.FullLoader", "pandas.read_pickle"),
    *("runpy.run_path", "runpy.run_module"),
}
# {(file, what it uses): why that is safe}
ALLOWED = {
    ("config/yaml_text.py", "yaml.load"): "with _Loader, a SafeLoader with bounds",
    ("config/settings.py", "trust_remote_code"): "a field of other trainers that is read to be refused",
}


def uses(tree: ast.AST) -> set[str]:
    """What of a module's code makes objects or runs code, under whatever name it was imported."""
    names: dict[str, str] = {}
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.split(".")[0]
                names[alias.asname or whole] = whole
                found |= {alias.name} if alias.name.split(".")[0] in UNPICKLERS else set()
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                package = (node.module or "").split(".")[0]
                found |= {f"{node.module}.{alias.name}"} if package in UNPICKLERS else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "allow_pickle"):
            found.add(node.arg)
        elif isinstance(node, ast.Constant) and node.value in ("trust_remote_code", "allow_pickle"):
            found.add(str(node.value))  # for **fields
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            first, *rest = ast.unparse(node).split(".")
            found |= {".".join([names.get(first, first), *rest])} & RUNNERS
    return found


@pytest.mark.parametrize(
    ("code", "use"),
    [
        ("import torch\ntorch.load(f)", "torch.load"),
        ("import torch as t\nread = t.load", "torch.load"),
        ("from torch import load as read\nread(f)", "torch.load"),
        ("def f():\n    from yaml import unsafe_load\n    unsafe_load(g)", "yaml.unsafe_load"),
        ("import yaml\nyaml.load(f, yaml.Loader)", "yaml.Loader"),
        ("import numpy as np\nnp.load(f, allow_pickle=True)", "allow_pickle"),
        ("np.load(f, **{'allow_pickle': True})", "allow_pickle"),
        ("import _pickle as p", "_pickle"),
        ("from joblib import load", "joblib.load"),
        ("import shelve, marshal", "marshal"),
        ("map(eval, lines)", "eval"),
        ("exec(text)", "exec"),
        ("load_model(f, trust_remote_code=True)", "trust_remote_code"),
    ],
)
def test_what_makes_objects_is_seen_under_any_name(code: str, use: str) -> None:
    assert use in uses(ast.parse(code))


def test_no_line_unpickles_or_trusts_remote_code() -> None:
    source = ROOT / "src" / "paceline"
    found = {
        (path.relative_to(source).as_posix(), use)
        for path in source.rglob("*.py")
        for use in uses(ast.parse(path.read_text()))
    }
    assert found == ALLOWED.keys()
