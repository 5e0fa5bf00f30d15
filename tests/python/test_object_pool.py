# SPDX-License-Identifier: Apache-2.0
"""ObjectPool: costly objects, used again."""

import contextlib
import gc
import logging
import threading
import weakref

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

import forebay
from forking import fork_to_run, wait_for


class Tool:
    def __init__(self):
        self.log = []

    def reset(self):
        self.log.append("reset")

    def close(self):
        self.log.append("close")


def figures(pool, *names):
    stats = pool.stats()
    return tuple(stats[name] for name in names)


def failing(error):
    def hook(*_):
        raise error

    return hook


# ---- borrowing ----


def test_an_object_is_used_again_the_last_one_first():
    with forebay.ObjectPool(Tool) as pool:
        with pool.borrow() as first, pool.borrow() as second:
            assert first is not second and figures(pool, "in_use", "idle", "created") == (2, 0, 2)
        with pool.borrow() as third:
            assert third is first  # left last
        a, b, c = pool.acquire(), pool.acquire(), pool.acquire()
        assert a is first and b is second and c not in (a, b)
        for each in (a, c, b):
            pool.release(each)
        assert pool.acquire() is b
        assert figures(pool, "created", "reused", "in_use", "idle") == (3, 4, 1, 2)


def test_at_most_max_size_are_kept_idle_and_the_rest_is_closed():
    pool = forebay.ObjectPool(Tool, close=Tool.close, max_size=2)
    several = [pool.acquire() for _ in range(5)]
    for each in several:
        pool.release(each)
    assert figures(pool, "idle", "dropped", "in_use") == (2, 3, 0)
    assert [each.log for each in several] == [[], [], ["close"], ["close"], ["close"]]
    none = forebay.ObjectPool(Tool, max_size=0)
    with none.borrow():
        pass
    assert figures(none, "idle", "dropped") == (0, 1)


def test_an_object_ends_after_max_uses():
    pool = forebay.ObjectPool(Tool, close=Tool.close, reset=Tool.reset, max_uses=3)
    seen = []
    for _ in range(4):
        with pool.borrow() as tool:
            seen.append(tool)
    assert seen[0] is seen[1] is seen[2] is not seen[3]
    assert seen[0].log == ["reset", "reset", "close"]  # no reset of what is dropped


def test_many_in_use_at_once_are_all_known():
    pool = forebay.ObjectPool(Tool, max_size=1000)
    several = [pool.acquire() for _ in range(1000)]
    assert len(set(map(id, several))) == 1000
    for each in several[::3] + several[1::3] + several[2::3]:
        pool.release(each)
    assert figures(pool, "in_use", "idle", "lost") == (0, 1000, 0)


def test_a_borrow_is_for_one_block():
    pool = forebay.ObjectPool(Tool)
    borrow = pool.borrow()
    with pytest.raises(forebay.PoolError, match="did not begin"):
        borrow.__exit__(None, None, None)
    with borrow:
        with pytest.raises(forebay.PoolError, match="for one `with` block"):
            borrow.__enter__()
    with pytest.raises(forebay.PoolError, match="for one `with` block"):
        with borrow:
            pass
    with pytest.raises(TypeError):
        type(borrow)()
    assert figures(pool, "in_use", "idle", "created") == (0, 1, 1)


# ---- errors ----


def test_an_exception_in_the_block_drops_the_object():
    pool = forebay.ObjectPool(Tool, reset=Tool.reset, close=Tool.close)
    with pytest.raises(KeyError), pool.borrow() as tool:
        raise KeyError
    assert tool.log == ["close"] and figures(pool, "idle", "dropped", "in_use") == (0, 1, 0)


def test_keep_after_error_leaves_it_to_reset():
    pool = forebay.ObjectPool(Tool, reset=Tool.reset, keep_after_error=True)
    with pytest.raises(KeyError), pool.borrow() as tool:
        raise KeyError
    assert tool.log == ["reset"] and pool.acquire() is tool


