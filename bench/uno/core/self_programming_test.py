"""Self-programming by a boot loader: SPM, its windows and times, IVSEL, BOOTRST (datasheet 12.5, 27)."""

from pathlib import Path

import pytest

from bench.uno.atmega328p import (
    BOOT_SECTION,
    FLASH_BYTES,
    Atmega328p,
    CoreError,
    ResetCause,
    Stop,
    with_boot_loader,
)
from bench.uno.core.assembly import assemble, boot, marks, vectors
from bench.uno.translation.library import translate

SPMCSR, SPMEN, PGERS, PGWRT, BLBSET, RWWSRE, SIGRD, RWWSB, SPMIE = 0x57, 1, 2, 4, 8, 16, 32, 64, 128
PROGRAMMING_CYCLES = 65_600
"""4.1 ms."""
PAGE = 128

MACROS = """
.macro page address
    ldi r30,lo8(\\address)
    ldi r31,hi8(\\address)
.endm
.macro self_program operation, delay=0
    ldi r16,\\operation
    out SPMCSR,r16
    .rept \\delay
    nop
    .endr
    spm
.endm
.macro finish
9:  in r16,SPMCSR
    sbrc r16,0
    rjmp 9b
.endm
.macro word value
    ldi r16,lo8(\\value)
    mov r0,r16
    ldi r16,hi8(\\value)
    mov r1,r16
.endm
"""


def booting(boot_loader: str, application: bytes = b"") -> Atmega328p:
    """A chip that comes out of reset in this boot loader."""
    return Atmega328p(application, boot_loader=assemble(MACROS + boot_loader))


def run_to_stop(chip: Atmega328p) -> Stop:
    return chip.run(1 << 24)


WRITER = """
    page 0x1000
    self_program 3
    finish
    word 0xc000 | 1      ; rjmp .+2, over a word left erased
    self_program 1
    page 0x1004
    word 0xbb0e          ; out GPIOR0,r16
    self_program 1
    page 0x1000
    self_program 5
    finish
    self_program 0x11
    ldi r30,lo8(0x800)
    ldi r31,hi8(0x800)
    ijmp
"""


def test_a_page_is_erased_and_written_and_run() -> None:
    application = bytes(range(256)) * 17
    chip = booting(WRITER, application)
    (cycle,) = marks(chip, 1)
    assert cycle > 2 * PROGRAMMING_CYCLES
    assert chip.program_counter == 0x1006
    page = bytearray(b"\xff" * PAGE)
    page[0:2], page[4:6] = b"\x01\xc0", b"\x0e\xbb"
    assert chip.flash[0x1000:0x1080] == page
    untouched = application.ljust(BOOT_SECTION, b"\xff")
    assert chip.flash[:0x1000] == untouched[:0x1000]
    assert chip.flash[0x1080:BOOT_SECTION] == untouched[0x1080:]


