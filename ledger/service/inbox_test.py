from __future__ import annotations

import select
import threading

from ledger.messages import FromPeer, Tick
from ledger.service.inbox import Delivery, Inbox


def test_it_can_be_waited_for_until_it_is_empty() -> None:
    inbox = Inbox()

    def readable() -> bool:
        return bool(select.select([inbox], [], [], 0)[0])

    assert not readable()
    assert inbox.take(5) == []
    for _ in range(3):
        inbox.post(Tick())
    assert readable()
    assert inbox.take(2) == [Delivery(Tick(), None)] * 2
    assert readable()
    assert len(inbox.take(2)) == 1
    assert not readable()
    inbox.wake()
    assert readable()
    assert inbox.take(1) == []
    inbox.close()


def test_posts_of_many_threads_arrive_once_each_in_each_ones_order() -> None:
    inbox = Inbox()

    def post(name: str) -> None:
        for number in range(500):
            inbox.post(FromPeer(name, number.to_bytes(2, "big")))

    threads = [threading.Thread(target=post, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    found: dict[str, list[int]] = {name: [] for name in "abc"}
    while sum(map(len, found.values())) < 1500:
        assert select.select([inbox], [], [], 30)[0]
        for delivery in inbox.take(7):
            assert isinstance(delivery.message, FromPeer)
            found[delivery.message.peer].append(int.from_bytes(delivery.message.payload, "big"))
    for thread in threads:
        thread.join()
    assert all(numbers == list(range(500)) for numbers in found.values())
    inbox.close()