def test_a_reset_that_raises_drops_the_object_and_is_logged(caplog):
    pool = forebay.ObjectPool(Tool, reset=failing(RuntimeError("no way back")), close=Tool.close)
    with pool.borrow() as tool:
        pass
    pool.release(pool.acquire())
    assert tool.log == ["close"] and figures(pool, "idle", "dropped", "hook_errors") == (0, 2, 2)
    record = caplog.records[0]
    assert record.name == "forebay.pool" and record.levelno == logging.WARNING and record.exc_info[0] is RuntimeError
    assert "reset() of a pool failed with RuntimeError('no way back'): the Tool is dropped" in record.getMessage()


def test_a_close_that_raises_is_logged(caplog):
    pool = forebay.ObjectPool(Tool, close=failing(OSError("gone")), max_size=0)
    with pool.borrow():
        pass
    assert "close() of a pool failed" in caplog.text and figures(pool, "dropped", "hook_errors") == (1, 1)


def test_a_log_that_fails_harms_nobody(monkeypatch):
    unraisable = []
    monkeypatch.setattr("sys.unraisablehook", unraisable.append)
    monkeypatch.setattr("forebay._pool_log.hook_failed", failing(ValueError("log")))
    pool = forebay.ObjectPool(Tool, reset=failing(RuntimeError))
    pool.release(pool.acquire())
    assert [str(each.exc_value) for each in unraisable] == ["log"] and figures(pool, "in_use", "dropped") == (0, 1)


@pytest.mark.parametrize("hook", ["reset", "close"])
def test_ctrl_c_in_a_hook_is_raised_and_the_object_is_gone(hook):
    pool = forebay.ObjectPool(Tool, max_size=0 if hook == "close" else 8, **{hook: failing(KeyboardInterrupt)})
    with pytest.raises(KeyboardInterrupt):
        with pool.borrow():
            pass
    tool = pool.acquire()
    with pytest.raises(KeyboardInterrupt):
        pool.release(tool)
    assert figures(pool, "in_use", "idle", "dropped") == (0, 0, 2)


def test_what_create_raises_is_the_caller_s():
    pool = forebay.ObjectPool(failing(ConnectionError("down")))
    with pytest.raises(ConnectionError, match="down"):
        pool.acquire()
    borrow = pool.borrow()
    for _ in range(2):
        with pytest.raises(ConnectionError), borrow:
            pass
    assert figures(pool, "in_use", "created") == (0, 0)


def test_create_must_make_new_ones():
    tool = Tool()
    pool = forebay.ObjectPool(lambda: tool, close=Tool.close)
    pool.acquire()
    with pytest.raises(forebay.PoolError, match="a new one each time"):
        pool.acquire()
    assert tool.log == [] and figures(pool, "in_use") == (1,)
    pool.release(tool)
    assert pool.acquire() is tool


def test_a_second_or_foreign_return_is_an_error():
    pool, other = forebay.ObjectPool(Tool, max_size=1), forebay.ObjectPool(Tool)
    a, b = pool.acquire(), pool.acquire()
    pool.release(a)
    with pytest.raises(forebay.PoolError, match="the Tool was returned to the pool already"):
        pool.release(a)
    pool.release(b)
    with pytest.raises(forebay.PoolError, match="not of this pool, or was returned already and dropped"):
        pool.release(b)
    with pytest.raises(forebay.PoolError, match="the Tool is not in use"):
        pool.release(other.acquire())
    with pytest.raises(forebay.PoolError, match="the NoneType is not in use"):
        forebay.ObjectPool(Tool).release(None)
    with pytest.raises(forebay.PoolError, match="already"), pool.borrow() as tool:
        pool.release(tool)
    assert figures(pool, "in_use", "idle") == (0, 1)


