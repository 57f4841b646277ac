"""The instructions whose cycles `timing` measures: code, what stands before it, the datasheet's figure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Case:
    """`code` takes `cycles` from its beginning to where it ends; `setting` is run before."""

    operation: str
    setting: str
    code: str
    cycles: int


_POINTERS = "".join(f"ldi r{low},0x40\nldi r{low + 1},0x03\n" for low in (26, 28, 30))

_ONE_CYCLE = (
    *("nop", "wdr", "add r17,r18", "adc r17,r18", "sub r17,r18", "sbc r17,r18", "and r17,r18", "or r17,r18"),
    *("eor r17,r18", "cp r17,r18", "cpc r17,r18", "mov r17,r18", "movw r18,r20", "subi r17,1", "sbci r17,1"),
    *(
        "andi r17,1",
        "ori r17,1",
        "cpi r17,1",
        "ldi r17,1",
        "com r17",
        "neg r17",
        "inc r17",
        "dec r17",
        "lsr r17",
    ),
    *("ror r17", "asr r17", "swap r17", "bst r17,3", "bld r17,3", "sec", "clc", "set", "clt", "sei", "cli"),
    *("in r17,GPIOR1", "out GPIOR1,r17", "in r17,SREG", "in r17,SPL"),
)
_TWO_CYCLES = (
    *(
        "adiw r24,1",
        "sbiw r24,1",
        "mul r17,r18",
        "muls r17,r18",
        "mulsu r17,r18",
        "fmul r17,r18",
        "fmuls r17,r18",
    ),
    *("fmulsu r17,r18", "lds r17,0x300", "lds r17,GPIOR1+0x20", "sts 0x300,r17", "sts GPIOR1+0x20,r17"),
    *("ld r17,X", "ld r17,X+", "ld r17,-X", "ld r17,Y", "ld r17,Y+", "ld r17,-Y", "ldd r17,Y+9"),
    *("ld r17,Z", "ld r17,Z+", "ld r17,-Z", "ldd r17,Z+9", "st X,r17", "st X+,r17", "st -X,r17"),
    *(
        "st Y,r17",
        "st Y+,r17",
        "st -Y,r17",
        "std Y+9,r17",
        "st Z,r17",
        "st Z+,r17",
        "st -Z,r17",
        "std Z+9,r17",
    ),
    *("push r17", "pop r17", "sbi PORTC,0", "cbi PORTC,0"),
)
_THREE_CYCLES = ("lpm", "lpm r17,Z", "lpm r17,Z+")

_BRANCHES: Final = {
    "brcs": ("sec", "clc"),
    "breq": ("sez", "clz"),
    "brmi": ("sen", "cln"),
    "brvs": ("sev", "clv"),
    "brlt": ("ses", "cls"),
    "brhs": ("seh", "clh"),
    "brts": ("set", "clt"),
    "brie": ("sei", "cli"),
    "brcc": ("clc", "sec"),
    "brne": ("clz", "sez"),
    "brpl": ("cln", "sen"),
    "brvc": ("clv", "sev"),
    "brge": ("cls", "ses"),
    "brhc": ("clh", "seh"),
    "brtc": ("clt", "set"),
    "brid": ("cli", "sei"),
}
_SKIPS: Final = {
    "cpse r17,r18": ("ldi r17,1\nldi r18,1", "ldi r17,1\nldi r18,2"),
    "sbrc r17,2": ("ldi r17,0", "ldi r17,4"),
    "sbrs r17,2": ("ldi r17,4", "ldi r17,0"),
    "sbic GPIOR0,2": ("ldi r16,0", "ldi r16,4"),
    "sbis GPIOR0,2": ("ldi r16,4", "ldi r16,0"),
}
"""What makes each skip, and what does not; the marks write r16 to GPIOR0."""


def _straight() -> Iterator[Case]:
    for instructions, cycles in ((_ONE_CYCLE, 1), (_TWO_CYCLES, 2), (_THREE_CYCLES, 3)):
        for instruction in instructions:
            setting = "push r17" if instruction.startswith("pop") else _POINTERS
            yield Case(instruction, setting, instruction, cycles)


def _jumps() -> Iterator[Case]:
    label_in_z = "ldi r30,pm_lo8(1f)\nldi r31,pm_hi8(1f)"
    return_address = "ldi r17,lo8(pm(1f))\npush r17\nldi r17,hi8(pm(1f))\npush r17"
    yield Case("rjmp", "", "rjmp 1f\nnop\n1:", 2)
    yield Case("jmp", "", "jmp 1f\nnop\n1:", 3)
    yield Case("ijmp", label_in_z, "ijmp\nnop\n1:", 2)
    yield Case("rcall", "", "rcall 1f\nnop\n1:", 3)
    yield Case("call", "", "call 1f\nnop\n1:", 4)
    yield Case("icall", label_in_z, "icall\nnop\n1:", 3)
    yield Case("ret", return_address, "ret\nnop\n1:", 4)
    yield Case("reti", return_address, "reti\nnop\n1:", 4)


def _branches() -> Iterator[Case]:
    for branch, (met, not_met) in _BRANCHES.items():
        yield Case(f"{branch}, taken", met, f"{branch} 1f\nnop\n1:", 2)
        yield Case(f"{branch}, not taken", not_met, f"{branch} 1f\n1:", 1)


def _skips() -> Iterator[Case]:
    for skip, (met, not_met) in _SKIPS.items():
        name = skip.split()[0]
        yield Case(f"{name}, no skip", not_met, f"{skip}\nnop", 1 + 1)
        yield Case(f"{name}, one word skipped", met, f"{skip}\nnop", 2)
        yield Case(f"{name}, two words skipped", met, f"{skip}\nlds r19,0x300", 3)


_SLEEP = Case("sleep, SE clear", "out SMCR,r14", "sleep", 1)

CASES: Final = (*_straight(), *_jumps(), *_branches(), *_skips(), _SLEEP)
"""In the order in which one image runs them; last SLEEP, since an emulator that ignores SE ends there."""
