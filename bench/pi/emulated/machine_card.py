"""A machine's card: a file of its own made from the image, and the process that serves it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from bench.pi.emulated.card import CardTraffic, PowerCut
from bench.pi.emulated.card_server import DISCARD, KEEP
from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from pathlib import Path

    from bench.pi.emulated.image import PiImage

CARD_FILE = "card.raw"


class CardDrive:
    """A card being served at a Unix socket. The first of a folder is made from the image."""

    def __init__(self, seat: str, image: PiImage, folder: Path, socket_path: Path, *, kept: bool) -> None:
        self._seat = seat
        self._folder = folder
        card = folder / CARD_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not card.exists():
                _copy(image.card, card)
        except (OSError, subprocess.CalledProcessError) as error:
            raise InfrastructureError(
                seat, f"its card cannot be made in {folder} ({error})", "make room there, 2 GB at most"
            ) from error
        self._server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "bench.pi.emulated.card_server",
                str(card),
                str(socket_path),
                KEEP if kept else DISCARD,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            greeting = self._answer()
            if "error" in greeting:
                raise InfrastructureError(seat, f"its card {card}: {greeting['error']}", "use another folder")
        except BaseException:
            self._end()
            raise

    def traffic(self) -> CardTraffic:
        """What was asked of the card since it is served."""
        return CardTraffic(**self._asked("traffic"))

    def cut_power(self, seed: int) -> PowerCut:
        """Lose the cache but for a random part of it, and end. The emulator must be gone by then."""
        try:
            answer = self._asked(f"cut {seed}")
        finally:
            self._end()
        return PowerCut(**answer | {"traffic": CardTraffic(**answer["traffic"])})

    def release(self) -> None:
        """Make everything durable, and end."""
        try:
            self._asked("release")
        finally:
            self._end()

    def _asked(self, command: str) -> dict[str, Any]:
        assert self._server.stdin is not None
        try:
            self._server.stdin.write(f"{command}\n".encode())
            self._server.stdin.flush()
        except OSError as error:
            raise self._lost() from error
        answer = self._answer()
        if "error" in answer:
            raise InfrastructureError(
                self._seat,
                f"its card cannot be written ({answer['error']})",
                f"make room in {self._folder}, 2 GB at most",
            )
        return answer

    def _answer(self) -> dict[str, Any]:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        if not line:
            raise self._lost()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _lost(self) -> InfrastructureError:
        return InfrastructureError(
            self._seat,
            "the process that serves its card has ended",
            "see whether memory ran out",
            retry_helps=True,
        )

    def _end(self) -> None:
        with self._server:
            assert self._server.stdin is not None
            # A server that is gone has not taken the last command.
            with contextlib.suppress(OSError):
                self._server.stdin.close()


def _copy(image: Path, card: Path) -> None:
    """Under another name first, so that a card is whole or absent; holes stay holes.

    Nobody else may read it: it holds the private half of the host key.
    """
    part = card.with_suffix(".part")
    part.touch(mode=0o600)
    subprocess.run(
        ["cp", "--reflink=auto", "--sparse=always", "--no-preserve=mode", str(image), str(part)],
        check=True,
        capture_output=True,
    )
    part.rename(card)
