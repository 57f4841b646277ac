"""Unmodified sketches on Debian's Arduino core and its libraries do what the Arduino reference says.

Times are virtual and exact where the reference defines them; a note says where the core's own code adds some.
"""

import zlib
from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from bench.uno.atmega328p import CLOCK_HZ, Atmega328p, Pin, Stop
from bench.uno.build import ARDUINO, BuildError
from bench.uno.image import FirmwareImage
from bench.uno.workshop.board import AnalogSignal, Board, PulseTrain
from bench.uno.workshop.inspection import InspectedAtmega328p, PinChange
from bench.uno.workshop.pins import pin_named
from bench.uno.workshop.sketch import BUNDLED, build_sketch, with_prototypes
from bench.world.simulation import Simulation

pytestmark = pytest.mark.skipif(
    not ARDUINO.is_dir(), reason="the Arduino core is not installed: apt-get install arduino-core-avr"
)

MS = CLOCK_HZ // 1000
US = CLOCK_HZ // 1_000_000
LOOP = "void loop() {}"


@pytest.fixture
def sketch(tmp_path: Path) -> "Sketch":
    return Sketch(tmp_path)


class Sketch:
    """Builds and runs sketches."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.changes: list[PinChange] = []

    def written(self, text: str) -> FirmwareImage:
        path = self._folder / "sketch.ino"
        path.write_text(text)
        return build_sketch(path)

    def run(
        self,
        image: FirmwareImage,
        milliseconds: int,
        typed: bytes = b"",
        eeprom: bytes = b"\xff" * 1024,
        pulses: Iterable[PulseTrain] = (),
        analog: Iterable[AnalogSignal] = (),
    ) -> Board:
        chip = InspectedAtmega328p(image.flash, eeprom)
        chip.log_pins()
        board = Board(image, chip, Simulation(), None, list(pulses), list(analog))
        board.type(typed)
        while chip.cycle < milliseconds * MS:
            assert board.run(min(chip.cycle + 4 * MS, milliseconds * MS)) is not Stop.FAULT, chip.fault
            self.changes += chip.take_pin_changes()
        return board

    def edges(self, name: str) -> list[tuple[int, bool]]:
        """Changes of a pin's level, in the order of time."""
        pin, edges = pin_named(name), list[tuple[int, bool]]()
        for cycle, _, high in sorted(change for change in self.changes if change.pin is pin):
            if not edges or edges[-1][1] != high:
                edges.append((cycle, high))
        return edges


