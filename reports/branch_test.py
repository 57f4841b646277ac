from pathlib import Path
from xml.etree import ElementTree

from reports import branch
from reports.branch import Captions, branch_svg


def test_the_stored_picture_is_the_drawn_one() -> None:
    assert Path(branch.__file__).with_name("branch.svg").read_text("utf-8") == branch_svg()


def test_captions_are_escaped_and_every_stop_has_its_name() -> None:
    svg = branch_svg(Captions(sensors="<12> & more"))
    shown = [text for text in ElementTree.fromstring(svg).itertext() if text.strip()]
    for name in ["Sensors", "Uno", "Radio", "Pi", "Server", "<12> & more"]:
        assert name in shown
