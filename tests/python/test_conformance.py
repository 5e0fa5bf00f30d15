# SPDX-License-Identifier: Apache-2.0
"""forebay.testing.conformance: Forebay passes, and what is broken is found out."""

import json
import multiprocessing.resource_tracker
import os
import pickle
import subprocess
import sys
from pathlib import Path

import file_cache
import forebay
import pytest
from forebay.testing import conformance
from forebay.testing.conformance import Settings
from forebay.testing.conformance.peers import PEERS

pytestmark = pytest.mark.long

ROUNDS = 1000 if "FOREBAY_SOAK" in os.environ else 1
SMALL = Settings(rounds=1, processes=4, threads=4, budget_bytes=4 << 20, value_bytes=64 << 10, load_timeout=1.0)
CHECKS = {check.name: check for check in conformance.checks()}
READS_AND_WRITES = {name for name, check in CHECKS.items() if not check.needs}

LOADING = {name for name, check in CHECKS.items() if conformance.LOAD in check.needs}
SHARED = "what_one_process_sets_or_deletes_all_others_see"
EXPIRED = "an_expired_value_is_served_by_no_process"
ONE_LOAD = "many_callers_of_a_missing_key_are_one_load"
KILLED = "a_killed_loader_is_replaced_at_once"
STOPPED = "a_stopped_loader_is_overtaken_and_its_late_value_is_not_stored"
RAISES = "a_loader_that_raises_is_an_error_for_all_who_wait_and_the_next_call_loads_again"
DELETED = "a_key_deleted_during_its_load_is_loaded_anew"
ASKED = "who_asks_after_a_deletion_does_not_get_a_load_from_before"
SET = "a_value_set_during_a_load_stays"
DEADLINE = "a_caller_waits_no_longer_than_it_said_and_the_load_goes_on"
FORKED = "forked_children_use_the_cache_that_their_parent_filled_and_outlive_it"
TORN = "a_value_read_is_whole_and_was_written_for_that_key"
BUDGET = "the_cache_never_takes_more_than_its_budget"
WRITER_KILLED = "values_outlive_a_writer_killed_in_the_midst_of_writing"
WRITER_STOPPED = "a_writer_that_is_stopped_does_not_stop_the_others"


def run(factory, names=CHECKS, **settings):
    """Names of the checks that failed, with what was seen."""
    outcomes = conformance.run(factory, checks=[CHECKS[name] for name in names], settings=Settings(**(vars(SMALL) | settings)))
    assert [outcome.check for outcome in outcomes] == list(names)
    return {outcome.check: outcome.seen for outcome in outcomes if outcome.status == "failed"}


def test_forebay_passes():
    with PEERS["forebay"](Settings()) as (factory, version):
        outcomes = conformance.run(factory, settings=Settings(rounds=2 * ROUNDS, load_timeout=1.0))
        assert version == f"Forebay {forebay.__version__}"
    assert [(one.check, one.seen) for one in outcomes if one.status != "passed"] == []
    assert {one.check: one for one in outcomes}[ONE_LOAD].figures["loads"] == 2 * ROUNDS


def test_a_cache_that_does_what_it_should_passes():
    assert run(file_cache.FileCache) == {}


@pytest.mark.parametrize(
    ("broken", "failures", "others"),
    [
        ("LoadsForEachProcess", {ONE_LOAD, KILLED, STOPPED, DELETED, ASKED, SET, DEADLINE, FORKED}, {RAISES, SHARED}),
        ("WaitsForTheDead", {KILLED}, LOADING - {KILLED}),
        ("NeverOvertakes", {STOPPED}, {KILLED, ONE_LOAD}),
        ("KeepsLateValues", {STOPPED, DELETED, ASKED, SET}, {ONE_LOAD, KILLED, RAISES}),
        ("KeepsFailures", {RAISES}, {ONE_LOAD}),
        ("AnswersFailuresWithNothing", {RAISES}, {ONE_LOAD}),
        ("IgnoresDeadlines", {DEADLINE}, {ONE_LOAD}),
        ("Torn", {TORN}, {SHARED, FORKED}),
        ("MixesKeysUp", {TORN}, {WRITER_KILLED}),
        ("TakesWhatItWants", {BUDGET}, {SHARED}),
        ("StoresNothingWhenFull", {BUDGET}, {SHARED}),
        ("LivesForEver", {EXPIRED}, {SHARED}),
        ("IsOfOneProcess", {SHARED, WRITER_KILLED, FORKED, ONE_LOAD}, {RAISES}),
        ("IsClosedByFork", {FORKED}, {SHARED}),
        ("WritesUnderALock", {WRITER_STOPPED}, {WRITER_KILLED, SHARED}),
        ("DiesWithItsWriter", {WRITER_KILLED}, {SHARED}),
    ],
)
def test_a_broken_cache_fails_the_checks_it_should_and_no_others(broken, failures, others):
    patience = 4.0 if DEADLINE in failures or broken == "NeverOvertakes" else 30.0  # they do hang
    found = run(getattr(file_cache, broken), sorted(failures | others), patience=patience, pause_limit=1.0)
    assert set(found) == failures, found


