"""The instructions of a flash image, as the core itself decodes them."""

from dataclasses import dataclass
from typing import Any, Final

from bench.uno._core import ffi, lib

FLASH_WORDS: Final = 0x4000
SRAM_START: Final = 0x100
RAMEND: Final = 0x8FF
WORKING_REGISTERS: Final = 0x20
SPL, SPH, SREG = 0x5D, 0x5E, 0x5F

_GPIOR0, _GPIOR1, _GPIOR2, _SMCR = 0x3E, 0x4A, 0x4B, 0x53
MERELY_READ: Final = frozenset({_GPIOR0, _GPIOR1, _GPIOR2, _SMCR})
"""I/O registers that are memory to a read, at any time."""
MERELY_WRITTEN: Final = {_GPIOR1: 0xFF, _GPIOR2: 0xFF, _SMCR: 0x0F}
"""I/O registers whose write nobody notices, and the bits that exist. See data_space.c."""

SKIPS: Final = frozenset({"CPSE", "SBRC", "SBRS", "SBIC", "SBIS"})
CALLS: Final = frozenset({"CALL", "RCALL"})
JUMPS: Final = frozenset({"JMP", "RJMP"})
CONDITIONS: Final = {
    "BRCS": "carry",
    "BREQ": "zero == 0",
    "BRMI": "negative & 0x80",
    "BRVS": "overflow & 0x80",
    "BRLT": "SIGN",
    "BRHS": "half & 0x10",
    "BRTS": "core->flags.transfer",
    "BRIE": "core->flags.interrupt",
    "BRCC": "!carry",
    "BRNE": "zero != 0",
    "BRPL": "!(negative & 0x80)",
    "BRVC": "!(overflow & 0x80)",
    "BRGE": "!SIGN",
    "BRHC": "!(half & 0x10)",
    "BRTC": "!core->flags.transfer",
    "BRID": "!core->flags.interrupt",
}
"""When each conditional branch is taken, in C."""

_TWO_WORDS: Final = frozenset({"CALL", "JMP", "LDS", "STS"})
_CYCLES: Final = {
    **dict.fromkeys(("MUL", "MULS", "MULSU", "FMUL", "FMULS", "FMULSU", "ADIW", "SBIW"), 2),
    **dict.fromkeys(("LDS", "STS", "PUSH", "POP", "SBI", "CBI", "RJMP", "IJMP"), 2),
    **dict.fromkeys(("LPM_R0", "LPM", "LPM_INC", "JMP", "RCALL", "ICALL"), 3),
    **dict.fromkeys(("CALL", "RET", "RETI"), 4),
}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction. Addresses are in words; `k` is a constant, a data address or a target."""

    address: int
    operation: str
    d: int
    r: int
    b: int
    k: int
    skipped: int
    """Words that a skip skips."""

    @property
    def words(self) -> int:
        """Its own length."""
        return 2 if self.operation in _TWO_WORDS else 1

    @property
    def next(self) -> int:
        """The address behind it; may lie beyond the flash's end."""
        return self.address + self.words

    @property
    def cycles(self) -> int:
        """What it takes; a branch not taken, a skip not done."""
        if self.operation[:3] in ("LD_", "LDD", "ST_", "STD"):
            return 2
        return _CYCLES.get(self.operation, 1)


def decode(flash: bytes) -> list[Instruction]:
    """What each word of the flash is, taken as the beginning of an instruction."""
    program = ffi.gc(lib.program_create(flash, len(flash)), lib.program_destroy)
    names = [ffi.string(lib.operation_name(operation)).decode() for operation in range(256)]
    decoded = (lib.program_instruction(program, address) for address in range(FLASH_WORDS))
    return [_instruction(names, address, instruction) for address, instruction in enumerate(decoded)]


def _instruction(names: list[str], address: int, decoded: Any) -> Instruction:
    operation = names[decoded.operation]
    skipped = decoded.opcode if operation in SKIPS else 0
    return Instruction(address, operation, decoded.d, decoded.r, decoded.b, decoded.k, skipped)