def test_other_chips_keep_the_image_that_they_share() -> None:
    application = bytes(FLASH_BYTES // 4)
    loader = "page 0\nself_program 3\nfinish\nout GPIOR0,r0\nloop: rjmp loop\n"
    first, second = booting(loader, application), booting(loader, application)
    marks(first, 1)
    assert first.flash[:PAGE] == b"\xff" * PAGE
    assert second.flash[:PAGE] == bytes(PAGE)
    marks(second, 1)
    assert second.flash == first.flash


@pytest.mark.parametrize("operation", [PGERS, PGWRT, BLBSET])
def test_time_of_an_operation(operation: int) -> None:
    chip = booting(f"page 0\nself_program {SPMEN | operation}\nout GPIOR0,r0\nloop: rjmp loop\n")
    (marked,) = marks(chip, 1)
    started = marked - 1
    assert chip.read_data(SPMCSR, 1)[0] & ~RWWSB == SPMEN | operation
    chip.run(started + PROGRAMMING_CYCLES - 2)
    assert chip.read_data(SPMCSR, 1)[0] & SPMEN
    chip.run(started + PROGRAMMING_CYCLES + 1)
    assert not chip.read_data(SPMCSR, 1)[0] & SPMEN


@pytest.mark.parametrize(("address", "halted"), [(0x6F80, False), (0x7000, True), (0x7D80, True)])
def test_the_cpu_halts_while_the_section_without_read_while_write_is_programmed(
    address: int, halted: bool
) -> None:
    chip = booting(f"page {address}\nself_program 3\nout GPIOR0,r0\nin r20,SPMCSR\nout GPIOR0,r0\n")
    first, _ = marks(chip, 2)
    assert first == 5 + (PROGRAMMING_CYCLES if halted else 0) + 1
    assert chip.read_data(20, 1) == bytes([0 if halted else RWWSB | SPMEN | PGERS])


def test_a_halt_can_be_cut_anywhere() -> None:
    source = "page 0x7000\nself_program 3\nout GPIOR0,r0\nloop: rjmp loop\n"
    whole, cut = booting(source), booting(source)
    for cycle in range(1000, 80_000, 777):
        while cut.run(cycle) is not Stop.LIMIT:
            pass
    while whole.run(cut.cycle) is not Stop.LIMIT:
        pass
    assert whole.save() == cut.save()


@pytest.mark.parametrize(("delay", "acts"), [(0, True), (3, True), (4, False)])
def test_spm_must_follow_within_four_cycles(delay: int, acts: bool) -> None:
    chip = booting(f"page 0\nself_program 3,{delay}\nin r20,SPMCSR\nout GPIOR0,r0\n")
    marks(chip, 1)
    assert chip.read_data(20, 1) == bytes([RWWSB | SPMEN | PGERS if acts else 0])


def test_nothing_else_is_armed() -> None:
    chip = booting("page 0\nself_program 7\nin r20,SPMCSR\nself_program 2\nin r21,SPMCSR\nout GPIOR0,r0\n")
    marks(chip, 1)
    assert chip.read_data(20, 2) == b"\0\0"


def test_reading_a_busy_section_gives_ones_until_it_is_enabled_again() -> None:
    chip = booting(
        "page 0x200\nlpm r20,Z\npage 0\nself_program 3\npage 0x200\nlpm r21,Z\nfinish\nlpm r22,Z\n"
        "in r23,SPMCSR\nself_program 0x11\nlpm r24,Z\nin r25,SPMCSR\nout GPIOR0,r0\n",
        bytes([0x5A]) * 1024,
    )
    marks(chip, 1)
    assert chip.read_data(20, 6) == bytes([0x5A, 0xFF, 0xFF, RWWSB, 0x5A, 0])


def test_loading_the_buffer_enables_the_section_again() -> None:
    chip = booting("page 0\nself_program 3\nfinish\nself_program 1\nin r20,SPMCSR\nout GPIOR0,r0\n")
    marks(chip, 1)
    assert chip.read_data(20, 1) == b"\0"


def test_running_in_a_busy_section_is_a_fault() -> None:
    chip = booting("page 0\nself_program 3\nldi r30,8\nijmp\n", bytes(64))
    assert run_to_stop(chip) is Stop.FAULT
    assert chip.fault is not None
    assert (chip.fault.kind, chip.fault.program_counter) == ("self_programming", 16)


def test_the_application_section_cannot_use_spm() -> None:
    chip = boot(MACROS + "page 0x4000\nself_program 3\n")
    assert run_to_stop(chip) is Stop.FAULT
    assert chip.fault is not None
    assert (chip.fault.kind, chip.fault.detail) == ("self_programming", 0x4000)
    assert chip.flash[0x4000] == 0xFF


def load(address: int, value: int) -> str:
    return f"page {address}\nword {value}\nself_program 1\n"


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        ("", 0x1234),
        (load(2, 0x4321), 0x1234),  # a word can be loaded once
        ("self_program 0x11\n", 0xFFFF),  # RWWSRE loses the buffer
        ("sbi EECR,2\nsbi EECR,1\n8: sbic EECR,1\nrjmp 8b\n", 0xFFFF),  # so does a write of the EEPROM
    ],
)
def test_the_page_buffer(between: str, expected: int) -> None:
    chip = booting(load(2, 0x1234) + between + "page 0x80\nself_program 5\nfinish\nout GPIOR0,r0\n")
    marks(chip, 1)
    assert chip.flash[0x80:0x84] == b"\xff\xff" + expected.to_bytes(2, "little")


