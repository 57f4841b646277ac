"""The compiled core: cffi's two objects, for core/face.h. Typed in atmega328p.py, where every call goes through."""

from typing import Any

ffi: Any
lib: Any
