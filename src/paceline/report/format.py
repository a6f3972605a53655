"""Figures as people read them."""

# The heading over what `seen` says.
SEEN = "examples seen"


def clock(seconds: float) -> str:
    """1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def seen(coverage: float) -> str:
    """How often examples are seen, from passes over them: 42% once, once, 1.8 times."""
    times = f"{coverage:.1f}".removesuffix(".0")
    if coverage < 0.995:
        return f"{coverage:.{0 if coverage >= 0.1 else 1}%} once"
    return "once" if times == "1" else f"{times} times"


def number(value: object) -> str:
    """A figure as a person writes it: four places for a float, thousands apart for a count."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) < 1e-3 or abs(value) >= 1e4:
        return f"{value:.4g}"
    return f"{value:.4f}".rstrip("0").rstrip(".")