def received(edges: list[tuple[int, bool]], bit_cycles: int) -> bytes:
    """What a serial receiver that samples mid-bit gets from 8N1 frames on a line that idles high."""
    data, free_from = bytearray(), 0
    for began, high in edges:
        if high or began < free_from:
            continue
        samples = [began + (2 * number + 1) * bit_cycles // 2 for number in range(1, 10)]
        levels = [[level for cycle, level in edges if cycle <= at][-1] for at in samples]
        if levels[8]:
            data.append(sum(level << number for number, level in enumerate(levels[:8])))
        free_from = samples[8]
    return bytes(data)


def test_blink(sketch: Sketch) -> None:
    sketch.run(
        sketch.written(
            "void setup() { pinMode(LED_BUILTIN, OUTPUT); }\n"
            "void loop() { digitalWrite(LED_BUILTIN, HIGH); delay(1000);"
            " digitalWrite(LED_BUILTIN, LOW); delay(1000); }"
        ),
        5500,
    )
    edges = sketch.edges("D13")
    assert [high for _, high in edges] == [True, False, True, False, True, False]
    for (before, _), (after, _) in pairwise(edges):
        # delay counts steps of 1000 us on a clock that shows multiples of 4 us.
        assert 1000 * MS - 4 * US <= after - before <= 1000 * MS + 20 * US


def test_serial_echo_at_every_common_rate(sketch: Sketch) -> None:
    image = sketch.written(
        'void setup() { Serial.begin(9600); Serial.println("ready"); }\n'
        "void loop() { if (Serial.available()) { char c = Serial.read(); Serial.write(toupper(c)); } }"
    )
    board = sketch.run(image, 200, typed=b"hello, world\n")
    assert board.console == b"ready\r\nHELLO, WORLD\n"
    # 9600 baud with U2X: UBRR 207, 8 x 208 cycles a bit.
    assert received(sketch.edges("D1"), 8 * 208) == board.console


def test_numbers_are_printed_as_the_reference_says(sketch: Sketch) -> None:
    image = sketch.written(
        "void setup() { Serial.begin(115200); Serial.println(78, BIN); Serial.println(78, HEX);"
        " Serial.println(1.23456, 4); Serial.println(1.23456); Serial.println(-32768);"
        " Serial.println(sqrt(2.0), 5); Serial.println(map(512, 0, 1023, 0, 255));"
        ' Serial.println(String("a") + 5 + \'c\'); Serial.println(strlen_P(PSTR("flash"))); }\n' + LOOP
    )
    lines = sketch.run(image, 60).console.decode().split()
    assert lines == ["1001110", "4E", "1.2346", "1.23", "-32768", "1.41421", "127", "a5c", "5"]


@pytest.mark.parametrize(
    ("microvolts", "expected"), [(0, 0), (2_500_000, 512), (1_650_000, 337), (5_000_000, 1023)]
)
def test_analog_read(microvolts: int, expected: int, sketch: Sketch) -> None:
    image = sketch.written(
        "void setup() { Serial.begin(115200); unsigned long t = micros(); int value = analogRead(A2);"
        " analogRead(A2); t = micros(); analogRead(A2); t = micros() - t;"
        " Serial.println(value); Serial.println(t); }\n" + LOOP
    )
    value, took_us = sketch.run(image, 30, analog=[AnalogSignal(2, microvolts)]).console.split()
    assert int(value) == expected
    # "About 100 microseconds": 13 cycles of 125 kHz, up to one more to begin, and the code around it.
    assert 104 <= int(took_us) <= 124


def test_tone(sketch: Sketch) -> None:
    sketch.run(sketch.written("void setup() { tone(8, 440, 500); }\n" + LOOP), 700)
    edges = sketch.edges("D8")
    periods = [after - before for (before, _), (after, _) in pairwise(edges)]
    # Timer2 in CTC at 16 MHz / 128 / 142 toggles from its interrupt, whose latency varies with Timer0's.
    assert (edges[-2][0] - edges[0][0]) / (len(periods) - 1) == pytest.approx(128 * 142, abs=1)
    assert all(abs(period - 128 * 142) < 150 for period in periods[:-1])
    assert len(edges) == pytest.approx(2 * 440 * 0.5, abs=2)
    assert edges[-1][1] is False


@pytest.mark.parametrize(
    ("pin", "period", "high"),
    [("D9", 64 * 510, 64 * 2 * 64), ("D3", 64 * 510, 64 * 2 * 64), ("D6", 64 * 256, 64 * 65)],
    ids=["timer 1, 490 Hz", "timer 2, 490 Hz", "timer 0, 977 Hz"],
)
def test_analog_write(pin: str, period: int, high: int, sketch: Sketch) -> None:
    sketch.run(sketch.written(f"void setup() {{ analogWrite({pin[1:]}, 64); }}\n" + LOOP), 40)
    edges = sketch.edges(pin)[3:]
    rises = [cycle for cycle, level in edges if level]
    falls = [cycle for cycle, level in edges if not level]
    assert len(rises) > 10
    assert {later - earlier for earlier, later in pairwise(rises)} == {period}
    assert {min(fall for fall in falls if fall > rise) - rise for rise in rises[:-1]} == {high}


def test_pulse_in_and_attach_interrupt(sketch: Sketch) -> None:
    image = sketch.written(
        "volatile int count = 0;\nvoid counted() { count++; }\n"
        "void setup() { Serial.begin(115200); attachInterrupt(digitalPinToInterrupt(2), counted, FALLING);"
        " Serial.println(pulseIn(4, LOW)); delay(1000); Serial.println(count); }\n" + LOOP
    )
    pulses = [PulseTrain(Pin.PD2, Fraction(100)), PulseTrain(Pin.PD4, Fraction(50))]
    width_us, count = sketch.run(image, 1200, pulses=pulses).console.split()
    # 50 Hz: low for half a period, 10 ms. pulseIn counts loops and misses those that interrupts take.
    assert int(width_us) == pytest.approx(10_000, rel=0.01)
    assert int(width_us) < 10_000
    # delay began when pin 4 rose: at 20 + 10 ms.
    assert int(count) == 1030 // 10


def test_millis_and_micros_run_with_the_crystal(sketch: Sketch) -> None:
    image = sketch.written(
        "void setup() { pinMode(12, OUTPUT); }\n"
        "void loop() { static unsigned long last;"
        " if (millis() - last >= 250) { last += 250; PINB = 1 << 4; } }"
    )
    sketch.run(image, 2600)
    cycles = [cycle for cycle, _ in sketch.edges("D12")]
    assert len(cycles) == 10
    # millis() advances with an overflow every 1.024 ms, corrected by whole milliseconds: never off by more.
    assert all(abs(cycle - (number + 1) * 250 * MS) < 1.1 * MS for number, cycle in enumerate(cycles))


def test_bundled_eeprom_clear(sketch: Sketch) -> None:
    image = build_sketch(BUNDLED / "EEPROM/examples/eeprom_clear/eeprom_clear.ino")
    board = sketch.run(image, 3600)
    assert board.chip.eeprom == bytes(1024)
    [(lit, high)] = sketch.edges("D13")
    # 1023 writes of 3.4 ms lie before the last, which goes on while the LED is lit.
    assert high
    assert 1023 * 34 * MS // 10 <= lit <= 1023 * 34 * MS // 10 + 3 * MS


def test_bundled_eeprom_crc(sketch: Sketch) -> None:
    content = bytes(number * 7 & 0xFF for number in range(1024))
    image = build_sketch(BUNDLED / "EEPROM/examples/eeprom_crc/eeprom_crc.ino")
    console = sketch.run(image, 400, eeprom=content).console.decode()
    crc = 0xFFFFFFFF
    for number in range(1024):  # the sketch inverts after every byte
        crc = zlib.crc32(content[number : number + 1], crc ^ 0xFFFFFFFF)
    assert "EEPROM length: 1024\r\n" in console
    assert f"CRC32 of EEPROM data: 0x{crc:X}\r\n" in console


def test_bundled_spi_potentiometer(sketch: Sketch) -> None:
    image = build_sketch(BUNDLED / "SPI/examples/DigitalPotControl/DigitalPotControl.ino")
    sketch.run(image, 700)
    clock, data = sketch.edges("D13"), [(0, False), *sketch.edges("D11")]
    deselected = [cycle for cycle, high in sketch.edges("D10") if high]
    words = []
    for begin, end in pairwise([0, *deselected]):
        rises = [cycle for cycle, high in clock if high and begin < cycle < end]
        bits = [[high for cycle, high in data if cycle <= rise][-1] for rise in rises]
        words.append(int("".join(str(int(bit)) for bit in bits), 2))
    assert words == [0x0000, 0x0001, 0x0002]  # channel 0, levels 0, 1, 2
    # delay(100), two transfers, delay(100), select high, delay(10).
    assert all(abs(later - earlier - 210 * MS) < 100 * US for earlier, later in pairwise(deselected))


def test_bundled_i2c_scanner_finds_an_empty_bus(sketch: Sketch) -> None:
    image = build_sketch(BUNDLED / "Wire/examples/i2c_scanner/i2c_scanner.ino")
    console = sketch.run(image, 300).console.decode()
    assert console == "\nI2C Scanner\r\nScanning...\r\nNo I2C devices found\n\r\n"


def test_bundled_software_serial(sketch: Sketch) -> None:
    image = build_sketch(BUNDLED / "SoftwareSerial/examples/SoftwareSerialExample/SoftwareSerialExample.ino")
    board = sketch.run(image, 120, typed=b"!")  # more would be lost: sending holds interrupts off for 2 ms
    assert board.console == b"Goodnight moon!\r\n"
    sent = received(sketch.edges("D11"), round(CLOCK_HZ / 4800))
    assert sent == b"Hello, world?\r\n!"


def test_every_bundled_sketch_gets_its_prototypes() -> None:
    """Without building them all, which takes a minute."""
    paths = sorted(BUNDLED.rglob("*.ino"))
    assert paths
    for path in paths:
        source = with_prototypes(path.read_text(), path.name)
        assert "void setup();\n" in source
        assert "void loop();\n" in source


def test_prototypes_stand_before_the_first_function_and_lines_keep_their_number() -> None:
    text = "int x; // f() {\nvoid setup() { later(1); }\nvoid loop() {}\nint later(int a) {\n return a;\n}\n"
    assert with_prototypes(text, "s.ino") == (
        '#include <Arduino.h>\n#line 1 "s.ino"\nint x; // f() {\n\n'
        'void setup();\nvoid loop();\nint later(int a);\n#line 2 "s.ino"\n' + text.partition("\n")[2]
    )


def test_a_sketch_that_does_not_compile_is_told_with_its_line(sketch: Sketch) -> None:
    with pytest.raises(BuildError, match=r"sketch\.ino:2:"):
        sketch.written("void setup() {}\nvoid loop() { nothing_like_this(); }\n")


def test_a_sketch_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"none\.ino: cannot be read"):
        build_sketch(tmp_path / "none.ino")


def test_a_library_of_ones_own_and_sources_beside_the_sketch_are_built(tmp_path: Path) -> None:
    library, sketch = tmp_path / "libraries/Doubler", tmp_path / "Twice"
    library.mkdir(parents=True)
    sketch.mkdir()
    (library / "Doubler.h").write_text("#pragma once\nint doubled(int);\n")
    (library / "Doubler.cpp").write_text('#include "Doubler.h"\nint doubled(int x) { return 2 * x; }\n')
    (sketch / "more.cpp").write_text("int beside(int x) { return x + 1; }\n")
    (sketch / "Twice.ino").write_text(
        "#include <Doubler.h>\nint beside(int);\n"
        "void setup() { Serial.begin(9600); Serial.println(beside(doubled(21))); }\nvoid loop() {}\n"
    )
    image = build_sketch(sketch / "Twice.ino", [tmp_path / "libraries"])
    with pytest.raises(BuildError, match=r"Doubler\.h"):
        build_sketch(sketch / "Twice.ino")
    chip = Atmega328p(image.flash)
    said = bytearray()
    while (stop := chip.run(CLOCK_HZ)) is Stop.UART:
        said.append(chip.uart_byte)
    assert stop is Stop.LIMIT
    assert said == b"43\r\n"
