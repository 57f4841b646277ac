"""Plots of a stored result, as SVG text: equal results give equal bytes.

Every plot is a function from the result, or a part of it, to SVG; None when the result holds nothing to draw.
Text stays text, so that it can be searched and follows the page's font.
"""

import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from reports.model import Capacity, CapacityResult, FreeResource, RadioUse, Trial
from reports.style import (
    AXIS_NAMES,
    BLUE,
    CAUSE_COLOURS,
    FAILED,
    FONT_STACK,
    GREEN,
    HELD,
    INK,
    MUTED,
    ORANGE,
    OTHER_CAUSE,
    PURPLE,
    RULE,
    SKY,
    SURFACE,
    TIER_NAMES,
    TRACK,
    VERMILLION,
    number,
    percent,
    words,
)

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "text.parse_math": False,
    "font.size": 10.0,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9.5,
    "axes.titlesize": 11.0,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.titleweight": "bold",
    "axes.titlepad": 10.0,
    "axes.facecolor": SURFACE,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "figure.facecolor": SURFACE,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
}

_WIDTH_IN = 8.2
_MOST_ROWS = 30
_LINE_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
_FAN_INS = ("sensors_per_uno", "unos_per_pi")
_SIGNS = {">=": "\u2265", "<=": "\u2264", ">": ">", "<": "<"}
_CRITERION = re.compile(r"\s*(\w+)\s*([<>]=?)\s*([0-9.]+)\s*$")


def plots(result: CapacityResult) -> dict[str, str]:
    """All plots of a result that have something to show, by name, in the order of the page."""
    drawn: dict[str, str | None] = {}
    for capacity in result["capacities"]:
        drawn[f"fan_in_{capacity['axis']}"] = fan_in(capacity)
    drawn["missing"] = missing(result["trials"])
    drawn["free"] = free(result["free"])
    drawn["latency"] = latency(result)
    drawn["airtime"] = airtime(result)
    return {name: svg for name, svg in drawn.items() if svg is not None}


def fan_in(capacity: Capacity) -> str | None:
    """Delivered share and latency over the fan-in; the bracket between held and failed is shaded."""
    panels = [
        ("delivered", "delivered, %", 100.0),
        ("latency_p99_s", "latency p99, s", 1.0),
    ]
    panels = [
        panel
        for panel in panels
        if any(_figure(probe["values"], panel[0]) is not None for probe in capacity["probes"])
    ]
    if not panels:
        return None

    def draw(figure: Figure) -> None:
        axes_grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)
        for row, (name, title, scale) in enumerate(panels):
            axes = axes_grid[row][0]
            _shade_bracket(axes, capacity, with_text=row == 0)
            _draw_probes(axes, capacity, name, scale)
            _draw_criterion(axes, capacity["criteria"], name, scale)
            axes.set_ylabel(title)
            if name == "delivered":
                _leave_room_for_full(axes)
        lowest = axes_grid[-1][0]
        _size_axis(lowest, sorted({probe["size"] for probe in capacity["probes"]}))
        lowest.set_xlabel(AXIS_NAMES[capacity["axis"]] + _fixed(capacity))
        axes_grid[0][0].set_title(f"Delivery and latency over {AXIS_NAMES[capacity['axis']]}", pad=24)
        figure.align_ylabels()

    return _render(f"fan_in_{capacity['axis']}", 1.0 + 1.75 * len(panels), draw)


