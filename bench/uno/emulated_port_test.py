"""The ports of an emulated board, met by pyserial and bare descriptors as a host meets them."""

import os
import select
import socket
import time

import serial

from bench.uno.conftest import KEY, Desk, firmware, programmed
from bench.uno.provisioning import Provisioning
from bench.world.patience import until

PATIENCE_S = 60
PROVISIONED = Provisioning(uno_id=7, key=KEY, interval_s=1)


def resets(desk: Desk) -> int:
    return len(desk.of("reset"))


def wait_for_resets(desk: Desk, number: int) -> None:
    until(lambda: resets(desk) == number, PATIENCE_S)


def opened(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_NOCTTY)


def read_until(descriptor: int, ending: bytes) -> bytes:
    read = b""
    while not read.endswith(ending):
        assert select.select([descriptor], [], [], PATIENCE_S)[0], f"only {read!r} came"
        read += os.read(descriptor, 1000)
    return read


def test_each_opening_of_the_pty_resets_and_a_second_holder_does_not(desk: Desk) -> None:
    board = desk.running()
    path = board.port
    for number in range(1, 6):
        first = opened(path)
        second = opened(path)
        wait_for_resets(desk, number)
        os.close(first)
        desk.world.call(lambda: None)
        assert board.dtr
        os.close(second)
        until(lambda: not board.dtr, PATIENCE_S)
    assert resets(desk) == 5
    assert board.port == path


def test_a_quick_closing_and_opening_is_not_missed(desk: Desk) -> None:
    board = desk.running()
    descriptor = opened(board.port)
    wait_for_resets(desk, 1)
    os.close(descriptor)
    descriptor = opened(board.port)
    wait_for_resets(desk, 2)
    os.close(descriptor)


def test_the_port_outlives_power_and_an_open_one_at_power_on_is_no_reset(desk: Desk) -> None:
    board = desk.running(programmed(firmware(), PROVISIONED))
    board.power_off()
    descriptor = opened(board.port)
    os.write(descriptor, b"into the void")
    desk.power_on(board)
    until(lambda: len(desk.of("boot")) >= 1, PATIENCE_S)
    read_until(descriptor, b"registers new\r\n")
    assert resets(desk) == 0
    os.close(descriptor)


def test_the_boot_loader_answers_after_a_reset_also_of_a_board_that_has_faulted(desk: Desk) -> None:
    board = desk.running()
    until(lambda: bool(desk.of("fault")), PATIENCE_S)
    descriptor = opened(board.port)
    wait_for_resets(desk, 1)
    time.sleep(0.2)  # its start-up
    os.write(descriptor, b"\x30\x20")  # STK_GET_SYNC, CRC_EOP (AVR061)
    assert read_until(descriptor, b"\x10") == b"\x14\x10"
    os.close(descriptor)


def test_what_nobody_reads_is_not_for_the_next_one(desk: Desk) -> None:
    board = desk.running(programmed(firmware(), PROVISIONED))
    until(lambda: bool(desk.of("boot")), PATIENCE_S)  # it has greeted an empty room
    descriptor = opened(board.port)
    assert read_until(descriptor, b"provisioning\r\n") == b"uno ready for provisioning\r\n"
    os.close(descriptor)


def test_rfc2217_resets_by_dtr_alone(desk: Desk) -> None:
    board = desk.running(programmed(firmware(), PROVISIONED))
    url = board.serve("rfc2217")
    with serial.serial_for_url(url, 115_200, timeout=PATIENCE_S) as port:
        wait_for_resets(desk, 1)
        for number in range(2, 4):
            port.dtr = False
            port.rts = number == 2
            desk.world.call(lambda: None)
            assert resets(desk) == number - 1
            port.dtr = True
            wait_for_resets(desk, number)
        assert port.read_until(b"provisioning\r\n").endswith(b"uno ready for provisioning\r\n")
    with serial.serial_for_url(url, 115_200, timeout=PATIENCE_S):
        wait_for_resets(desk, 4)


def test_a_bare_socket_resets_when_it_connects(desk: Desk) -> None:
    board = desk.running(programmed(firmware(), PROVISIONED))
    url = board.serve("socket")
    for number in (1, 2):
        with serial.serial_for_url(url, 115_200, timeout=PATIENCE_S) as port:
            wait_for_resets(desk, number)
            assert port.read_until(b"provisioning\r\n") == b"uno ready for provisioning\r\n"


def test_a_second_client_is_turned_away(desk: Desk) -> None:
    board = desk.running()
    host, _, port = board.serve("socket").removeprefix("socket://").partition(":")
    with socket.create_connection((host, int(port))):
        wait_for_resets(desk, 1)
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as second:
            assert second.recv(10) == b""
    assert resets(desk) == 1


def test_a_pulled_cable_is_an_end_of_file(desk: Desk) -> None:
    board = desk.running()
    descriptor = opened(board.port)
    board.close()
    assert os.read(descriptor, 10) == b""
    os.close(descriptor)
