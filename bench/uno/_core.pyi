"""The compiled core: cffi's two objects for core/face.h. Their types are in atmega328p.py, the only user."""

from typing import Any

ffi: Any
lib: Any
