"""One look for plots, pictures and the page: colours, type and how figures are written."""

from typing import Final

# Okabe and Ito's palette ("Color Universal Design", 2008), told apart with any colour vision.
BLUE: Final = "#0072b2"
VERMILLION: Final = "#d55e00"
GREEN: Final = "#009e73"
ORANGE: Final = "#e69f00"
SKY: Final = "#56b4e9"
PURPLE: Final = "#cc79a7"

HELD: Final = BLUE
FAILED: Final = VERMILLION

# Neutral colours change with the reader's light or dark setting, see `adaptive`.
INK: Final = "#1c2530"
MUTED: Final = "#5d6b7a"
RULE: Final = "#d5dce4"
TRACK: Final = "#e9eef3"
SURFACE: Final = "#fdfefe"

NEUTRALS: Final = {"ink": INK, "muted": MUTED, "rule": RULE, "track": TRACK, "surface": SURFACE}

DARK_NEUTRALS: Final = {
    "ink": "#e8edf2",
    "muted": "#9dabb9",
    "rule": "#35414d",
    "track": "#2a343f",
    "surface": "#1a222b",
}

ACCENTS: Final = {"blue": BLUE, "vermillion": VERMILLION, "green": GREEN}

FONT_STACK: Final = "system-ui, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', sans-serif"

TIER_NAMES: Final = {"uno": "Uno", "radio": "Radio", "pi": "Pi", "server": "Server"}

AXIS_NAMES: Final = {
    "sensors_per_uno": "sensors per Uno",
    "unos_per_pi": "Unos per Pi",
    "frames_per_minute": "frames per minute and Uno",
}

CAUSE_COLOURS: Final = {
    "radio": BLUE,
    "cpu": ORANGE,
    "memory": PURPLE,
    "gateway": GREEN,
    "still_buffered": SKY,
    "unaccounted": VERMILLION,
}
"""The colours of causes for which a reading can be missing."""

OTHER_CAUSE: Final = MUTED


def adaptive(svg: str) -> str:
    """The picture with its colours taken from the page that it stands in, where the page sets them."""
    for name, colour in {**NEUTRALS, **ACCENTS}.items():
        svg = svg.replace(colour, f"var(--{name}, {colour})")
    return svg


def words(name: str) -> str:
    """A name from the result file as a reader would say it: `still_buffered` is "still buffered"."""
    return name.replace("_", " ")


def number(value: float) -> str:
    """A figure with thin spaces between thousands and no digits that say nothing."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    digits = 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 4
    text = f"{value:,.{digits}f}".rstrip("0").rstrip(".")
    return text.replace(",", "\u202f")


def percent(share: float) -> str:
    """A share as percent; a share that is not quite none or all is not rounded to it."""
    value = 100 * share
    if value in (0, 100):
        return f"{value:.0f}\u202f%"
    if value < 0.01:
        return "<\u202f0.01\u202f%"
    if 99.99 < value < 100:
        return ">\u202f99.99\u202f%"
    return f"{value:.2f}".rstrip("0").rstrip(".") + "\u202f%"
