import threading

import pytest

from nuclei.io.parallel import map_ahead


def test_results_come_in_order():
    assert list(map_ahead(lambda number: number * 2, range(50), workers=3, ahead=4)) == list(range(0, 100, 2))
    assert list(map_ahead(str, [])) == []


def test_no_more_than_ahead_are_begun():
    begun = []
    results = map_ahead(lambda number: begun.append(number) or number, range(100), workers=2, ahead=5)
    assert next(results) == 0
    assert len(begun) <= 6  # those ahead, and one in the place of the result that was taken
    assert list(results) == list(range(1, 100))


def test_an_error_comes_out_in_its_place_and_ends_the_work():
    begun = threading.Event()

    def fail_at_three(number):
        if number == 3:
            raise ValueError("three")
        if number == 99:
            begun.set()
        return number

    results = map_ahead(fail_at_three, range(100), workers=2, ahead=8)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert not begun.is_set()
