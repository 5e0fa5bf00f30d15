# SPDX-License-Identifier: Apache-2.0
"""What tiers and buses owe to servers that did not answer."""

from forebay.tiers import _debts
from forebay.tiers._debts import Debts


def test_what_is_owed_again_while_it_is_paid_stays_owed():
    debts = Debts()
    debts.owe([b"a", b"b"])
    portion = debts.portion()
    debts.owe([b"b"])
    debts.paid(portion)
    assert b"a" not in debts and b"b" in debts and len(debts) == 1


def test_it_is_bounded_and_says_what_there_is_no_room_for():
    debts = Debts()
    assert debts.owe([b"a", b"b", b"c", b"a"], most=2) == [b"c"]
    assert list(debts.portion()) == [b"a", b"b"]


def test_it_is_paid_in_portions(monkeypatch):
    monkeypatch.setattr(_debts, "PORTION", 2)
    debts = Debts()
    debts.owe([b"a", b"b", b"c"])
    debts.paid(debts.portion())
    assert list(debts.portion()) == [b"c"]
