"""The next is made while one is used."""

import threading

import pytest

from deadpixel.ahead import ahead


def test_items_come_in_order_and_all_of_them():
    assert [*ahead(range(5))] == [0, 1, 2, 3, 4]
    assert [*ahead([])] == []
    assert [*ahead([None, 0, ()])] == [None, 0, ()]


def test_the_next_is_made_while_one_is_used_and_no_more():
    made = [threading.Event() for _ in range(4)]

    def items():
        for number, event in enumerate(made):
            event.set()
            yield number

    coming = ahead(items())
    assert next(coming) == 0
    assert made[1].wait(10)
    assert not made[2].wait(0.05)
    coming.close()


def test_what_fails_is_raised_after_the_items_before_it():
    def items():
        yield 1
        raise ValueError("two")

    coming = ahead(items())
    assert next(coming) == 1
    with pytest.raises(ValueError, match="two"):
        next(coming)
