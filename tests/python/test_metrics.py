# SPDX-License-Identifier: Apache-2.0
"""forebay.metrics.Collector, in real registries; that its figures are those of the command is looked at here, too."""

import asyncio
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.parser import text_string_to_metric_families

import forebay
from forebay.metrics import Collector
from forking import fork_to_run, wait_for

COMMAND = Path(sys.executable).with_name("forebay")


def families(text):
    """{name: (kind, help, {labels: value})} of the text format."""
    return {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type, family.documentation, {tuple(sorted(s.labels.items())): s.value for s in family.samples},
        )
        for family in text_string_to_metric_families(text)
    }  # fmt: skip


def exported(*arenas, **options):
    registry = CollectorRegistry()
    registry.register(Collector(*arenas, **options))
    return families(generate_latest(registry).decode())


def samples(found, name):
    return {tuple(value for _, value in labels): figure for labels, figure in found[name][2].items()}


def test_the_families_and_figures_are_those_of_the_command(arena, path):
    arena.cache("plain", codec=None).set_many({n: n for n in range(10)})
    cache = arena.cache("packed", codec="zstd", share="1MiB", limit="8MiB")
    cache.set_many({n: {"id": n, "text": f"customer {n} of the shop at {n * 7919} Long Street"} for n in range(3000)})
    assert cache.train() or cache.stats()["dictionary"] is not None
    assert cache.get(1) and cache.get("none") is None and cache.delete(2)
    strange = arena.cache('s"\\\n\x1bé')
    strange["key"] = 1
    limit = arena._limit("data\tbase", 3, False)
    permit = limit.take()
    channel = arena._channel("ne\tws")
    listener = channel.claim(1000)
    assert channel.begin(listener) and channel.beat(listener, channel.now())
    arena._channel("silent")
    tiers = arena._tier("red\tis"), arena._tier("memcached")
    assert tiers[0].add("hits", 7) and tiers[0].say(True, True) and tiers[1].say(False, True)
    found = exported(arena)
    done = subprocess.run([COMMAND, "stat", path, "--prometheus"], capture_output=True, text=True, check=True)
    told = families(done.stdout)
    assert found.keys() == told.keys()
    for name, (kind, help, figures) in told.items():
        assert found[name][:2] == (kind, help)
        if name in {"forebay_cache_dictionary_age_seconds", "forebay_channel_age_seconds"}:
            ((labels, age),) = figures.items()
            assert 0 <= found[name][2][labels] <= age < 600
        else:
            assert found[name][2] == figures, name
    assert samples(found, "forebay_limit_permits_held") == {(str(path), "data\\x09base"): 1}
    limit.give_back(permit)
    assert samples(found, "forebay_channel_listeners") == {(str(path), "ne\\x09ws"): 1, (str(path), "silent"): 0}
    channel.leave(listener)
    assert samples(found, "forebay_shared_tier_hits_total") == {(str(path), "red\\x09is"): 7, (str(path), "memcached"): 0}
    assert samples(found, "forebay_shared_tier_left_out") == {(str(path), "red\\x09is"): 1, (str(path), "memcached"): 0}
    assert samples(found, "forebay_shared_tier_not_stored") == {(str(path), "red\\x09is"): 0, (str(path), "memcached"): 1}


def test_several_arenas_are_told_apart_by_their_paths(folder):
    one, two = forebay.open(folder / "one", "1MiB"), forebay.open(folder / "two", "2MiB")
    with one, two:
        (folder / "link").symlink_to("two")
        linked = forebay.open(folder / "link")
        found = exported(one, linked, forebay.open(None, "3MiB"))
        assert samples(found, "forebay_arena_size_bytes") == {
            (str(folder / "one"),): 2**20, (str(folder / "two"),): 2**21, ("anonymous",): 3 * 2**20,
        }  # fmt: skip
        with pytest.raises(ValueError, match="two of the arenas are called"):
            Collector(two, linked)
        linked.close()


def test_an_arena_may_be_opened_by_the_first_scrape(path):
    deferred = forebay.deferred(path, "1MiB")
    registry = CollectorRegistry()
    registry.register(Collector(deferred))
    assert not path.exists()
    assert b"forebay_arena_size_bytes{" in generate_latest(registry) and path.exists()
    deferred.open().close()


