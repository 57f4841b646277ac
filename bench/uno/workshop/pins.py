"""The Uno's pins by the names printed on the board."""

from typing import Final

from bench.uno.atmega328p import Pin

PIN_BY_NAME: Final[dict[str, Pin]] = {
    **{f"D{number}": Pin(Pin.PD0 + number) for number in range(8)},
    **{f"D{8 + number}": Pin(Pin.PB0 + number) for number in range(6)},
    **{f"A{number}": Pin(Pin.PC0 + number) for number in range(6)},
}
NAME_BY_PIN: Final[dict[Pin, str]] = {pin: name for name, pin in PIN_BY_NAME.items()}


class PinError(ValueError):
    """No such pin on an Uno; the message names those there are."""


def pin_named(name: str) -> Pin:
    """The pin of a board name, D0 to D13 or A0 to A5; :class:`PinError`."""
    try:
        return PIN_BY_NAME[name.upper()]
    except KeyError:
        raise PinError(f"an Uno has no pin {name!r}; it has D0 to D13 and A0 to A5") from None


def analog_channel(name: str) -> int:
    """The ADC's channel of a board name, A0 to A5; :class:`PinError`."""
    pin = pin_named(name)
    if not Pin.PC0 <= pin <= Pin.PC5:
        raise PinError(f"pin {name!r} has no analog input; A0 to A5 have")
    return pin - Pin.PC0
