"""The doctor: tells what is present, what is missing, and how to get it. It changes nothing."""

from bench.doctor.diagnosis import diagnose
from bench.doctor.finding import Finding, State, render

__all__ = ["Finding", "State", "diagnose", "render"]
