"""Named, partial recipes: five of a study of fine-tuning on Rust, and `guide`, that of a teaching guide."""

from paceline.config.fields import Fields

_BASELINE: Fields = {
    "epochs": 1,
    "batch_size": 4,
    "grad_accum": 4,
    "lr": 2e-5,
    "lr_scheduler": "cosine",
    "warmup_ratio": 0.1,
    "lora_r": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.05,
}

PRESETS: dict[str, Fields] = {
    "baseline": _BASELINE,
    "conservative-lr": {**_BASELINE, "epochs": 2, "lr": 1e-5},
    "high-capacity": {
        "batch_size": 4,
        "grad_accum": 4,
        "lr": 2e-5,
        "warmup_ratio": 0.1,
        "lora_r": 32,
        "lora_alpha": 64,
        "lora_dropout": 0.1,
    },
    "aggressive-lr": {
        "batch_size": 4,
        "grad_accum": 4,
        "lr": 5e-5,
        "warmup_ratio": 0.2,
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.05,
    },
    "small-batch": {
        "batch_size": 2,
        "grad_accum": 2,
        "lr": 2e-5,
        "warmup_ratio": 0.1,
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.1,
    },
    "guide": {
        "batch_size": 4,
        "grad_accum": 4,
        "lr": 2e-4,
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.05,
    },
}

PURPOSE = {
    "baseline": "sensible defaults to compare with",
    "conservative-lr": "half the learning rate, two epochs",
    "high-capacity": "twice the rank, for 100k examples and more",
    "aggressive-lr": "fast: near the best quality in a quarter of the steps",
    "small-batch": "best generalisation: four times the updates",
    "guide": "the teaching guide's: a high learning rate for a 0.6B base",
}