def test_the_buffer_is_erased_after_a_write_and_writing_clears_bits_only() -> None:
    chip = booting(
        load(0, 0x0FF0) + "page 0\nself_program 5\nfinish\n" + load(2, 0x1234)
        + "page 0\nself_program 5\nfinish\nout GPIOR0,r0\n",
        b"\xaa\xaa\xff\xff",
    )  # fmt: skip
    marks(chip, 1)
    assert chip.flash[:4] == bytes([0xA0, 0x0A, 0x34, 0x12])


def test_an_eeprom_write_keeps_spm_off_and_the_other_way_round() -> None:
    chip = booting("page 0\nsbi EECR,2\nsbi EECR,1\nself_program 3\nin r20,SPMCSR\nout GPIOR0,r0\n")
    marks(chip, 1)
    assert chip.read_data(20, 1) == b"\0"
    chip = booting("page 0\nself_program 3\nsbi EECR,2\nsbi EECR,1\nin r20,EECR\nout GPIOR0,r0\n")
    marks(chip, 1)
    assert not chip.read_data(20, 1)[0] & 2


def row(operation: int, address: int, delay: int = 0) -> str:
    nops = "nop\n" * delay
    return (
        f"ldi r30,{address}\nldi r31,0\nldi r16,{operation}\nout SPMCSR,r16\n{nops}lpm r20,Z\nout GPIOR0,r0\n"
    )


@pytest.mark.parametrize(
    ("operation", "address", "delay", "value"),
    [
        (SIGRD, 0, 0, 0x1E), (SIGRD, 2, 0, 0x95), (SIGRD, 4, 0, 0x0F), (SIGRD, 0, 2, 0x1E),
        (SIGRD, 0, 3, 0x5A),
        (BLBSET, 0, 0, 0xFF), (BLBSET, 1, 0, 0xFF), (BLBSET, 2, 0, 0xFD), (BLBSET, 3, 0, 0xDE),
    ],
)  # fmt: skip
def test_signature_fuses_and_lock_bits(operation: int, address: int, delay: int, value: int) -> None:
    chip = booting(row(SPMEN | operation, address, delay), bytes([0x5A]) * 16)
    marks(chip, 1)
    assert chip.read_data(20, 1) == bytes([value])


def test_lock_bits_keep_spm_from_a_section_even_after_a_reset() -> None:
    chip = booting(
        "page 1\nldi r16,0xfb\nmov r0,r16\nself_program 9\nfinish\nldi r16,9\nout SPMCSR,r16\nlpm r20,Z\n"
        "page 0\nself_program 3\nin r21,SPMCSR\npage 0x7e80\nself_program 3\nout GPIOR0,r0\n",
        bytes(64),
    )
    marks(chip, 1)
    assert chip.read_data(20, 2) == bytes([0xFB, 0])
    assert chip.flash[:64] == bytes(64)
    chip.reset(ResetCause.POWER_ON)
    marks(chip, 1)
    assert chip.read_data(21, 1) == b"\0"


def test_ready_interrupt_comes_when_the_operation_is_over() -> None:
    table = f".org {26 * 4 - 4}\n"
    chip = booting(
        f"rjmp start\n{table}rjmp ready\nnop\n"
        "start: ldi r16,1\nout MCUCR,r16\nldi r16,2\nout MCUCR,r16\npage 0\nself_program 3\n"
        "ldi r16,0x80\nout SPMCSR,r16\nldi r16,1\nout SMCR,r16\nsei\nloop: sleep\nrjmp loop\n"
        "ready: out GPIOR0,r16\n"
    )
    # RJMP 2, four, two, LDI, OUT, SPM: it begins at 11. In idle: waking 4, entry 4, RJMP 2, OUT.
    assert marks(chip, 1) == [11 + PROGRAMMING_CYCLES + 4 + 4 + 2 + 1]


