"""One self-contained page from a stored result: the four answers first, then everything behind them.

The page needs no network and no script; it follows the reader's light or dark setting.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

from reports.branch import Captions, branch_svg
from reports.model import Capacity, CapacityResult, Confidence, Label, Trial
from reports.plots import plots
from reports.style import AXIS_NAMES, TIER_NAMES, adaptive, number, percent, words

QUESTIONS: Mapping[str, str] = {
    "carrier": "Which tier can carry the DAG?",
    "free": "What is left free at every tier while data flows?",
    "protection": "What does protection cost between tiers?",
    "fan_in": "What is the fan-in, and what binds it?",
}

_TEMPLATE_PATH = Path(__file__).with_name("page.html")
_PPM = 1_000_000


class Markup(str):
    """Text that is HTML already; every other text is escaped on its way into the page."""

    __slots__ = ()


def page(result: CapacityResult, drawn: Mapping[str, str] | None = None) -> str:
    """The page as HTML text. `drawn` are the plots by name; without them they are drawn here."""
    pictures = plots(result) if drawn is None else drawn
    title = f"Capacity of {result['rig']['name']}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{_lead(result)}</p>',
        _sheet(branch_svg(_captions(result))),
        '<h2>The four questions</h2><div class="cards">',
        *(_answer(result, question) for question in QUESTIONS),
        "</div>",
        _capacities(result, pictures),
        _free(result, pictures),
        _protection(result),
        _trials(result, pictures),
        _radio(result, pictures),
        _provenance(result),
    ]
    body = "\n".join(part for part in parts if part)
    template = Template(_TEMPLATE_PATH.read_text(encoding="utf-8"))
    return template.substitute(title=escape(title), body=body)


def _lead(result: CapacityResult) -> str:
    virtual_h = sum(trial["virtual_s"] for trial in result["trials"]) / 3600
    wall_s = sum(trial["wall_s"] for trial in result["trials"])
    profiles = ", ".join(sorted({image["profile"] for image in result["firmware"]})) or "none"
    seeds = ", ".join(map(str, result["seeds"]))
    return escape(
        f"{len(result['trials'])} trials over {number(round(virtual_h, 2))} h of metering, run in "
        f"{number(round(wall_s, 1))} s; firmware profile {profiles}; seeds {seeds}; "
        f"bench {result['bench_version']}."
    )


def _captions(result: CapacityResult) -> Captions:
    found = {capacity["axis"]: capacity for capacity in result["capacities"]}
    defaults = Captions()
    return Captions(
        sensors=_held_text(found.get("sensors_per_uno"), "per Uno") or defaults.sensors,
        uno=_held_text(found.get("unos_per_pi"), "per Pi") or defaults.uno,
    )


def _held_text(capacity: Capacity | None, per: str) -> str | None:
    if capacity is None:
        return None
    held, failed = capacity["largest_held"], capacity["smallest_failed"]
    if failed is None:
        return f"{held} {per} held"
    return f"none {per} held" if held is None else f"{held} {per} held, {failed} failed"


def _answer(result: CapacityResult, question: str) -> str:
    answer = next((answer for answer in result["answers"] if answer["question"] == question), None)
    asked = f'<section class="card"><h3 class="question">{escape(QUESTIONS[question])}</h3>'
    if answer is None:
        return f'{asked}<p class="sentence">This run does not answer it.</p></section>'
    figures = "".join(
        f"<dt>{escape(number(figure['value']))} {escape(figure['unit'])}</dt>"
        f"<dd>{escape(figure['name'])} {_label(figure['label'])}</dd>"
        for figure in answer["figures"]
    )
    still_open = "".join(f"<div>{escape(entry)}</div>" for entry in answer["open"])
    return (
        f'{asked}<p class="sentence">{escape(answer["sentence"])}</p><dl>{figures}</dl>'
        + (f'<div class="open"><b>Still open</b>{still_open}</div>' if still_open else "")
        + "</section>"
    )


def _capacities(result: CapacityResult, pictures: Mapping[str, str]) -> str:
    if not result["capacities"]:
        return ""
    parts = [
        "<h2>Fan-in</h2>",
        _table(
            ["Axis", "#Largest held", "#Smallest failed", "Bound by", "Held side", "Failed side", "Measured"],
            [
                [
                    _axis_cell(capacity),
                    "none" if capacity["largest_held"] is None else number(capacity["largest_held"]),
                    "none" if capacity["smallest_failed"] is None else number(capacity["smallest_failed"]),
                    _bound_text(capacity),
                    _confidence(capacity["held_confidence"], "held"),
                    _confidence(capacity["failed_confidence"], "failed"),
                    _label(capacity["label"]),
                ]
                for capacity in result["capacities"]
            ],
            note="Confidence counts fresh seeds only: the chance that one more seed would agree, "
            "by the rule of succession, and in brackets Wilson's 95 % interval.",
        ),
    ]
    for capacity in result["capacities"]:
        picture = pictures.get(f"fan_in_{capacity['axis']}", "")
        parts.append(_sheet(adaptive(picture) + _search_story(capacity) + _probes(capacity)))
    return "\n".join(parts)


def _axis_cell(capacity: Capacity) -> str:
    fixed = ", ".join(
        f"{size} {AXIS_NAMES.get(axis, words(axis))}" for axis, size in capacity["fixed"].items()
    )
    return Markup(
        f"<b>{escape(AXIS_NAMES[capacity['axis']])}</b>"
        + (f'<br><span class="note">with {escape(fixed)}</span>' if fixed else "")
    )


def _bound_text(capacity: Capacity) -> str:
    if capacity["smallest_failed"] is None and capacity["settled"]:
        return f"{words(capacity['ceiling_reason'])} (end of the axis)"
    return words(capacity["bound_by"] or "not known")


def _confidence(confidence: Confidence | None, word: str) -> str:
    if confidence is None:
        return "\u2013"
    return (
        f"{confidence['agreed']} of {confidence['seeds']} {word}; {percent(confidence['expected'])} "
        f"({percent(confidence['low'])} to {percent(confidence['high'])})"
    )


def _search_story(capacity: Capacity) -> str:
    sentences = [
        f"{len(capacity['probes'])} probes; criteria: {'; '.join(capacity['criteria']) or 'none'}; "
        f"the axis ends at {number(capacity['ceiling'])} ({words(capacity['ceiling_reason'])}).",
    ]
    if not capacity["settled"]:
        sentences.append(
            "The limit of probes ended the search before both sides were adjacent and confirmed."
        )
    if capacity["moves"]:
        sentences.append(f"Confirmation moved the bracket; moves: {capacity['moves']}.")
    if capacity["mixed"]:
        sentences.append(f"Seeds disagreed at {', '.join(map(str, capacity['mixed']))}.")
    return f'<p class="note">{escape(" ".join(sentences))}</p>'


def _probes(capacity: Capacity) -> str:
    names = sorted({name for probe in capacity["probes"] for name in probe["values"]})
    rows = [
        [
            number(probe["size"]),
            str(probe["seed"]),
            probe["purpose"],
            _outcome(probe["holds"], probe["bound_by"]),
            *(_value(probe["values"].get(name)) for name in names),
        ]
        for probe in capacity["probes"]
    ]
    heads = ["#Size", "#Seed", "Purpose", "Outcome", *(f"#{words(name)}" for name in names)]
    return f"<details><summary>All probes, in order</summary>{_table(heads, rows, bare=True)}</details>"


def _free(result: CapacityResult, pictures: Mapping[str, str]) -> str:
    if not result["free"]:
        return ""
    rows = [
        [
            TIER_NAMES[resource["tier"]],
            resource["resource"],
            number(resource["used"]),
            number(resource["total"]),
            resource["unit"],
            percent(max(0.0, 1 - resource["used"] / resource["total"])),
            resource["trial"] or "the build",
            _label(resource["label"]),
        ]
        for resource in result["free"]
    ]
    heads = ["Tier", "Resource", "#Used", "#Of", "Unit", "#Free", "In trial", "Measured"]
    return "<h2>What is left free</h2>" + _sheet(adaptive(pictures.get("free", ""))) + _table(heads, rows)


def _protection(result: CapacityResult) -> str:
    if not result["protection"]:
        return ""
    rows = [
        [
            TIER_NAMES[cost["tier"]],
            cost["operation"],
            number(cost["value"]),
            f"{cost['unit']} per {cost['per']}",
            _label(cost["label"]),
        ]
        for cost in result["protection"]
    ]
    return "<h2>What protection costs</h2>" + _table(["Tier", "Operation", "#Cost", "Unit", "Measured"], rows)


def _trials(result: CapacityResult, pictures: Mapping[str, str]) -> str:
    trials = result["trials"]
    if not trials:
        return ""
    causes = sorted({cause for trial in trials for cause in trial["readings"]["missing_by_cause"]})
    readings = _table(
        [
            "Trial",
            "Outcome",
            "#Injected",
            "#In server ledger",
            "#Altered",
            "#Missing",
            *(f"#{words(cause)}" for cause in causes),
            "#Unaccounted",
            "Measured",
        ],
        [
            [
                trial["name"],
                _outcome(trial["holds"], trial["bound_by"]),
                number(trial["readings"]["injected"]),
                number(trial["readings"]["in_server_ledger"]),
                number(trial["readings"]["altered"]),
                number(trial["readings"]["missing"]),
                *(number(trial["readings"]["missing_by_cause"].get(cause, 0)) for cause in causes),
                number(trial["readings"]["unaccounted"]),
                _label(trial["readings"]["label"]),
            ]
            for trial in trials
        ],
        caption="Every reading, by trial",
    )
    return (
        "<h2>Readings, from sensor to server</h2>"
        + _sheet(adaptive(pictures.get("missing", "")))
        + readings
        + _sheet(adaptive(pictures.get("latency", "")))
        + _latency_table(trials)
        + _resource_table(trials)
    )


def _latency_table(trials: Sequence[Trial]) -> str:
    percents = sorted(
        {
            entry["percent"]
            for trial in trials
            if trial["latency"]
            for entry in trial["latency"]["percentiles"]
        }
    )
    rows = []
    for trial in trials:
        latency = trial["latency"]
        if latency is not None:
            kept = {entry["percent"]: entry["seconds"] for entry in latency["percentiles"]}
            cells = [number(kept[value]) if value in kept else "\u2013" for value in percents]
            rows.append([trial["name"], number(latency["count"]), *cells, _label(latency["label"])])
    if not rows:
        return ""
    heads = ["Trial", "#Arrived", *(f"#p{number(value)}, s" for value in percents), "Measured"]
    return _table(heads, rows, caption="Time from snapshot to the server's ledger")


def _resource_table(trials: Sequence[Trial]) -> str:
    rows = []
    for trial in trials:
        uno, gateway, server = trial["uno"], trial["pi"], trial["server"]
        rows.append(
            [
                trial["name"],
                percent(uno["awake_ppm"] / _PPM) if uno else "\u2013",
                _optional(uno["lowest_free_sram_bytes"] if uno else None),
                percent(gateway["busy_ppm"] / _PPM) if gateway else "\u2013",
                _optional(gateway["memory_bytes"] if gateway else None),
                _optional(server["uplink_bytes"] if server else None),
                _optional(server["ledger_bytes"] if server else None),
                _optional(server["ledger_bytes_per_reading"] if server else None),
                _labels(use["label"] for use in (uno, gateway, server) if use),
            ]
        )
    heads = [
        "Trial",
        "#Uno awake",
        "#Uno SRAM free, B",
        "#Pi busy",
        "#Pi memory, B",
        "#Uplink, B",
        "#Ledger, B",
        "#Ledger, B per reading",
        "Measured (Uno, Pi, server)",
    ]
    return _table(heads, rows, caption="What each trial used")


def _radio(result: CapacityResult, pictures: Mapping[str, str]) -> str:
    with_radio = [(trial, trial["radio"]) for trial in result["trials"] if trial["radio"]]
    if not with_radio:
        return ""
    outcomes = sorted({name for _, radio in with_radio for name in radio["outcomes"]})
    table = _table(
        ["Trial", "#Retries", *(f"#{words(name)}" for name in outcomes), "Measured"],
        [
            [
                trial["name"],
                number(radio["retries"]),
                *(number(radio["outcomes"].get(name, 0)) for name in outcomes),
                _label(radio["label"]),
            ]
            for trial, radio in with_radio
        ],
        caption="Receptions by outcome",
    )
    stations = _table(
        ["Trial", "Station", "#Sent", "#Repeated", "#Airtime, ms", "#Duty", "#Duty limit"],
        [
            [
                trial["name"],
                station["name"],
                number(station["sent"]),
                number(station["repeated"]),
                number(station["airtime_ms"]),
                percent(station["duty_ppm"] / _PPM),
                "none" if station["duty_limit_ppm"] is None else percent(station["duty_limit_ppm"] / _PPM),
            ]
            for trial, radio in with_radio
            for station in radio["stations"]
        ],
        bare=True,
    )
    every = _sheet(f"<details><summary>Every station in every trial</summary>{stations}</details>")
    return "<h2>On air</h2>" + _sheet(adaptive(pictures.get("airtime", ""))) + table + every


def _provenance(result: CapacityResult) -> str:
    firmware = _table(
        [
            "Profile",
            "#Flash, B",
            "#of",
            "#Static SRAM, B",
            "#of",
            "#Lowest free SRAM, B",
            "SHA-256",
            "Measured",
        ],
        [
            [
                image["profile"],
                number(image["flash_bytes"]),
                number(image["flash_size_bytes"]),
                number(image["static_sram_bytes"]),
                number(image["sram_size_bytes"]),
                _optional(image["lowest_free_sram_bytes"]),
                _code(image["sha256"]),
                _label(image["label"]),
            ]
            for image in result["firmware"]
        ],
        caption="Firmware",
    )
    calibrations = _table(
        ["Name", "Board", "Method", "Date", "SHA-256"],
        [
            [
                entry["name"],
                entry["board"],
                entry["method"],
                entry["date"] or "\u2013",
                _code(entry["sha256"]),
            ]
            for entry in result["calibrations"]
        ],
        caption="Calibrations",
    )
    data_sets = _table(
        ["Name", "Origin", "SHA-256"],
        [[entry["name"], entry["origin"], _code(entry["sha256"])] for entry in result["data_sets"]],
        caption="Data sets",
    )
    traces = _table(
        [
            "Trial",
            "#Sensors per Uno",
            "#Unos per Pi",
            "#Seed",
            "#Virtual, s",
            "#Wall, s",
            "Trace SHA-256",
            "Firmware SHA-256",
        ],
        [
            [
                trial["name"],
                number(trial["sensors_per_uno"]),
                number(trial["unos_per_pi"]),
                str(trial["seed"]),
                number(trial["virtual_s"]),
                number(trial["wall_s"]),
                _code(trial["trace_sha256"]),
                _code(trial["firmware_sha256"]),
            ]
            for trial in result["trials"]
        ],
        bare=True,
    )
    rig = result["rig"]
    return (
        "<h2>How to repeat it</h2>"
        + firmware
        + calibrations
        + data_sets
        + _sheet(
            f"<h3>Rig</h3><p>{escape(rig['name'])} {_code(rig['sha256'])}</p><pre>{escape(rig['text'])}</pre>"
            f"<details><summary>Traces of all trials</summary>{traces}</details>"
        )
    )


def _sheet(content: str) -> str:
    return f'<div class="sheet">{content}</div>' if content else ""


def _table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    caption: str = "",
    note: str = "",
    bare: bool = False,
) -> str:
    """A table; a head that begins with # is a column of figures, set to the right."""
    if not rows:
        return ""
    classes = [' class="figure"' if head.startswith("#") else "" for head in heads]
    head_cells = "".join(
        f"<th{kind}>{escape(head.removeprefix('#'))}</th>" for head, kind in zip(heads, classes, strict=True)
    )
    body = "\n".join(
        "<tr>"
        + "".join(f"<td{kind}>{_html(cell)}</td>" for cell, kind in zip(row, classes, strict=True))
        + "</tr>"
        for row in rows
    )
    table = (
        "<table>"
        + (f"<caption>{escape(caption)}</caption>" if caption else "")
        + f"<thead><tr>{head_cells}</tr></thead><tbody>\n{body}\n</tbody></table>"
        + (f'<p class="note">{escape(note)}</p>' if note else "")
    )
    return table if bare else _sheet(table)


def _html(text: str) -> str:
    return text if isinstance(text, Markup) else escape(text)


def _label(label: Label) -> Markup:
    """Where a figure comes from, in two words."""
    source = label["calibrated_by"] or "uncalibrated"
    return Markup(f'<span class="label"><b>{escape(label["kind"])}</b> \u00b7 {escape(source)}</span>')


def _labels(labels: Iterable[Label]) -> Markup:
    distinct = dict.fromkeys(_label(label) for label in labels)
    return Markup(" ".join(distinct) or "\u2013")


def _outcome(holds: bool, bound_by: str | None) -> Markup:
    if holds:
        return Markup('<span class="held">held</span>')
    return Markup(f'<span class="failed">failed</span> {escape(words(bound_by or ""))}')


def _optional(value: float | None) -> str:
    return "\u2013" if value is None else number(value)


def _value(value: float | str | bool | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else _optional(value)


def _code(digest: str | None) -> Markup:
    return Markup("\u2013" if digest is None else f"<code>{escape(digest)}</code>")