def missing(trials: Sequence[Trial]) -> str | None:
    """Where missing readings went, as a share of those injected, stacked by cause; one bar per trial."""
    counted = [trial for trial in trials if trial["readings"]["injected"] > 0]
    if not counted:
        return None
    most = sorted(counted, key=lambda trial: -trial["readings"]["missing"] / trial["readings"]["injected"])
    chosen = {trial["name"] for trial in most[:_MOST_ROWS]}
    shown = [trial for trial in counted if trial["name"] in chosen]
    counts = [
        {**trial["readings"]["missing_by_cause"], "unaccounted": trial["readings"]["unaccounted"]}
        for trial in shown
    ]
    found = {cause for count in counts for cause in count if count[cause]}
    causes = [cause for cause in CAUSE_COLOURS if cause in found] + sorted(found - set(CAUSE_COLOURS))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        rows = range(len(shown))
        starts = [0.0] * len(shown)
        for cause in causes:
            shares = [
                100 * count.get(cause, 0) / trial["readings"]["injected"]
                for trial, count in zip(shown, counts, strict=True)
            ]
            axes.barh(
                rows,
                shares,
                left=starts,
                color=CAUSE_COLOURS.get(cause, OTHER_CAUSE),
                height=0.66,
                label=words(cause),
                edgecolor=SURFACE,
                linewidth=0.8,
            )
            starts = [start + share for start, share in zip(starts, shares, strict=True)]
        for row, total in zip(rows, starts, strict=True):
            axes.annotate(
                percent(total / 100),
                (total, row),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                color=MUTED,
                fontsize=9,
            )
        axes.set_xlim(0, max(starts) * 1.12 or 1.0)
        _named_rows(axes, [_cut(trial["name"]) for trial in shown])
        axes.set_xlabel("readings missing from the server's ledger, % of those injected")
        more = (
            f" ({len(shown)} trials of {len(counted)}, those that miss most)"
            if len(shown) < len(counted)
            else ""
        )
        axes.set_title(f"Where missing readings went{more}", pad=26 if causes else 10)
        if causes:
            _legend_above(axes, len(causes))

    return _render("missing", 1.35 + 0.3 * len(shown), draw)


def free(resources: Sequence[FreeResource]) -> str | None:
    """What is used and free of each resource, tier by tier."""
    if not resources:
        return None
    ordered = sorted(resources, key=lambda resource: list(TIER_NAMES).index(resource["tier"]))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        used = [min(100.0, 100 * resource["used"] / resource["total"]) for resource in ordered]
        rows = range(len(ordered))
        axes.barh(rows, [100] * len(ordered), color=TRACK, height=0.62)
        axes.barh(rows, used, color=[_pressure_colour(share) for share in used], height=0.62)
        for row, (resource, share) in enumerate(zip(ordered, used, strict=True)):
            left = max(0.0, 1 - resource["used"] / resource["total"])
            beside = share < 78
            axes.annotate(
                f"{percent(left)} free",
                (share, row),
                xytext=(6 if beside else -6, 0),
                textcoords="offset points",
                va="center",
                ha="left" if beside else "right",
                color=INK if beside else "white",
                fontsize=9,
                fontweight="bold",
            )
        _named_rows(
            axes, [f"{TIER_NAMES[resource['tier']]} · {resource['resource']}" for resource in ordered]
        )
        axes.set_xlim(0, 100)
        axes.set_xlabel("used, %")
        axes.set_title("What is left free at every tier while data flows")

    return _render("free", 1.15 + 0.36 * len(ordered), draw)


def latency(result: CapacityResult) -> str | None:
    """Distribution of the time from snapshot to the server's ledger, one line per trial."""
    timed = [
        (trial, trial["latency"]["percentiles"])
        for trial in result["trials"]
        if trial["latency"] and trial["latency"]["percentiles"]
    ]
    if not timed:
        return None
    named = _trials_to_name([trial for trial, _ in timed], result)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        colours = iter(_LINE_COLOURS)
        for trial, percentiles in timed:
            seconds = [max(entry["seconds"], 0.001) for entry in percentiles]
            shares = [entry["percent"] for entry in percentiles]
            if trial["name"] not in named:
                axes.plot(seconds, shares, color=RULE, linewidth=1.2, zorder=2)
                continue
            axes.plot(
                seconds,
                shares,
                color=next(colours),
                linewidth=2.2,
                linestyle="-" if trial["holds"] else (0, (5, 1.5)),
                zorder=3,
                label=f"{_cut(trial['name'])} ({'held' if trial['holds'] else 'failed'})",
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(float(value))))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(0, 101)
        axes.set_xlabel("time from snapshot on the Uno to the server's ledger, s")
        axes.set_ylabel("readings that had arrived, %")
        axes.set_title("How long a reading takes")
        axes.legend(loc="lower right")

    return _render("latency", 3.6, draw)