@pytest.mark.parametrize("cause", list(ResetCause))
def test_an_erase_cut_by_a_reset(cause: ResetCause) -> None:
    chip = booting("page 0\nself_program 3\nloop: rjmp loop\n", bytes(256))
    chip.run(PROGRAMMING_CYCLES // 2)
    assert chip.flash[:256] == bytes(256)
    chip.reset(cause)
    assert chip.flash[:256] == b"\xff" * PAGE + bytes(PAGE)
    assert chip.read_data(SPMCSR, 1) == b"\0"


def test_a_torn_write_has_not_cleared_every_bit() -> None:
    chip = booting(load(0, 0x0000) + "page 0\nself_program 5\nloop: rjmp loop\n")
    chip.run(100)
    chip.reset(ResetCause.BROWN_OUT)
    assert chip.flash[:3] == bytes([0x55, 0x55, 0xFF])


def test_saving_and_restoring_takes_the_programmed_flash_along() -> None:
    chip = booting(WRITER)
    chip.run(PROGRAMMING_CYCLES + 100)
    state = chip.save()
    end = marks(chip, 1)
    chip.restore(state)
    assert chip.save() == state
    assert marks(chip, 1) == end
    with pytest.raises(CoreError):
        booting(WRITER, b"another image").restore(state)


def test_a_translation_gives_way_to_what_the_core_has_programmed(tmp_path: Path) -> None:
    flash = with_boot_loader(b"", assemble(MACROS + WRITER))
    interpreted = booting(WRITER)
    boot_loader = flash[BOOT_SECTION:]
    translated = Atmega328p(b"", translation=translate(flash, tmp_path), boot_loader=boot_loader)
    assert marks(translated, 1) == marks(interpreted, 1)
    assert translated.flash == interpreted.flash


def test_a_restored_state_may_go_back_to_the_image() -> None:
    chip = booting("page 0\nself_program 3\nfinish\nout GPIOR0,r0\n", bytes(PAGE))
    before = chip.save()
    marks(chip, 1)
    after = chip.save()
    chip.restore(before)
    assert chip.flash[:PAGE] == bytes(PAGE)
    chip.restore(after)
    assert chip.flash[:PAGE] == b"\xff" * PAGE


def test_resets_lead_to_the_boot_loader_only_when_there_is_one() -> None:
    assert booting("nop\n").program_counter == BOOT_SECTION
    assert Atmega328p(b"").program_counter == 0
    chip = booting("out GPIOR0,r16\nldi r16,8\nsts WDTCSR,r16\nloop: rjmp loop\n")
    marks(chip, 2)  # the second after a reset by the watchdog
    assert chip.program_counter == BOOT_SECTION + 2


def test_no_room() -> None:
    with pytest.raises(CoreError, match="boot loader has 513 bytes; the boot section holds 512"):
        Atmega328p(b"", boot_loader=bytes(513))
    with pytest.raises(CoreError, match="32257 bytes; beside a boot loader there is room for 32256"):
        Atmega328p(bytes(32257), boot_loader=b"")


MOVING = (
    vectors(INT0="application") + "start: ldi r16,1\nout EIMSK,r16\nldi r17,{change}\nldi r18,2\nsei\n"
    "out MCUCR,r17\n{between}out MCUCR,r18\n{after}loop: rjmp loop\n"
    "application: out GPIOR1,r16\nout GPIOR0,r16\n"
    ".org 0x7e04\nldi r16,9\nout GPIOR1,r16\nout GPIOR0,r16\n"
)


@pytest.mark.parametrize(("nops", "argument"), [(0, 9), (3, 9), (4, 1)])
def test_vectors_move_within_four_cycles_of_asking(nops: int, argument: int) -> None:
    """INT0 waits from the beginning (its pin is low): IVCE holds it back, but for four cycles at most."""
    chip = boot(MOVING.format(change=1, between="nop\n" * nops, after=""))
    marks(chip, 1)
    assert chip.mark_argument & 0xFF == argument


def test_the_instruction_after_the_change_runs_first() -> None:
    chip = boot(MOVING.format(change=1, between="", after="mov r20,r18\nmov r21,r18\n"))
    (cycle,) = marks(chip, 1)
    # JMP 3, four, SEI, two OUT, MOV; entry 4, LDI, two OUT.
    assert cycle == 3 + 4 + 1 + 2 + 1 + 4 + 3
    assert (chip.read_data(20, 1), chip.read_data(21, 1) == b"\2") == (b"\2", False)


def test_the_register_reads_its_bits_and_does_not_move_unasked() -> None:
    chip = boot(
        "ldi r17,0x13\nldi r18,0x12\nout MCUCR,r18\nin r20,MCUCR\nout MCUCR,r17\nin r21,MCUCR\n"
        "nop\nnop\nnop\nin r22,MCUCR\nout MCUCR,r17\nout MCUCR,r18\nin r23,MCUCR\nout GPIOR0,r16\n"
    )
    marks(chip, 1)
    assert chip.read_data(20, 4) == bytes([0x10, 0x11, 0x10, 0x12])
