"""TWI: an address on a bus without slaves (datasheet 22)."""

from bench.uno.core.assembly import boot, marks, vectors

SCL_CYCLES = 16 + 2 * 72  # TWBR 72: 100 kHz


def test_start_address_refused_and_stop() -> None:
    chip = boot(
        "ldi r16,72\nsts TWBR,r16\nldi r16,0xa4\nsts TWCR,r16\nout GPIOR0,r16\n"
        "a: lds r17,TWCR\nsbrs r17,7\nrjmp a\nlds r20,TWSR\nout GPIOR0,r16\n"
        "ldi r18,0x78\nsts TWDR,r18\nldi r16,0x84\nsts TWCR,r16\nout GPIOR0,r16\n"
        "b: lds r17,TWCR\nsbrs r17,7\nrjmp b\nlds r21,TWSR\nout GPIOR0,r16\n"
        "ldi r16,0x94\nsts TWCR,r16\nlds r22,TWCR\nlds r23,TWSR\nout GPIOR0,r16\n"
    )
    started, start_done, sent, send_done, _ = marks(chip, 5)
    assert SCL_CYCLES <= start_done - started <= SCL_CYCLES + 9
    assert 9 * SCL_CYCLES <= send_done - sent <= 9 * SCL_CYCLES + 9
    assert list(chip.read_data(20, 4)) == [0x08, 0x20, 0x04, 0xF8]


def test_interrupt() -> None:
    chip = boot(
        vectors(TWI="handler")
        + "start: ldi r16,72\nsts TWBR,r16\nsei\nldi r16,0xa5\nsts TWCR,r16\nloop: rjmp loop\n"
        + "handler: out GPIOR0,r16\nreti\n"
    )
    # JMP 3, LDI STS SEI LDI STS; then a step of one clock, RJMP's two cycles, entry 4, JMP 3, OUT.
    assert marks(chip, 1)[0] - (10 + SCL_CYCLES) in (8, 9)