def test_describing_looks_at_no_arena_and_names_what_is_collected(arena):
    pool = forebay.Pool(object, min_size=0)
    collector = Collector(arena, pools=[pool], more=[Tier("a")])
    described = [(family.name, family.type, family.documentation) for family in collector.describe()]
    assert not any(family.samples for family in collector.describe())
    assert described == [(family.name, family.type, family.documentation) for family in collector.collect()]
    arena.close()
    assert len(list(collector.describe())) == len(described)
    pool.close()


def test_two_collectors_of_arenas_are_refused_by_a_registry(arena):
    registry = CollectorRegistry()
    registry.register(Collector(arena))
    registry.register(Collector(pools=[forebay.Pool(object, min_size=0, name="a")]))  # of other names
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(Collector(arena))


def test_a_closed_arena_makes_the_scrape_fail(arena):
    collector = Collector(arena)
    arena.close()
    with pytest.raises(forebay.ClosedError):
        list(collector.collect())


def test_a_server_answers_with_them(arena):
    arena.cache("users")["key"] = 1
    registry = CollectorRegistry()
    registry.register(Collector(arena))
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert samples(families(text), "forebay_cache_sets_total") == {(arena.path, "users"): 1}


def test_the_child_of_a_fork_collects(arena):
    collector = Collector(arena)

    def child():
        arena.cache("c")["key"] = 1
        (sets,) = [family for family in collector.collect() if family.name == "forebay_cache_sets"]
        assert [sample.value for sample in sets.samples] == [1]

    wait_for(fork_to_run(child))


# ---- pools


def test_pools_have_their_figures_in_seconds(arena):
    with forebay.Pool(object, min_size=1, max_size=4, name='da"ta') as pool:
        pool.wait()
        first = pool.getconn()
        with pool.connection():
            found = exported(pools=[pool])
        pool.putconn(first)
        stats = pool.get_stats()
    names = {
        "pool_min": "min_size", "pool_max": "max_size", "pool_size": "size", "requests_waiting": "requests_waiting",
        "requests_num": "requests_total", "requests_queued": "requests_queued_total", "requests_errors": "requests_errors_total",
        "returns_bad": "returns_bad_total", "connections_num": "connections_total",
        "connections_errors": "connections_errors_total", "connections_lost": "connections_lost_total",
    }  # fmt: skip
    assert {key: samples(found, f"forebay_pool_{name}") for key, name in names.items()} == {
        key: {('da"ta',): stats[key]} for key in names
    }
    rest = {"available", "requests_wait_seconds_total", "usage_seconds_total", "connections_seconds_total"}
    assert found.keys() == {f"forebay_pool_{name}" for name in {*names.values(), *rest}}
    assert stats.keys() - names.keys() == {"pool_available", "requests_wait_ms", "usage_ms", "connections_ms"}
    assert samples(found, "forebay_pool_available") == {('da"ta',): 0}


def test_milliseconds_become_seconds():
    found = exported(pools={"made up": lambda: {"usage_ms": 1500, "requests_wait_ms": 20, "pool_size": 3}})
    assert samples(found, "forebay_pool_usage_seconds_total") == {("made up",): 1.5}
    assert samples(found, "forebay_pool_requests_wait_seconds_total") == {("made up",): 0.02}
    assert samples(found, "forebay_pool_size") == {("made up",): 3}
    assert samples(found, "forebay_pool_available") == {}  # not told


def test_pools_for_asyncio_have_theirs():
    async def create():
        return object()

    async def main():
        async with forebay.AsyncPool(create, min_size=1, name="tasks") as pool:
            async with pool.connection():
                return exported(pools=[pool])

    assert samples(asyncio.run(main()), "forebay_pool_requests_total") == {("tasks",): 1}


def test_pools_of_drivers_have_theirs(tmp_path):
    from forebay.pools.sqlite3 import ConnectionPool

    with ConnectionPool(tmp_path / "database", name="sqlite") as pool:
        with pool.connection() as connection:
            connection.execute("SELECT 1")
        found = exported(pools=[pool])
    assert samples(found, "forebay_pool_requests_total") == {("sqlite",): 1}


