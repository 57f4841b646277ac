import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from reports.__main__ import build, clear, main
from reports.capacity_html import QUESTIONS, page
from reports.model import SCHEMA_PATH, parse
from reports.style import number, percent

SAMPLE_PATH = SCHEMA_PATH.with_name("sample.json")
VOID = {"meta", "br", "link", "img", "hr"}


def sample() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(SAMPLE_PATH.read_text("utf-8"))
    return data


class Outline(HTMLParser):
    """Fails on tags that do not nest; keeps the text and every address that a browser would ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [
            value or "" for key, value in attrs if key in ("src", "href", "xlink:href", "data", "action")
        ]
        assert tag != "script"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)


def test_the_page_is_one_well_formed_file_that_asks_nothing_of_the_network() -> None:
    text = page(parse(sample()))
    outline = Outline(text)

    assert all(address.startswith("#") for address in outline.addresses)
    assert re.findall(r"@import|url\(\s*['\"]?(?!#)", text) == []
    leftover = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert re.findall(r"https?:|//\w", leftover) == []


def test_the_four_questions_come_first_with_sentence_figures_and_what_is_open() -> None:
    data = sample()
    shown = " ".join(Outline(page(parse(data), {})).words)
    before_tables = shown[: shown.index("Largest held")]
    for question in QUESTIONS.values():
        assert question in before_tables
    for answer in data["answers"]:
        assert answer["sentence"] in before_tables
        assert all(entry in before_tables for entry in answer["open"])
        for figure in answer["figures"]:
            assert f"{number(figure['value'])} {figure['unit']}" in before_tables


def test_a_question_without_an_answer_says_so() -> None:
    data = sample()
    del data["answers"][2]
    assert "This run does not answer it." in page(parse(data), {})


def leaves(data: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from leaves(value, (*place, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from leaves(value, (*place, index))
    else:
        yield place, data


def shortened(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: shortened(value) for key, value in data.items()}
    return [shortened(item) for item in data[:2]] if isinstance(data, list) else data


def test_every_figure_of_the_result_is_on_the_page() -> None:
    small = shortened(sample())
    numbers = [
        (place, value)
        for place, value in leaves(small)
        if isinstance(value, int | float) and not isinstance(value, bool) and place != ("schema_version",)
    ]
    assert len(numbers) > 140
    for place, value in numbers:
        changed = json.loads(json.dumps(small))
        parent = changed
        for key in place[:-1]:
            parent = parent[key]
        # A value found nowhere else; shares stay shares.
        marked = 0.765432 if isinstance(value, float) and value <= 1 else 765432
        parent[place[-1]] = marked
        shown = " ".join(Outline(page(parse(changed), {})).words)
        forms = {number(marked), str(marked), percent(marked), percent(marked / 1_000_000)}
        assert any(form in shown for form in forms), place


def test_every_label_says_kind_and_calibration() -> None:
    data = sample()
    data["capacities"][0]["label"] = {"kind": "real", "calibrated_by": None}
    text = page(parse(data), {})
    assert '<span class="label"><b>real</b> \u00b7 uncalibrated</span>' in text
    assert '<span class="label"><b>virtual</b> \u00b7 pi3b-qemu</span>' in text


def test_text_from_the_result_is_never_markup() -> None:
    data = sample()
    data["rig"]["text"] = data["rig"]["name"] = "<script>alert('$title')</script>"
    data["trials"][0]["name"] = data["answers"][0]["sentence"] = "<b onclick=x>"
    data["calibrations"][0]["board"] = "</table>"
    text = page(parse(data), {})
    Outline(text)
    assert "<b onclick" not in text
    assert "&lt;script&gt;alert(&#x27;$title&#x27;)&lt;/script&gt;" in text


def test_an_empty_result_is_a_page_too() -> None:
    data = sample()
    for key in (
        "trials",
        "capacities",
        "free",
        "protection",
        "answers",
        "firmware",
        "calibrations",
        "data_sets",
    ):
        data[key] = []
    assert Outline(page(parse(data))).words.count("This run does not answer it.") == 4


def test_the_command_writes_page_and_plots_the_same_every_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(SAMPLE_PATH), "-o", str(tmp_path / "a")]) == 0
    assert main([str(SAMPLE_PATH), "-o", str(tmp_path / "b")]) == 0
    written = sorted(
        path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()
    )
    assert [path.name for path in written if path.suffix == ".html"] == ["capacity.html"]
    assert len([path for path in written if path.suffix == ".svg"]) == 6
    for path in written:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path / "a" / "capacity.html")


def test_an_earlier_report_is_removed_whole_and_nothing_else(tmp_path: Path) -> None:
    build(SAMPLE_PATH, tmp_path)
    (tmp_path / "index.html").touch()
    (tmp_path / "plots" / "mine.svg").touch()
    clear(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mine.svg"]
    clear(tmp_path / "none")


def test_the_command_tells_what_is_wrong_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "old.json"
    path.write_text('{"schema_version": 0}')
    assert main([str(path), "-o", str(tmp_path)]) == 1
    assert "schema_version is 0, these reports read version 1" in capsys.readouterr().err
    assert main([str(SAMPLE_PATH), "-o", str(path / "below a file")]) == 1
    assert "cannot be written" in capsys.readouterr().err
