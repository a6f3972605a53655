"""The recipe that the checks before training are tried on, with some of its fields changed."""

RUST = {"source": "embedded:rust", "n": 400}
COMMON = {"base": "embedded", "data": RUST, "lr": 8e-4, "epochs": 1}