def test_a_cache_that_cannot_be_opened_or_ends_its_process_fails():
    assert run(file_cache.OpensNothing, [SHARED]) == {SHARED: "a call raised RuntimeError: there is nothing here"}
    assert run(file_cache.EndsItsProcess, [SHARED]) == {SHARED: "a process ended by itself (exit code 3)"}


def test_what_a_cache_does_not_offer_is_not_checked():
    outcomes = conformance.run(file_cache.OffersNothing, settings=SMALL)
    assert {one.check for one in outcomes if one.status == "not offered"} == set(CHECKS) - READS_AND_WRITES
    assert {one.check for one in outcomes if one.status == "passed"} == READS_AND_WRITES


@pytest.mark.parametrize("check", conformance.checks(), ids=lambda check: check.name)
def test_each_check_is_a_sentence_and_says_more_in_another(check):
    assert check.name.count("_") > 4
    assert check.text.endswith(".") and len(check.text) > len(check.name)
    assert check.name in repr(check)


def test_a_check_can_be_run_alone_as_a_test_of_pytest_does():
    outcome = CHECKS[SHARED](file_cache.FileCache, SMALL)
    assert (outcome.check, outcome.status, outcome.rounds) == (SHARED, "passed", 1)
    assert outcome.figures == {"values": 64}


@pytest.fixture
def resource_tracker():
    """A process of multiprocessing's that the first spawn starts, and that stays."""
    multiprocessing.resource_tracker.ensure_running()


def test_nothing_is_left(resource_tracker, leaves_nothing_open):
    before = set(os.listdir("/dev/shm"))
    run(file_cache.FileCache, [SHARED, KILLED])
    run(file_cache.EndsItsProcess, [SHARED])
    assert not {name for name in set(os.listdir("/dev/shm")) - before if name.startswith("conformance-")}


def test_settings_that_cannot_be():
    for wrong in ({"rounds": 0}, {"processes": 2}, {"threads": 0}):
        with pytest.raises(ValueError, match="at least"):
            Settings(**wrong)


def test_a_miss_is_the_same_after_pickling():
    assert pickle.loads(pickle.dumps(conformance.MISS)) is conformance.MISS


@pytest.mark.parametrize("peer", ["diskcache", "dogpile-memcached"])
def test_peers_are_checked(peer):
    """What all of them do; docs/internals/conformance.md has the rest."""
    command = [sys.executable, "-m", "forebay.testing.conformance", "--adapter", peer, "--json", "--rounds", "1"]
    parts = [part for name in (SHARED, ONE_LOAD, RAISES, DELETED) for part in ("--check", name)]
    done = subprocess.run([*command, *parts], capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert peer.split("-")[0] in found["about"]
    assert {one["check"]: one["status"] for one in found["outcomes"]} == {
        SHARED: "passed", ONE_LOAD: "passed", RAISES: "passed", DELETED: "failed",
    }  # fmt: skip
    assert done.returncode == 1


def test_the_command_prints_a_table():
    command = [sys.executable, "-m", "forebay.testing.conformance", "--adapter", "diskcache", "--rounds", "1", "--check", SHARED]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert SHARED.replace("_", " ") in done.stdout and "passed" in done.stdout


def test_the_document_lists_all_checks_with_what_they_need():
    text = (Path(__file__).resolve().parents[2] / "docs/internals/conformance.md").read_text()
    for check in conformance.checks():
        needs = [f"`{name.upper()}`" for name in sorted(check.needs, key=["load", "overtake", "deadline", "ttl", "budget"].index)]
        assert f"| {check.name.replace('_', ' ')} | {', '.join(needs)}".rstrip() + " |" in text
