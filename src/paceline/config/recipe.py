"""A recipe: the whole configuration of one run."""

import re
from importlib.metadata import entry_points
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from paceline.config.data import Data
from paceline.config.evaluation import Evaluation
from paceline.config.expressions import compile_expression
from paceline.config.objective import FOUR_BIT, KL, Distill, Quantize
from paceline.config.strict import Strict
from paceline.errors import nearest

SCHEDULERS = (
    "cosine",
    "linear",
    "constant",
    "constant_with_warmup",
    "cosine_with_restarts",
    "polynomial",
    "cosine_with_min_lr",
    "warmup_stable_decay",
)
# Entry points of other packages, each a function as `module:function` is.
SCHEDULE_GROUP = "paceline.schedules"

# More than any matrix of a base has rows or columns to make use of.
MAX_RANK = 8192

# The smallest base of the write-ups: what a recipe that names none is about.
DEFAULT_BASE = "Qwen/Qwen3-0.6B"

ALL_PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def _data_from_text(value: Any) -> Any:
    return {"source": value} if isinstance(value, str) else value


def _known_schedule(name: str) -> str:
    """Refuses a name that is no schedule's. A function is imported when a run is prepared, never here."""
    if name in SCHEDULERS or re.fullmatch(r"[\w.]+:[\w.]+", name):
        return name
    known = [*SCHEDULERS, *entry_points(group=SCHEDULE_GROUP).names]
    if name not in known:
        raise ValueError(
            f"no such schedule{nearest(name, known)} (known: {', '.join(known)}; your own: module:function)"
        )
    return name


Schedule = Annotated[str, AfterValidator(_known_schedule)]


def _known_start(name: bool | str) -> bool | str:
    if name is True or re.fullmatch(r"gaussian|olora|pissa(_niter_[1-9]\d{0,2})?", str(name)):
        return name
    raise ValueError(f"no start {name!r}; there are true, gaussian, pissa, pissa_niter_N and olora")


def _each_once(tokens: list[int]) -> list[int]:
    seen: set[int] = set()
    for token in tokens:
        if token in seen:
            raise ValueError(f"token {token} is named twice")
        seen.add(token)
    return tokens


TokenIndices = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1), AfterValidator(_each_once)]
TokensByModule = Annotated[dict[str, TokenIndices], Field(min_length=1)]


class BatchRamp(Strict):
    """A batch that grows: linearly, rounded to whole examples, over the first steps of a run."""

    start: int = Field(gt=0, description="examples in a batch of the first step")
    end: int = Field(gt=0, description="examples in a batch from the last of these steps on")
    steps: int = Field(gt=0, description="optimizer steps over which the batch grows")

    @model_validator(mode="after")
    def _grows(self) -> "BatchRamp":
        if self.end < self.start:
            raise ValueError(f"a batch grows from start to end, but {self.start} is more than {self.end}")
        return self