def test_pools_of_one_name_are_refused():
    pools = [forebay.Pool(object, min_size=0, name="same") for _ in range(2)]
    with pytest.raises(ValueError, match="two of the pools are called 'same'"):
        Collector(pools=pools)
    assert samples(exported(pools=dict(zip("ab", pools))), "forebay_pool_size") == {("a",): 0, ("b",): 0}


# ---- what has figures of its own


class Tier:
    def __init__(self, name, hits=None):
        self.name = name
        self.hits = hits

    def metrics(self):
        samples = [] if self.hits is None else [({"tier": self.name}, self.hits)]
        yield "forebay_tier_hits_total", "counter", "Keys that a tier had.", samples
        yield "forebay_tier_open", "gauge", "1: the tier is used.", [({"tier": self.name, "node": "1"}, 1.5)]


def test_others_may_add_families_and_share_them(arena):
    found = exported(arena, more=[Tier("redis", 3), Tier("memcached", 5), Tier("none")])
    assert found["forebay_tier_hits_total"] == (
        "counter", "Keys that a tier had.", {(("tier", "redis"),): 3, (("tier", "memcached"),): 5},
    )  # fmt: skip
    assert samples(found, "forebay_tier_open") == {("1", "redis"): 1.5, ("1", "memcached"): 1.5, ("1", "none"): 1.5}
    assert "forebay_arena_size_bytes" in found


@pytest.mark.parametrize(
    "family", [("forebay_x", "counter", "X.", ()), ("forebay_x_total", "gauge", "X.", ()), ("forebay_x", "histogram", "X.", ())]
)
def test_families_of_another_kind_are_refused(family):
    class Wrong:
        def metrics(self):
            return [family]

    collector = Collector(more=[Wrong()])
    with pytest.raises(ValueError, match="gauges, and counters, whose names end in _total"):
        list(collector.collect())


# ---- the package is the user's own


def run_python(code, *arguments, **environment):
    code = f"import sys; sys.path[:] = {sys.path!r}\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, env=os.environ | environment, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_packages_are_not_imported_before_they_are_used():
    assert run_python("""
import forebay.metrics
print([name for name in sys.modules if name.startswith(("prometheus_client", "opentelemetry"))])
""") == "[]\n"


def test_without_the_packages_the_error_says_what_to_install():
    assert run_python("""
sys.modules["prometheus_client"] = sys.modules["opentelemetry"] = None
import forebay.metrics
for call in (forebay.metrics.Collector, forebay.metrics.trace):
    try:
        call()
    except ImportError as error:
        print(error.name, "|", error)
forebay.metrics.trace(False)
""").splitlines() == [
        "prometheus_client | forebay.metrics.Collector needs prometheus_client, which is not installed: "
        "pip install 'forebay[prometheus]'",
        "opentelemetry | forebay.metrics.trace() needs opentelemetry-api, which is not installed: "
        "pip install 'forebay[opentelemetry]'",
    ]


WORKERS = """
import os, forebay, forebay.metrics
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

arena = forebay.open(sys.argv[1])
requests = Counter("requests", "Requests.")

def work():
    requests.inc()
    arena.cache("c").set(os.getpid(), 1)

for _ in range(3):
    if (child := os.fork()) == 0:
        work()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
work()

def metrics():  # what any worker answers to a scrape
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    registry.register(forebay.metrics.Collector(arena))
    return generate_latest(registry).decode()

if (child := os.fork()) == 0:
    print(metrics(), end="", flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("# EOF", flush=True)
print(metrics(), end="")
"""


def test_with_several_workers_whichever_answers_tells_of_the_machine_once(arena, tmp_path):
    """As gunicorn's workers with PROMETHEUS_MULTIPROC_DIR: counters of the package are added up, the arena's are not."""
    child, parent = run_python(WORKERS, arena.path, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)).split("# EOF\n")
    for text in (child, parent):
        found = families(text)
        assert samples(found, "requests_total") == {(): 4}
        assert samples(found, "forebay_cache_sets_total") == {(arena.path, "c"): 4}
