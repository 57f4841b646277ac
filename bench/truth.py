"""What was played into an Uno's inputs, as its registers must show it."""

from dataclasses import dataclass

from bench.sensors.s0 import S0Signal
from bench.sensors.waveform import MainsSignal
from bench.world.simulation import NS_PER_MS, NS_PER_S
from ledger.frame import Snapshot

# A pulse that has begun this shortly before a snapshot may be counted in it or in the next.
PULSE_COUNT_DELAY_NS = 20 * NS_PER_MS


@dataclass(frozen=True, slots=True)
class PulseTruth:
    """One S0 input: the register must be the number of pulses that have begun, exactly."""

    register: int
    signal: S0Signal
    began_ns: int
    """World time at which the signal's own time is 0."""
    uncertainty_ns: int = 0
    """How far a pulse may have begun from where the signal says, where a stimulus Uno played it."""

    def disagreement(self, snapshot: Snapshot, t_ns: int) -> str | None:
        """What is wrong with this register at world time `t_ns`; None when it is right."""
        return self.disagreement_within(snapshot, t_ns, t_ns)

    def disagreement_within(self, snapshot: Snapshot, earliest_ns: int, latest_ns: int) -> str | None:
        """What is wrong with this register; None when it is right at some time between these two."""
        if self.register >= len(snapshot.pulses):
            return f"S0 register {self.register} is missing"
        least = self.signal.pulses_until(
            earliest_ns - self.began_ns - PULSE_COUNT_DELAY_NS - self.uncertainty_ns
        )
        most = self.signal.pulses_until(latest_ns - self.began_ns + self.uncertainty_ns)
        found = snapshot.pulses[self.register]
        if least <= found <= most:
            return None
        between = "or" if most == least + 1 else "to"
        expected = f"{most}" if least == most else f"{least} {between} {most}"
        return f"S0 register {self.register} is {found}, but {expected} pulses were played"

    def possible_ns(self, snapshot: Snapshot) -> tuple[int | None, int | None]:
        """From when until when this register, being right, can have been what it is."""
        count, starts_ns = snapshot.pulses[self.register], self.signal.starts_ns
        since_ns, until_ns = None, None
        if count:
            since_ns = self.began_ns + int(starts_ns[count - 1]) - self.uncertainty_ns
        if count < len(starts_ns):
            until_ns = self.began_ns + int(starts_ns[count]) + PULSE_COUNT_DELAY_NS + self.uncertainty_ns
        return since_ns, until_ns


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a measured value may lie from the true one: a share of it, plus a part in its own unit."""

    permille: int
    absolute: int

    def around(self, least: int, most: int) -> tuple[int, int]:
        """The span in which a value is accepted that truly lay between these two."""
        below = abs(least) * self.permille // 1000 + self.absolute
        above = abs(most) * self.permille // 1000 + self.absolute
        return least - below, most + above


# firmware/README.md states 0.1 % of voltage, 0.2 % of current and of apparent power. These allow for a clock
# that is 0.5 % off, and for rows that change within a burst.
VOLTAGE_CV = Tolerance(permille=2, absolute=20)
CURRENT_CA = Tolerance(permille=5, absolute=5)
POWER_DW = Tolerance(permille=5, absolute=50)
ENERGY_DWH = Tolerance(permille=10, absolute=10)


@dataclass(frozen=True, slots=True)
class MainsTruth:
    """One AC channel: voltage, current and power must lie where they were meanwhile, energy at its sum."""

    register: int
    signal: MainsSignal
    began_ns: int
    interval_ns: int

    def disagreement(self, snapshot: Snapshot, t_ns: int) -> str | None:
        """What is wrong with this channel's registers at world time `t_ns`; None when they are right."""
        return self.disagreement_within(snapshot, t_ns, t_ns)

    def disagreement_within(self, snapshot: Snapshot, earliest_ns: int, latest_ns: int) -> str | None:
        """What is wrong with this channel's registers; None when they are right between these two times."""
        if self.register >= len(snapshot.alternating_current):
            return f"AC channel {self.register} is missing"
        found = snapshot.alternating_current[self.register]
        elapsed_ns = latest_ns - self.began_ns
        began_ns = max(0, earliest_ns - self.began_ns - self.interval_ns)
        states = [
            self.signal.state_at(at_ns) for at_ns in (*range(began_ns, elapsed_ns, NS_PER_S), elapsed_ns)
        ]
        if elapsed_ns < 0:
            return None
        energies_dwh = [
            self.signal.import_energy_mwh(max(0, t_ns - self.began_ns)) // 100
            for t_ns in (earliest_ns, latest_ns)
        ]
        checks = (
            ("voltage", "cV", VOLTAGE_CV, found.voltage_cv, [state.voltage_mv // 10 for state in states]),
            ("current", "cA", CURRENT_CA, found.current_ca, [state.current_ma // 10 for state in states]),
            ("power", "dW", POWER_DW, found.power_dw, [state.power_mw // 100 for state in states]),
            ("energy", "dWh", ENERGY_DWH, found.energy_dwh, energies_dwh),
        )
        for what, unit, tolerance, measured, true in checks:
            least, most = tolerance.around(min(true), max(true))
            if not least <= measured <= most:
                return f"AC channel {self.register}: {what} is {measured} {unit}, expected {least} to {most}"
        return None

    def possible_ns(self, snapshot: Snapshot) -> tuple[int | None, int | None]:  # noqa: ARG002  # as truths of pulses
        """Measured values are too coarse to tell a time."""
        return None, None
