"""The walls of the project: who may import whom, checked on the source text of every module."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

GROUND = ("bench.world", "bench.rig")
"""What everything in the bench stands on. Each may import those before it."""

TIERS = ("bench.sensors", "bench.uno", "bench.radio", "bench.pi", "bench.server")
"""The path of the data. Each may import the ground and the tier it gets its data from."""

UPPER = (
    "bench.keys",
    "bench.truth",
    "bench.oracle",
    "bench.stimulus",
    "bench.assembly",
    "bench.trial",
    "bench.capacity",
    "bench.twin",
    "bench.instruments",
    "bench.faults",
    "bench.paced",
    "bench.calibration",
    "bench.progress",
    "bench.campaign",
    "bench.summary",
    "bench.workshop",
    "bench.errors",
    "bench.doctor",
    "bench.plugin",
    "bench.suites",
    "bench.run",
    "bench.cli",
    "bench.__main__",
)
"""What puts the tiers together and judges them. Each may import tiers, ground, and those before it."""

ROOMS = (*GROUND, *TIERS, *UPPER)

LEDGER_NEEDS = {"cbor2", "grpc", "nacl", "rich", "serial", "typer"}
"""All that a Raspberry Pi has to install for the ledger."""

TEST_NEEDS = {"hypothesis", "pytest"}

BANNED_NAMES = {"common", "helper", "helpers", "manager", "misc", "util", "utils"}

UNREPEATABLE = {"secrets", "time", "uuid"}
"""Modules that bring wall-clock time or randomness without a seed."""

EDGE = (
    "bench.world.paced",
    "bench.world.patience",
    "bench.uno.serial_port",
    "bench.uno.serial_port_bridge",
    "bench.sensors.stimulus_port",
    "bench.pi.bound_process",
    "bench.pi.deployed",
    "bench.pi.emulated",
    "bench.pi.ledger_process",
    "bench.pi.process",
    "bench.pi.ssh",
    "bench.pi.vpn",
    "bench.server.emulated",
    "bench.server.real",
    "ledger.cli",
    "ledger.gateway.byte_stream",
    "ledger.measure",
    "ledger.service",
)
"""Modules of tiers and ledger that meet the real world: ports, hosts and processes keep the wall clock."""

UNREPEATABLE_CALLS = re.compile(
    r"(datetime|date)(\.\w+)?\.(now|today|utcnow)|os\.(urandom|getrandom)|random\.(?!Random$)\w+"
)
"""The same as calls; a generator of one's own, `random.Random(seed)`, is repeatable."""


class Import(NamedTuple):
    """A module named in an import, and whether the import is there for type checkers alone."""

    module: str
    typing_only: bool


@dataclass(frozen=True, slots=True)
class Module:
    """One source file under its dotted name."""

    name: str
    tree: ast.Module
    is_package: bool

    @property
    def is_product(self) -> bool:
        return not self.name.endswith(("_test", "conftest", "_benchmark"))

    def imports(self, known: Mapping[str, object]) -> Iterator[Import]:
        """Every import in the file; ``from package import submodule`` counts as the submodule if known."""
        typing_only = {
            id(child)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
            for branch in node.body
            for child in ast.walk(branch)
        }
        for node in ast.walk(self.tree):
            marked = id(node) in typing_only
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(alias.name, marked)
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                for alias in node.names:
                    submodule = f"{base}.{alias.name}"
                    yield Import(submodule if submodule in known else base, marked)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.name.split(".")[: None if self.is_package else -1]
        package = package[: len(package) - (node.level - 1)]
        return ".".join([*package, *([node.module] if node.module else [])])


Modules = Mapping[str, Module]


def modules_under(root: Path, *packages: str) -> dict[str, Module]:
    found = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            found[name] = Module(name, ast.parse(path.read_text(encoding="utf-8"), str(path)), is_package)
    return found


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def room_of(module: str) -> str | None:
    """The innermost room of the tables that a module lies in."""
    return max((room for room in ROOMS if within(module, room)), key=len, default=None)


def may_import(room: str) -> tuple[str, ...]:
    """The rooms that a room may import, besides itself."""
    if room in GROUND:
        return GROUND[: GROUND.index(room)]
    if room in TIERS:
        before = TIERS.index(room)
        return (*GROUND, *TIERS[max(0, before - 1) : before])
    return (*GROUND, *TIERS, *UPPER[: UPPER.index(room)])


def crossings_between_packages(modules: Modules) -> list[str]:
    forbidden = {"ledger": ("bench", "reports", "firmware"), "reports": ("bench", "ledger", "firmware")}
    return [
        f"{name} imports {imported.module}"
        for name, module in modules.items()
        for imported in module.imports(modules)
        if any(within(imported.module, other) for other in forbidden.get(name.partition(".")[0], ()))
    ]


def crossings_within_bench(modules: Modules) -> list[str]:
    crossings = []
    for name, module in modules.items():
        room = room_of(name)
        if not module.is_product or room is None:
            continue
        for imported in module.imports(modules):
            target = room_of(imported.module)
            if target not in (None, room, *may_import(room)):
                crossings.append(f"{name} imports {imported.module}")
            if within(imported.module, "reports") and room not in UPPER:
                crossings.append(f"{name} imports {imported.module}")
    return crossings