def airtime(result: CapacityResult) -> str | None:
    """Time on air of every station at the largest size that held, against what is allowed."""
    trial = _trial_to_show(result)
    radio = trial["radio"] if trial else None
    if trial is None or radio is None or not radio["stations"]:
        return None
    stations = sorted(
        radio["stations"],
        key=lambda station: (station["role"] != "gateway", -station["duty_ppm"], station["name"]),
    )
    shown = stations[:24]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        duties = [station["duty_ppm"] / 10_000 for station in shown]
        colours = [ORANGE if station["role"] == "gateway" else HELD for station in shown]
        axes.barh(range(len(shown)), duties, color=colours, height=0.66)
        for row, station in enumerate(shown):
            limit = station["duty_limit_ppm"]
            if limit is not None:
                axes.plot(
                    [limit / 10_000] * 2,
                    [row - 0.42, row + 0.42],
                    color=FAILED,
                    linewidth=2,
                    solid_capstyle="butt",
                )
            of_limit = f" · {percent(station['duty_ppm'] / limit)} of the limit" if limit else ""
            right = max(duties[row], (limit or 0) / 10_000)
            axes.annotate(
                f"{percent(station['duty_ppm'] / 1_000_000)}{of_limit}",
                (right, row),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                color=MUTED,
                fontsize=8.5,
            )
        _named_rows(axes, [station["name"] for station in shown])
        axes.set_xlim(0, 1.45 * max(_right_edges(radio), default=1.0))
        axes.set_xlabel("time on air, % of the trial (red mark: duty limit)")
        more = f"; the {len(shown)} busiest of {len(stations)} stations" if len(stations) > len(shown) else ""
        axes.set_title(f"Time on air: {_cut(trial['name'])}{more}")

    return _render("airtime", 1.15 + 0.27 * len(shown), draw)