def test_objects_that_nobody_has_any_more_do_not_gather():
    gone = []
    pool = forebay.ObjectPool(Tool, close=gone.append)
    kept = [pool.acquire() for _ in range(4)]
    for _ in range(100):
        pool.acquire()  # never returned
    in_use, lost = figures(pool, "in_use", "lost")
    assert lost >= 80 and in_use + lost == 104 and len(gone) == lost
    for each in kept:
        pool.release(each)
    assert not any(each in kept for each in gone)


def test_a_close_hook_stopped_by_ctrl_c_on_lost_ones_keeps_the_pool_whole():
    pool = forebay.ObjectPool(Tool, close=failing(KeyboardInterrupt))
    interrupts = 0
    for _ in range(40):
        try:
            pool.acquire()
        except KeyboardInterrupt:
            interrupts += 1
    assert interrupts > 0
    in_use, lost, created, idle = figures(pool, "in_use", "lost", "created", "idle")
    assert in_use + lost + idle <= created


# ---- the end ----


def test_a_closed_pool_drops_what_is_idle_and_what_comes_back():
    pool = forebay.ObjectPool(Tool, close=Tool.close)
    idle, used = pool.acquire(), pool.acquire()
    pool.release(idle)
    pool.close()
    pool.close()
    assert idle.log == ["close"] and used.log == [] and pool.closed and "closed" in repr(pool)
    pool.release(used)
    assert used.log == ["close"] and figures(pool, "in_use", "idle", "dropped") == (0, 0, 2)
    for call in (pool.acquire, pool.borrow().__enter__, pool.__enter__):
        with pytest.raises(forebay.PoolClosedError):
            call()


def test_closing_while_one_is_made_drops_that_one():
    def create():
        pool.close()
        return made

    made = Tool()
    pool = forebay.ObjectPool(create, close=Tool.close)
    with pytest.raises(forebay.PoolClosedError):
        pool.acquire()
    assert made.log == ["close"]


def test_clear_drops_idle_ones_only():
    pool = forebay.ObjectPool(Tool, close=Tool.close)
    idle, used = pool.acquire(), pool.acquire()
    pool.release(idle)
    pool.clear()
    assert idle.log == ["close"] and used.log == [] and not pool.closed
    pool.release(used)
    assert pool.acquire() is used


def test_a_forgotten_pool_closes_its_idle_objects():
    tool = Tool()
    pool = forebay.ObjectPool(lambda: tool, close=Tool.close)
    pool.release(pool.acquire())
    gone = weakref.ref(pool)
    del pool
    assert tool.log == ["close"] and gone() is None


def test_a_pool_in_a_cycle_is_collected():
    class Holder:
        def create(self):
            return Tool()

    holder = Holder()
    holder.pool = forebay.ObjectPool(holder.create, reset=lambda _, holder=holder: None)
    holder.used, idle = holder.pool.acquire(), holder.pool.acquire()
    holder.used.pool = holder.pool
    idle.borrow = holder.pool.borrow()
    holder.pool.release(idle)
    gone = weakref.ref(holder), weakref.ref(holder.used), weakref.ref(idle), weakref.ref(holder.pool)
    del holder, idle
    gc.collect()
    assert [each() for each in gone] == [None] * 4


def test_a_block_in_a_generator_that_is_thrown_away_gives_the_object_back():
    pool = forebay.ObjectPool(Tool, keep_after_error=True)

    def numbers():
        with pool.borrow():
            yield 1

    running = numbers()
    next(running)
    assert figures(pool, "in_use") == (1,)
    del running
    assert figures(pool, "in_use", "idle") == (0, 1)


# ---- arguments ----


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"create": 1}, TypeError, "create must be callable, not int"),
        ({"create": Tool, "reset": "reset"}, TypeError, "reset must be callable or None, not str"),
        ({"create": Tool, "close": 5}, TypeError, "close must be callable or None, not int"),
        ({"create": Tool, "max_size": -1}, ValueError, "max_size must be at least 0, not -1"),
        ({"create": Tool, "max_size": 1.5}, TypeError, "max_size must be an int, not float"),
        ({"create": Tool, "max_size": 2**70}, ValueError, "max_size is too large or too small"),
        ({"create": Tool, "max_uses": 0}, ValueError, "max_uses must be at least 1, not 0"),
        ({"create": Tool, "max_uses": True}, TypeError, "max_uses must be an int, not bool"),
        ({"create": Tool, "maxsize": 1}, TypeError, "maxsize"),
        ({}, TypeError, "create"),
    ],
)
def test_wrong_options_say_what_is_wrong(arguments, error, text):
    with pytest.raises(error, match=text):
        forebay.ObjectPool(**arguments)