def cycles(modules: Modules) -> list[list[str]]:
    """Groups of modules that import one another, directly or round a corner (Tarjan 1972)."""
    arrows = {
        name: sorted({i.module for i in module.imports(modules) if not i.typing_only and i.module in modules})
        for name, module in modules.items()
    }
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = lowest[name] = len(index)
        path.append(name)
        for target in arrows[name]:
            if target not in index:
                visit(target)
            if target in path:
                lowest[name] = min(lowest[name], lowest[target])
        if lowest[name] == index[name]:
            group = path[path.index(name) :]
            del path[path.index(name) :]
            if len(group) > 1 or name in arrows[name]:
                groups.append(sorted(group))

    for name in arrows:
        if name not in index:
            visit(name)
    return groups


def unrepeatable(modules: Modules) -> list[str]:
    """Uses of the wall clock or of global randomness."""
    uses = []
    for name, module in modules.items():
        uses += [f"{name} imports {i.module}" for i in module.imports(modules) if i.module in UNREPEATABLE]
        uses += [
            f"{name} calls {ast.unparse(node.func)}"
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Call) and UNREPEATABLE_CALLS.fullmatch(ast.unparse(node.func))
        ]
    return uses


@pytest.fixture(scope="module")
def modules() -> dict[str, Module]:
    return modules_under(ROOT, "bench", "ledger", "reports")


def test_ledger_and_reports_stand_alone(modules: Modules) -> None:
    assert crossings_between_packages(modules) == []


def test_within_bench_imports_follow_the_data(modules: Modules) -> None:
    assert crossings_within_bench(modules) == []


def test_every_module_of_the_bench_has_its_room(modules: Modules) -> None:
    assert [
        name
        for name, module in modules.items()
        if within(name, "bench") and module.is_product and not module.is_package and room_of(name) is None
    ] == []


def test_no_module_imports_itself_round_a_corner(modules: Modules) -> None:
    assert cycles(modules) == []


def test_the_ledger_needs_little(modules: Modules) -> None:
    allowed = {*sys.stdlib_module_names, *LEDGER_NEEDS, "ledger"}
    foreign = [
        f"{name} imports {imported.module}"
        for name, module in modules.items()
        if within(name, "ledger")
        for imported in module.imports(modules)
        if imported.module.partition(".")[0] not in allowed | (set() if module.is_product else TEST_NEEDS)
    ]
    assert foreign == []


def test_the_virtual_world_reads_no_clock_and_no_global_randomness(modules: Modules) -> None:
    world = {
        name: module
        for name, module in modules.items()
        if module.is_product
        and (
            room_of(name)
            in (*GROUND, *TIERS, "bench.assembly", "bench.oracle", "bench.stimulus", "bench.truth")
            or within(name, "ledger")
        )
        and not any(within(name, edge) for edge in EDGE)
    }
    assert unrepeatable(world) == []


def test_no_module_has_a_name_that_says_nothing(modules: Modules) -> None:
    assert [name for name in modules if BANNED_NAMES & set(name.removesuffix("_test").split("."))] == []


def test_firmware_has_no_python_but_tests() -> None:
    assert [
        str(path.relative_to(ROOT))
        for path in (ROOT / "firmware").rglob("*.py")
        if not path.name.endswith(("_test.py", "conftest.py"))
    ] == []


def written(**sources: str) -> dict[str, Module]:
    """Modules made up to see the checks fail; two underscores in a name stand for a dot."""
    names = {name.replace("__", "."): source for name, source in sources.items()}
    return {name: Module(name, ast.parse(source), is_package=False) for name, source in names.items()}


def test_the_checks_see_a_wall_crossed() -> None:
    assert crossings_between_packages(written(ledger__node="def late():\n    from bench import trial")) == [
        "ledger.node imports bench"
    ]
    assert crossings_between_packages(written(reports__plot="import ledger.block")) == [
        "reports.plot imports ledger.block"
    ]
    upstream = written(bench__uno__seat="from bench.pi.virtual import Pi")
    assert crossings_within_bench(upstream) == ["bench.uno.seat imports bench.pi.virtual"]
    assert crossings_within_bench(written(bench__pi__seat="from bench.radio.medium import Medium")) == []
    assert crossings_within_bench(written(bench__pi__seat="import bench.uno.clock")) != []
    assert crossings_within_bench(written(bench__rig__model="from bench.capacity.search import x")) != []
    assert crossings_within_bench(written(bench__rig__model="import bench.rig.criteria")) == []


def test_the_checks_see_a_cycle() -> None:
    source = {"bench__a": "from bench import b", "bench__b": "from .c import x", "bench__c": "import bench.a"}
    assert cycles(written(**source)) == [["bench.a", "bench.b", "bench.c"]]
    assert cycles(written(**source | {"bench__c": "if TYPE_CHECKING:\n    import bench.a"})) == []


def test_the_checks_see_a_clock() -> None:
    assert unrepeatable(written(bench__world__x="import time")) == ["bench.world.x imports time"]
    assert unrepeatable(written(bench__world__x="datetime.now()")) == ["bench.world.x calls datetime.now"]
    assert unrepeatable(written(bench__world__x="os.urandom(4)")) == ["bench.world.x calls os.urandom"]
    assert unrepeatable(written(bench__world__x="datetime.datetime.now()")) != []
    assert unrepeatable(written(bench__world__x="random.random()")) == ["bench.world.x calls random.random"]
    assert unrepeatable(written(bench__world__x="random.Random(7).random()")) == []
    assert unrepeatable(written(bench__world__x="simulation.now()")) == []