class Recipe(Strict):
    """All that decides what a run learns.

    Batch, loss, schedule and optimizer mean what they mean in TRL and transformers.
    """

    base: str = Field(DEFAULT_BASE, description="base model: hub id, folder, or embedded")
    data: Annotated[Data, BeforeValidator(_data_from_text)] = Field(
        description="the data, or just its source"
    )
    max_length: int = Field(
        1024, ge=8, description="longest example in tokens; longer ones are cut at the end, or packed"
    )
    loss_on: Literal["assistant", "all"] = Field("assistant", description="which tokens are supervised")
    train_tasks: list[str] | None = Field(
        None, min_length=1, description="train on these tasks or phases only; all are held out"
    )
    phases: dict[str, list[str]] = Field(
        {}, description="a curriculum: names of phases, in order, with the tasks of each"
    )
    order: Literal["random", "phases", "length", "base-loss"] = Field(
        "random", description="order of the examples in an epoch"
    )
    init_from: str | None = Field(
        None, description="start from this run of the study, or from this adapter's folder"
    )

    quantize: Quantize = Field("none", description="how the frozen base is stored (needs the extra `quant`)")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="type of the frozen base's weights and products; auto: bf16 on a GPU, fp32 on a CPU",
    )
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="type that 4-bit weights are multiplied in"
    )
    llm_int8_threshold: float = Field(
        6.0, ge=0, description="int8: inputs beyond this are multiplied unquantized; 0: none"
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute layers in the backward pass: less memory, same result"
    )
    share_prefixes: bool = Field(
        False,
        description="what a micro-batch's examples begin with alike is computed once, dropout included (CPU)",
    )

    lora_r: int = Field(16, gt=0, le=MAX_RANK, description="rank of the adapter")
    lora_alpha: int = Field(
        32, gt=0, description="scale of the adapter: alpha / r, with rsLoRA alpha / sqrt(r)"
    )
    lora_dropout: float = Field(0.05, ge=0, lt=1, description="dropout on the adapter's input")
    target_modules: list[str] | str = Field(
        ALL_PROJECTIONS,
        description="module names, one regular expression over full names, or all-linear",
        union_mode="left_to_right",
    )
    exclude_modules: list[str] | str | None = Field(
        None, description="modules that are no targets after all, named as target_modules are"
    )
    layers_to_transform: list[int] | int | None = Field(
        None, description="only the layers of these numbers, from 0"
    )
    layers_pattern: list[str] | str | None = Field(
        None, description="what stands before a layer's number in a name; default: anything"
    )
    rank_pattern: dict[str, Annotated[int, Field(gt=0, le=MAX_RANK)]] = Field(
        {}, description="other ranks by module: a name's last part, or a regular expression for the end of it"
    )
    alpha_pattern: dict[str, Annotated[int, Field(gt=0)]] = Field(
        {}, description="other alphas by module, named as in rank_pattern"
    )
    use_rslora: bool = Field(False, description="rank-stabilised scale (arXiv:2312.03732)")
    use_dora: bool = Field(False, description="a trained magnitude for each output (DoRA, arXiv:2402.09353)")
    init_lora_weights: Annotated[bool | str, AfterValidator(_known_start)] = Field(
        True, description="PEFT's start of A and B: true, gaussian, pissa, pissa_niter_N or olora"
    )
    loraplus_lr_ratio: float | None = Field(
        None, gt=0, description="LoRA+ (arXiv:2402.12354): the rate of B as a multiple of lr, which A keeps"
    )
    trainable_token_indices: TokenIndices | TokensByModule | None = Field(
        None,
        description="tokens whose rows of the embeddings are trained whole; {module: tokens} for lm_head too",
        union_mode="left_to_right",
    )
    modules_to_save: list[str] | None = Field(
        None, min_length=1, description="train a whole copy of embed_tokens or lm_head, as PEFT does"
    )
    new_tokens: list[str] = Field(
        [], description="tokens that are added to the base, with rows that the run trains whole"
    )

    epochs: float = Field(1, gt=0, description="passes over the training data")
    max_steps: int | None = Field(None, gt=0, description="optimizer steps; overrides epochs")
    batch_size: Annotated[int, Field(gt=0)] | BatchRamp = Field(
        4,
        description="examples in a batch; {start, end, steps}: it grows over the first steps",
    )
    grad_accum: int = Field(4, gt=0, description="batches in an optimizer step")

    # ten times a full fine-tuning's: an adapter has few parameters, and starts from B = 0
    lr: float = Field(2e-4, gt=0, description="peak learning rate")
    lr_scheduler: Schedule = Field(
        "cosine",
        description=f"shape of the learning rate: {', '.join(SCHEDULERS)}, or your own module:function",
    )
    num_cycles: Annotated[int, Field(gt=0)] | Literal["epochs"] = Field(
        1, description="cycles of cosine_with_restarts; epochs: restart at each epoch's end"
    )
    min_lr_ratio: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="where cosine_with_min_lr, warmup_stable_decay and polynomial end, as a share of lr",
    )
    decay_ratio: float = Field(
        0.1, gt=0, le=1, description="share of the steps in which warmup_stable_decay decays"
    )
    power: float = Field(1.0, gt=0, description="exponent of polynomial")
    warmup_ratio: float = Field(0.1, ge=0, le=1, description="share of the steps that warm up")
    warmup_steps: int | None = Field(None, ge=0, description="steps that warm up; overrides warmup_ratio")
    optim: Literal["adamw", "adamw8bit"] = Field(
        "adamw", description="optimizer; adamw8bit keeps its moments in 8 bits (extra `quant`)"
    )
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="decay of the first moment")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="decay of the second moment")
    adam_epsilon: float = Field(1e-8, gt=0, description="term that keeps the division finite")
    max_grad_norm: float = Field(1.0, ge=0, description="gradients are clipped to this norm; 0: never")

    kl: KL | None = Field(None, description="KL anchor to the base")
    distill: Distill | None = Field(None, description="teacher to learn from")

    eval: Evaluation = Field(
        Evaluation(), description="what the run is evaluated by beside its held-out loss"
    )
    track: str = Field(
        "none",
        description="where the log also goes: trackio, tensorboard, wandb, mlflow, or another's tracker",
    )
    track_project: str | None = Field(None, description="the tracker's project; default: the study's name")
    track_space: str | None = Field(
        None,
        description="hub space for the dashboard; default: this machine, or the server in TRACKIO_SERVER_URL",
    )
    logging_steps: int = Field(10, gt=0, description="steps between logged lines")
    eval_steps: int | None = Field(
        None, gt=0, description="steps between evaluations; default: only before and after"
    )
    early_stop_patience: int | None = Field(
        None, gt=0, description="stop after this many evaluations without a better loss"
    )
    early_stop_min_delta: float = Field(
        0.0, ge=0, description="how much lower a loss must be to count as better, in nats"
    )
    on_error: Literal["continue", "stop"] = Field(
        "continue", description="what a run does when the doctor finds an error while it trains"
    )
    save_steps: int = Field(100, gt=0, description="steps between checkpoints")
    save_minutes: float | None = Field(
        None, gt=0, description="minutes between checkpoints too, whatever a step takes"
    )
    save_limit: int = Field(2, gt=0, description="checkpoints kept")
    load_best: bool = Field(False, description="keep the adapter with the lowest eval loss, not the last")
    seed: int = Field(42, ge=0, description="seed of weights, order and dropout")

    @model_validator(mode="after")
    def _agree(self) -> "Recipe":
        if self.load_best and self.eval_steps is None:
            raise ValueError(
                "load_best needs eval_steps: with no evaluation on the way there is no best step to keep"
            )
        if self.early_stop_patience is not None and self.eval_steps is None:
            raise ValueError(
                "early_stop_patience needs eval_steps: there is no loss to watch without evaluations"
            )
        if self.track_space and "://" in self.track_space:  # its token would stand in every recipe.yaml
            raise ValueError(
                "track_space is USER/NAME on the hub; "
                "the address of a server, with its token, belongs in TRACKIO_SERVER_URL"
            )
        if self.compute_dtype == "float16" and self.quantize not in FOUR_BIT:
            raise ValueError(
                "compute_dtype float16 (fp16) is for bases that are quantized to 4 bits; "
                "others are bfloat16 on a GPU and float32 on a CPU: leave it out, or give dtype: float16"
            )
        if self.order == "phases" and not self.phases:
            raise ValueError(
                "order: phases needs phases: {name: [tasks], …} that say which tasks belong to which phase"
            )
        if self.data.packing and self.order != "random":
            raise ValueError(
                f"data.packing goes with order: random only, not {self.order}: packed examples are all of "
                "one length and hold texts of any task"
            )
        return self

    @model_validator(mode="after")
    def _new_tokens_agree(self) -> "Recipe":
        if odd := [token for token in self.new_tokens if token != token.strip() or not token]:
            raise ValueError(f"new_tokens: {odd[0]!r} is empty or has space at an end")
        if len(set(self.new_tokens)) < len(self.new_tokens):
            raise ValueError("new_tokens names a token twice")
        if self.modules_to_save and (self.new_tokens or self.trainable_token_indices is not None):
            raise ValueError(
                "modules_to_save trains every row of a module; new_tokens and trainable_token_indices train "
                "single ones: give one or the other"
            )
        if self.new_tokens and self.distill:
            raise ValueError("new_tokens does not go with distill: the teacher has no such tokens")
        return self

    @model_validator(mode="after")
    def _adapter_agrees(self) -> "Recipe":
        if not self.target_modules:
            raise ValueError("target_modules is empty: there would be nothing to train")
        if isinstance(self.target_modules, str):
            try:
                compile_expression(self.target_modules)
            except ValueError as error:
                raise ValueError(f"target_modules: {error}") from error
        if self.layers_to_transform is not None and isinstance(self.target_modules, str):
            raise ValueError(
                "layers_to_transform goes with a list of target_modules, as in PEFT; "
                "an expression names its layers itself"
            )
        if self.layers_to_transform == [] or self.layers_pattern == []:
            raise ValueError("layers_to_transform and layers_pattern are not empty lists; leave them out")
        if self.layers_pattern is not None and self.layers_to_transform is None:
            raise ValueError("layers_pattern needs layers_to_transform: the numbers of the layers")
        start = self.init_lora_weights
        if isinstance(start, str) and start != "gaussian":
            if self.quantize != "none":
                raise ValueError(
                    f"init_lora_weights {start} takes directions out of the base's weights; "
                    f"those of a base stored as {self.quantize} are rounded: use quantize: none, or true"
                )
            if self.use_dora or self.use_rslora:
                other = "use_dora" if self.use_dora else "use_rslora"
                raise ValueError(f"init_lora_weights {start} does not go with {other}; use true")
        return self

    @property
    def final_batch_size(self) -> int:
        """Examples in a batch, once it has grown."""
        return self.batch_size if isinstance(self.batch_size, int) else self.batch_size.end

    @property
    def effective_batch(self) -> int:
        """Examples in an optimizer step, once the batch has grown."""
        return self.final_batch_size * self.grad_accum

    @property
    def lora_scale(self) -> float:
        """Factor of B·A·x, where no pattern gives a module another one."""
        return self.scale_of(self.lora_r, self.lora_alpha)

    def scale_of(self, rank: int, alpha: int) -> float:
        """Factor of B·A·x for a rank and an alpha."""
        return alpha / (rank**0.5 if self.use_rslora else rank)
