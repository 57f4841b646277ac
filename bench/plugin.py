"""pytest plugin: `pytest --rig FILE --seed N` judges a rig by the suites, on the machinery of `bench trial`.

Without `--rig` it does nothing. With it and no other argument, the suites of `bench/suites` are run.
"""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from bench.campaign import BASELINE, Campaign
from bench.errors import USER_ERRORS
from bench.progress import Reporter
from bench.rig.loader import load_rig
from bench.rig.model import Rig
from bench.trial import make_directory
from bench.uno.build import build_firmware

SUITES = Path(__file__).parent / "suites"
SUITE_SUFFIX = "_suite.py"

_campaign = pytest.StashKey[Campaign]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the bench's options."""
    group = parser.getgroup("bench", "judging a rig")
    group.addoption("--rig", type=Path, metavar="FILE", help="rig file (TOML) to be judged by the suites")
    group.addoption("--seed", type=int, default=1, metavar="N", help="seed of all randomness (default: 1)")
    group.addoption(
        "--report",
        type=Path,
        default=Path("build/report"),
        metavar="DIR",
        help="folder for capacity.json and the trials' files (default: build/report)",
    )
    group.addoption("--short", action="store_true", help="short trials and a coarse search, for CI")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Load the rig and make the folder, so that what is wrong with them is told before anything runs."""
    rig_path: Path | None = config.getoption("--rig")
    if rig_path is None:
        return
    if config.args_source is not config.ArgsSource.ARGS:
        config.args[:] = [str(SUITES)]
    try:
        rig = load_rig(rig_path)
        firmware = build_firmware(rig.branches[0].uno.profile)
        if not config.getoption("--collect-only"):
            make_directory(config.getoption("--report"))
    except USER_ERRORS as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[_campaign] = Campaign(
        rig=rig,
        rig_path=rig_path,
        seed=config.getoption("--seed"),
        short=config.getoption("--short"),
        directory=config.getoption("--report"),
        firmware=firmware,
        reporter=_reporter(config),
    )


def _reporter(config: pytest.Config) -> Reporter:
    """Progress goes where pytest writes its own, which output capturing leaves alone."""
    terminal = config.get_terminal_writer()
    return Reporter(partial(terminal.write, flush=True), is_terminal=terminal.hasmarkup)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what is being judged."""
    campaign = config.stash.get(_campaign, None)
    if campaign is None:
        return []
    return [
        f"rig: {campaign.rig.name} ({campaign.rig_path}), seed {campaign.seed}",
        f"firmware: {campaign.firmware.sha256}",
    ]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Collect the suites, when there is a rig to judge."""
    judging = parent.config.stash.get(_campaign, None) is not None
    # pytest itself collects a file that is named on the command line.
    if not judging or not file_path.name.endswith(SUITE_SUFFIX) or parent.session.isinitpath(file_path):
        return None
    return pytest.Module.from_parent(parent, path=file_path)


@pytest.fixture(scope="session")
def campaign(request: pytest.FixtureRequest) -> Campaign:
    """The run over all suites: gives trials and searches, and collects what they show."""
    found = request.config.stash.get(_campaign, None)
    if found is None:
        pytest.skip("no rig to judge: give --rig FILE")
    return found


@pytest.fixture(scope="session")
def rig(campaign: Campaign) -> Rig:
    """The rig that is judged."""
    return campaign.rig


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Write capacity.json from what the suites found."""
    try:
        return (yield)
    finally:
        campaign = session.config.stash.get(_campaign, None)
        if campaign is not None:
            with contextlib.closing(campaign):
                # Without the baseline it would be run now, which only a virtual rig can be sure to do.
                if BASELINE in campaign.trials or (campaign.trials and not campaign.rig.is_paced):
                    campaign.write_result()
