"""The picture of a branch: sensors, Uno, radio, Pi, server, drawn as SVG.

    python -m reports.branch > reports/branch.svg

gives the picture for the README; the page puts the sizes that held into the same picture.
"""

from dataclasses import dataclass
from html import escape

from reports.style import BLUE, DARK_NEUTRALS, FONT_STACK, GREEN, NEUTRALS, ORANGE, PURPLE, VERMILLION

_WIDTH, _HEIGHT = 1040, 276
_MIDDLE = 120
_SENSORS, _UNO, _RADIO, _PI, _SERVER = 112, 330, 536, 736, 940
_SENSOR_ROWS = (50, 97, 143, 190)


@dataclass(frozen=True, slots=True)
class Captions:
    """What stands under each stop of the branch; an empty text leaves the place empty."""

    sensors: str = "S0 pulses, 50 Hz waveforms"
    uno: str = "ATmega328P, firmware collect"
    radio: str = "SX1278 at 433 MHz"
    pi: str = "gateway: signed blocks"
    server: str = "DAG of all branches"


def branch_svg(captions: Captions | None = None) -> str:
    """The picture, in colours that follow the reader's light or dark setting."""
    stops = captions or Captions()
    parts = [
        _links(),
        _sensors(),
        _uno(),
        _radio(),
        _pi(),
        _server(),
        _caption(_SENSORS, "Sensors", stops.sensors),
        _caption(_UNO, "Uno", stops.uno),
        _caption(_RADIO, "Radio", stops.radio),
        _caption(_PI, "Pi", stops.pi),
        _caption(_SERVER, "Server", stops.server),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="A branch: sensors, Uno, radio, Pi, server">\n'
        f"<style>{_css()}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _css() -> str:
    def names(colours: dict[str, str]) -> str:
        return "".join(f"--b-{name}:{colour};" for name, colour in colours.items())

    return (
        f".branch{{{names(NEUTRALS)}font-family:{FONT_STACK}}}"
        f"@media(prefers-color-scheme:dark){{.branch{{{names(DARK_NEUTRALS)}}}}}"
        ".branch .name{font-size:19px;font-weight:700;fill:var(--b-ink)}"
        ".branch .caption{font-size:13px;fill:var(--b-muted)}"
        ".branch .payload{font-size:12.5px;fill:var(--b-muted)}"
        ".branch .body{fill:var(--b-surface);stroke-width:2.5}"
        ".branch .link{stroke:var(--b-muted);stroke-width:2;fill:none}"
        ".branch .fine{stroke-width:2;fill:none}"
        ".branch .pin{fill:var(--b-muted)}"
    )


def _group(content: str) -> str:
    return f'<g class="branch">{content}</g>'


def _box(colour: str, x: int, y: int, width: int, height: int, radius: int, opacity: float = 1) -> str:
    faint = f' opacity="{opacity}"' if opacity < 1 else ""
    place = f'x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}"'
    return f'<rect class="body" stroke="{colour}"{faint} {place}/>'


def _line(colour: str, path: str) -> str:
    return f'<path class="fine" stroke="{colour}" d="{path}"/>'


def _dots(x: int, y: int, count: int) -> str:
    return "".join(f'<rect class="pin" x="{x + 8 * i}" y="{y}" width="4" height="4"/>' for i in range(count))


def _links() -> str:
    left, right = _SENSORS + 42, _UNO - 58
    bend = (left + right) // 2
    fan = "".join(
        f'<path class="link" d="M{left} {y} C{bend} {y} {bend} {_MIDDLE} {right - 8} {_MIDDLE}"/>'
        for y in _SENSOR_ROWS
    )
    return _group(
        fan
        + _arrow(right)
        + _link(_UNO + 70, _RADIO - 56, "frame")
        + _link(_RADIO + 56, _PI - 62, "frame")
        + _link(_PI + 72, _SERVER - 66, "block")
    )


def _link(left: int, right: int, payload: str) -> str:
    middle = (left + right) // 2
    return (
        f'<path class="link" d="M{left} {_MIDDLE} H{right - 8}"/>{_arrow(right)}'
        f'<text class="payload" x="{middle}" y="{_MIDDLE - 10}" text-anchor="middle">{payload}</text>'
    )


def _arrow(x: int) -> str:
    return f'<path class="pin" d="M{x} {_MIDDLE} l-10 -5.5 v11 z"/>'


def _sensors() -> str:
    left, drawn = _SENSORS - 30, ""
    for row, y in enumerate(_SENSOR_ROWS):
        pulses = f"M{left} {y + 7} h12 v-14 h9 v14 h15 v-14 h9 v14 h15"
        wave = f"M{left} {y} q7.5 -17 15 0 t15 0 t15 0 t15 0"
        drawn += _box(GREEN, _SENSORS - 42, y - 18, 84, 36, 6) + _line(GREEN, wave if row % 2 else pulses)
    return _group(drawn)


def _uno() -> str:
    left, top = _UNO - 56, _MIDDLE - 44
    return _group(
        _box(BLUE, left + 12, top - 12, 112, 88, 9, opacity=0.35)
        + _box(BLUE, left, top, 112, 88, 9)
        + f'<rect fill="{BLUE}" x="{_UNO - 31}" y="{_MIDDLE - 11}" width="62" height="22" rx="3"/>'
        + _dots(left + 10, top + 8, 12)
        + _dots(left + 10, top + 76, 12)
    )


def _radio() -> str:
    top = _MIDDLE - 6
    mast = _line(ORANGE, f"M{_RADIO} {_MIDDLE + 42} V{top}")
    waves = ""
    for radius, opacity in ((18, 0.9), (31, 0.6), (44, 0.35)):
        reach = radius * 7 // 10
        for side, sweep in ((-1, 0), (1, 1)):
            x = _RADIO + side * reach
            arc = f"M{x} {top - reach} A{radius} {radius} 0 0 {sweep} {x} {top + reach}"
            waves += f'<g opacity="{opacity}">{_line(ORANGE, arc)}</g>'
    return _group(f'{mast}<circle fill="{ORANGE}" cx="{_RADIO}" cy="{top}" r="6"/>{waves}')


def _pi() -> str:
    left, top = _PI - 60, _MIDDLE - 40
    ports = "".join(
        f'<rect class="pin" x="{_PI + 42}" y="{top + 11 + 22 * i}" width="24" height="15" rx="2"/>'
        for i in range(3)
    )
    chip = f'<rect fill="{VERMILLION}" x="{_PI - 30}" y="{_MIDDLE - 15}" width="34" height="34" rx="4"/>'
    return _group(_box(VERMILLION, left, top, 120, 80, 9) + chip + ports + _dots(left + 12, top + 8, 10))


def _server() -> str:
    blocks = ((-40, 0), (-14, -30), (-14, 30), (14, 0), (42, -25), (42, 25))
    parents = ((1, 0), (2, 0), (3, 1), (3, 2), (4, 3), (5, 3), (4, 1), (5, 2))
    places = [(_SERVER + dx, _MIDDLE + dy) for dx, dy in blocks]
    edges = "".join(
        _line(PURPLE, f"M{places[a][0]} {places[a][1]} L{places[b][0]} {places[b][1]}") for a, b in parents
    )
    squares = "".join(
        f'<rect fill="{PURPLE}" x="{x - 8}" y="{y - 8}" width="16" height="16" rx="3"/>' for x, y in places
    )
    return _group(_box(PURPLE, _SERVER - 64, _MIDDLE - 54, 132, 108, 11) + edges + squares)


def _caption(x: int, name: str, caption: str) -> str:
    return _group(
        f'<text class="name" x="{x}" y="238" text-anchor="middle">{escape(name)}</text>'
        f'<text class="caption" x="{x}" y="261" text-anchor="middle">{escape(caption)}</text>'
    )


if __name__ == "__main__":
    print(branch_svg(), end="")