def test_it_can_be_written_with_its_type():
    assert str(forebay.ObjectPool[int]) == "forebay.ObjectPool[int]"
    assert repr(forebay.ObjectPool(Tool)) == f"<forebay.ObjectPool of {Tool!r}: 0 in use, 0 idle>"


# ---- processes and threads ----


def test_a_child_has_copies_of_the_idle_objects():
    pool = forebay.ObjectPool(Tool)
    tool = pool.acquire()
    pool.release(tool)

    def child():
        with pool.borrow() as again:
            assert again is tool
            again.log.append("child")

    wait_for(fork_to_run(child))
    assert tool.log == []


def test_a_storm_of_threads_never_shares_an_object():
    wrong, resets = [], []

    def reset(tool):
        if tool.user is not None:
            wrong.append("reset while in use")
        resets.append(tool)

    def create():
        tool = Tool()
        tool.user = None
        return tool

    pool = forebay.ObjectPool(create, reset=reset, max_size=3, max_uses=50)

    def storm(number):
        for round in range(500):
            with contextlib.suppress(KeyError), pool.borrow() as tool:
                if tool.user is not None:
                    wrong.append("shared")
                tool.user = number
                sum(range(50))
                if tool.user != number:
                    wrong.append("shared")
                tool.user = None
                if round % 97 == 0:
                    raise KeyError
            if round % 111 == 0:
                pool.clear()

    threads = [threading.Thread(target=storm, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    in_use, idle, created, dropped = figures(pool, "in_use", "idle", "created", "dropped")
    assert not wrong and resets and in_use == 0 and idle <= 3 and created == idle + dropped


class Objects(RuleBasedStateMachine):
    """Against lists: what is in use, and the stack of what is idle."""

    def __init__(self):
        super().__init__()
        self.closed = []
        self.pool = forebay.ObjectPool(Tool, close=self.closed.append, max_size=3, max_uses=4)
        self.in_use, self.idle, self.uses = [], [], {}

    @rule()
    def acquire(self):
        tool = self.pool.acquire()
        if self.idle:
            assert tool is self.idle.pop()
        else:
            assert id(tool) not in self.uses
        self.uses[id(tool)] = self.uses.get(id(tool), 0) + 1
        self.in_use.append(tool)

    @precondition(lambda self: self.in_use)
    @rule(data=st.data())
    def release(self, data):
        tool = self.in_use.pop(data.draw(st.integers(0, len(self.in_use) - 1)))
        self.pool.release(tool)
        if self.uses[id(tool)] < 4 and len(self.idle) < 3:
            self.idle.append(tool)
        else:
            assert self.closed[-1] is tool

    @precondition(lambda self: self.idle or self.closed)
    @rule(data=st.data())
    def release_again(self, data):
        with pytest.raises(forebay.PoolError):
            self.pool.release(data.draw(st.sampled_from(self.idle + self.closed)))

    @rule()
    def clear(self):
        self.pool.clear()
        assert self.closed[len(self.closed) - len(self.idle) :] == self.idle
        self.idle.clear()

    @invariant()
    def figures_agree(self):
        expected = len(self.in_use), len(self.idle), len(self.closed)
        assert figures(self.pool, "in_use", "idle", "dropped") == expected


@pytest.mark.long
def test_any_order_of_operations_agrees_with_a_model():
    run_state_machine_as_test(Objects, settings=settings(max_examples=150, stateful_step_count=60, deadline=None))