def _render(name: str, height_in: float, draw: Callable[[Figure], None]) -> str:
    """Draw in our style and return SVG whose identifiers cannot meet those of another plot."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
        draw(figure)
        text = io.StringIO()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(text, format="svg", metadata=nothing)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    # The style sheet that matplotlib adds must not reach the page around the plot.
    svg = svg.replace(">*{", f">#{name}-figure_1 *{{")
    svg = svg.replace("'DejaVu Sans'", FONT_STACK)
    return re.sub(r"[ \t]+\n", "\n", svg)


def _figure(values: dict[str, float | str | bool | None], name: str) -> float | None:
    value = values.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _shade_bracket(axes: Axes, capacity: Capacity, with_text: bool) -> None:
    held, failed = capacity["largest_held"], capacity["smallest_failed"]
    if held is not None:
        axes.axvline(held, color=HELD, linewidth=1.2, alpha=0.7)
    if failed is not None:
        axes.axvline(failed, color=FAILED, linewidth=1.2, alpha=0.7, linestyle=(0, (4, 2)))
    if held is not None and failed is not None:
        axes.axvspan(held, failed, color=MUTED, alpha=0.14, linewidth=0)
    if not with_text:
        return
    above: dict[str, Any] = {
        "xycoords": ("data", "axes fraction"),
        "textcoords": "offset points",
        "fontsize": 9,
        "fontweight": "bold",
    }
    if held is not None:
        axes.annotate(f"{held} held ", (held, 1), xytext=(0, 4), ha="right", color=HELD, **above)
    if failed is not None:
        axes.annotate(f" {failed} failed", (failed, 1), xytext=(0, 4), ha="left", color=FAILED, **above)


def _draw_probes(axes: Axes, capacity: Capacity, name: str, scale: float) -> None:
    points = [
        (probe["size"], value * scale, probe["holds"])
        for probe in capacity["probes"]
        if (value := _figure(probe["values"], name)) is not None
    ]
    by_size: dict[int, list[float]] = defaultdict(list)
    for size, value, _ in points:
        by_size[size].append(value)
    sizes = sorted(by_size)
    axes.plot(
        sizes,
        [sum(by_size[s]) / len(by_size[s]) for s in sizes],
        color=MUTED,
        linewidth=1,
        alpha=0.6,
        zorder=2,
    )
    for holds, colour, marker in [(True, HELD, "o"), (False, FAILED, "X")]:
        chosen = [(size, value) for size, value, held in points if held is holds]
        if chosen:
            axes.scatter(
                [size for size, _ in chosen],
                [value for _, value in chosen],
                color=colour,
                marker=marker,
                s=44,
                edgecolor=SURFACE,
                linewidth=0.8,
                zorder=3,
            )


def _draw_criterion(axes: Axes, criteria: Iterable[str], name: str, scale: float) -> None:
    for criterion in criteria:
        match = _CRITERION.match(criterion)
        if match and match[1] == name:
            axes.axhline(float(match[3]) * scale, color=GREEN, linewidth=1.2, linestyle=(0, (1, 1.6)))
            axes.annotate(
                f"criterion {_SIGNS[match[2]]} {number(float(match[3]) * scale)}",
                (1, float(match[3]) * scale),
                xycoords=("axes fraction", "data"),
                xytext=(-2, 3 if match[2].startswith("<") else -3),
                textcoords="offset points",
                ha="right",
                va="bottom" if match[2].startswith("<") else "top",
                color=GREEN,
                fontsize=8.5,
            )


def _leave_room_for_full(axes: Axes) -> None:
    lowest = min(axes.dataLim.y0, axes.get_ylim()[0] if axes.dataLim.y0 < 99 else 98.5)
    axes.set_ylim(max(0.0, lowest - 0.04 * (100 - lowest)), 100 + 0.08 * (100 - lowest))


def _size_axis(axes: Axes, sizes: Sequence[int]) -> None:
    """Integers only; doubling steps apart where the range asks for it, so that neighbours stay legible."""
    if sizes and sizes[-1] >= 8 * sizes[0] and sizes[-1] > 16:
        axes.set_xscale("log", base=2)
    ticks: list[int] = []
    for size in sizes:
        gap = size / ticks[-1] - 1 if ticks and axes.get_xscale() == "log" else 1.0
        if gap > 0.18:
            ticks.append(size)
    axes.set_xticks(ticks, [str(size) for size in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.08)


def _named_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _legend_above(axes: Axes, columns: int) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 0.99),
        ncols=columns,
        borderaxespad=0.2,
        handlelength=1.0,
        handleheight=1.0,
        columnspacing=1.4,
    )


def _pressure_colour(used_percent: float) -> str:
    return FAILED if used_percent > 80 else ORANGE if used_percent > 50 else HELD


def _cut(name: str) -> str:
    """A name short enough to stand beside a plot."""
    return name if len(name) <= 42 else name[:41] + "\u2026"


def _fixed(capacity: Capacity) -> str:
    fixed = ", ".join(f"{size} {AXIS_NAMES[axis]}" for axis, size in capacity["fixed"].items())
    return f", with {fixed}" if fixed else ""


def _right_edges(radio: RadioUse) -> list[float]:
    return [
        max(station["duty_ppm"], station["duty_limit_ppm"] or 0) / 10_000 for station in radio["stations"]
    ]


def _bracket_sizes(result: CapacityResult) -> list[tuple[int, int]]:
    """(Unos per Pi, sensors per Uno) of every held and failed side of a fan-in."""
    sizes = []
    for capacity in result["capacities"]:
        for size in (capacity["largest_held"], capacity["smallest_failed"]):
            at = {**capacity["fixed"], capacity["axis"]: size}
            unos, sensors = at.get("unos_per_pi"), at.get("sensors_per_uno")
            if capacity["axis"] in _FAN_INS and unos is not None and sensors is not None:
                sizes.append((unos, sensors))
    return sizes


def _at_size(trials: Iterable[Trial], size: tuple[int, int]) -> Trial | None:
    return next((trial for trial in trials if (trial["unos_per_pi"], trial["sensors_per_uno"]) == size), None)


def _trials_to_name(trials: Sequence[Trial], result: CapacityResult) -> set[str]:
    """The trials that a reader looks for: all when they are few, otherwise those at a bracket's sides."""
    if len(trials) <= len(_LINE_COLOURS):
        return {trial["name"] for trial in trials}
    at_sides = [_at_size(trials, size) for size in _bracket_sizes(result)]
    chosen = [trial["name"] for trial in at_sides if trial is not None] or [trial["name"] for trial in trials]
    return set(list(dict.fromkeys(chosen))[: len(_LINE_COLOURS)])


def _trial_to_show(result: CapacityResult) -> Trial | None:
    """The trial with the most Unos that held; otherwise the one with the most Unos. The first of equals."""
    with_radio = [trial for trial in result["trials"] if trial["radio"]]
    held = [trial for trial in with_radio if trial["holds"]]
    return max(held or with_radio, key=lambda trial: trial["unos_per_pi"], default=None)
