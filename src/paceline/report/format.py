"""Figures as people read them."""


def clock(seconds: float) -> str:
    """1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def number(value: object) -> str:
    """A figure as a person writes it: four places for a float, thousands apart for a count."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) < 1e-3 or abs(value) >= 1e4:
        return f"{value:.4g}"
    return f"{value:.4f}".rstrip("0").rstrip(".")
