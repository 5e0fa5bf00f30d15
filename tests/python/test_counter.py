# SPDX-License-Identifier: Apache-2.0
import builtins
import threading

import pytest

import forebay

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)


def test_an_absent_key_counts_as_initial(cache):
    assert cache.incr("a") == 1
    assert cache.incr("b", 5) == 5
    assert cache.incr("c", 5, initial=100) == 105
    assert cache.decr("d") == -1
    assert cache.decr("e", 5, initial=100) == 95


def test_a_present_key_ignores_initial(cache):
    cache["n"] = 10
    assert cache.incr("n", initial=1000) == 11
    assert cache.decr("n", 2, initial=1000) == 9
    assert cache["n"] == 9


def test_set_and_incr_work_on_the_same_ints(cache):
    for value in (0, -1, INT64_MAX - 1, INT64_MIN):
        cache["n"] = value
        assert cache.incr("n") == value + 1
        assert cache["n"] == value + 1
    cache.set_many({"n": 41})
    assert cache.incr("n") == 42
    assert cache.get_many(["n"]) == {"n": 42}


def test_delta_may_be_negative_or_zero(cache):
    assert cache.incr("n", -3) == -3
    assert cache.incr("n", 0) == -3
    assert cache.decr("n", -3) == 0


@pytest.mark.parametrize("value", ["1", b"1", 1.0, None, True, [1], 2**63, 10**40])
def test_another_value_is_a_type_mismatch_and_stays(cache, value):
    cache["n"] = value
    for call in (cache.incr, cache.decr):
        with pytest.raises(forebay.TypeMismatchError) as caught:
            call("n")
        assert isinstance(caught.value, TypeError)
    assert cache["n"] == value
    assert type(cache["n"]) is type(value)


@pytest.mark.parametrize(
    ("start", "delta"), [(INT64_MAX, 1), (INT64_MIN, -1), (INT64_MAX, INT64_MAX), (INT64_MIN, INT64_MIN)]
)
def test_a_result_beyond_64_bits_is_an_overflow_and_changes_nothing(cache, start, delta):
    cache["n"] = start
    with pytest.raises(forebay.OverflowError) as caught:
        cache.incr("n", delta)
    assert isinstance(caught.value, builtins.OverflowError)
    assert cache["n"] == start
    with pytest.raises(forebay.OverflowError):
        cache.incr("absent", delta, initial=start)
    assert "absent" not in cache


@pytest.mark.parametrize("delta", [2**63, -(2**63) - 1, 10**30])
def test_a_delta_beyond_64_bits_is_an_overflow(cache, delta):
    for call in (
        lambda: cache.incr("n", delta),
        lambda: cache.decr("n", delta),
        lambda: cache.incr("n", initial=delta),
    ):
        with pytest.raises(builtins.OverflowError):
            call()
    assert "n" not in cache


def test_decr_by_the_smallest_int_is_an_overflow(cache):
    with pytest.raises(builtins.OverflowError):
        cache.decr("n", INT64_MIN)


@pytest.mark.parametrize("delta", ["1", 1.0, None, [1]])
def test_a_delta_of_another_type_is_a_type_error(cache, delta):
    with pytest.raises(TypeError):
        cache.incr("n", delta)
    with pytest.raises(TypeError):
        cache.incr("n", initial=delta)
    assert "n" not in cache


def test_incr_refuses_wrong_arguments(cache):
    for call in (
        lambda: cache.incr(),
        lambda: cache.incr("n", 1, 2),
        lambda: cache.incr("n", by=1),
        lambda: cache.incr(key="n"),
    ):
        with pytest.raises(TypeError):
            call()


def test_increments_of_threads_add_up(cache):
    def work():
        for _ in range(5000):
            cache.incr("n")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache["n"] == 20_000
