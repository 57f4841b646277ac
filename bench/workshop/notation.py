"""How signals are written on the command line: `D3=1.5` pulses per second, `A0=2.5+1.6@50` volts."""

import re
from decimal import Decimal
from fractions import Fraction

from bench.uno.workshop.board import AnalogSignal, PulseTrain, SignalError
from bench.uno.workshop.pins import analog_channel, pin_named

_NUMBER = r"\d+(?:\.\d*)?|\.\d+"
_ANALOG = re.compile(rf"({_NUMBER})(?:\+({_NUMBER})@({_NUMBER}))?")
_VOLTS_LIMIT = 5


def pulse_train(text: str) -> PulseTrain:
    """`PIN=RATE`, pulses per second; raises PinError or SignalError."""
    pin, value = _assignment(text, "D3=1.5, pulses per second")
    if not re.fullmatch(_NUMBER, value):
        raise SignalError(f"{text!r}: expected a number of pulses per second as in D3=1.5")
    return PulseTrain(pin_named(pin), Fraction(value))


def analog_signal(text: str) -> AnalogSignal:
    """`PIN=VOLTS` or `PIN=VOLTS+AMPLITUDE@HERTZ` for a sine on top; raises PinError or SignalError."""
    pin, value = _assignment(text, "A0=2.5 or A0=2.5+1.6@50, in volts and hertz")
    match = _ANALOG.fullmatch(value)
    if not match:
        raise SignalError(f"{text!r}: expected volts as in A0=2.5, or a sine on top as in A0=2.5+1.6@50")
    offset, amplitude, frequency = match.groups(default="0")
    if Decimal(offset) + Decimal(amplitude) > _VOLTS_LIMIT or Decimal(offset) < Decimal(amplitude):
        raise SignalError(f"{text!r}: leaves 0 to {_VOLTS_LIMIT} V, which would destroy the pin")
    return AnalogSignal(analog_channel(pin), _microvolts(offset), _microvolts(amplitude), Fraction(frequency))


def _assignment(text: str, example: str) -> tuple[str, str]:
    pin, separator, value = text.partition("=")
    if not separator:
        raise SignalError(f"{text!r}: expected a pin and a value as in {example}")
    return pin.strip(), value.strip()


def _microvolts(volts: str) -> int:
    return int(Decimal(volts) * 1_000_000)
