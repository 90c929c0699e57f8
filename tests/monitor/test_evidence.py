"""Evidence: the closed form is the recursion, and clean streams pay nothing on average."""

from __future__ import annotations

import numpy as np
import pytest

from ce_detect.monitor.evidence import Bets, Evidence, Form

RATES = np.array([0.02, 0.05, 0.2])


@pytest.mark.parametrize("form", ["rate", "ever"])
def test_the_closed_form_is_the_recursion(form: Form) -> None:
    """Inputs without a hit that enter together leave the same money as one after the other."""
    bets = Bets(RATES, form)
    lazy, plain = Evidence.of(bets), Evidence.of(bets)
    random = np.random.default_rng(0)
    for draw in random.random(300):
        hits = draw <= RATES
        plain.add(hits)
        if hits.any():
            lazy.add(hits)
        else:
            lazy.pass_over(1)
    lazy.add(np.array([True, True, True]))
    plain.add(np.array([True, True, True]))
    assert lazy.seen == plain.seen == 301
    np.testing.assert_allclose(lazy.money, plain.money, rtol=1e-9)


def test_what_is_paid_in_over_an_endless_stream_is_one() -> None:
    """The amounts of the form "ever" sum to 1, however the stream is cut."""
    bets = Bets(RATES, "ever")
    whole = sum(count * paid for count, paid in bets.paid(0, 1 << 40))
    parts = sum(count * paid for seen in range(100) for count, paid in bets.paid(seen, 1))
    assert 0.95 < whole < 1.0
    assert parts == pytest.approx(sum(count * paid for count, paid in bets.paid(0, 100)))
    assert sum(count for count, _ in bets.paid(7, 1000)) == 1000


def test_money_gains_nothing_on_average() -> None:
    """Where hits come exactly at the rates, a factor is 1 on average, at each level and size; none is negative."""
    bets = Bets(RATES)
    np.testing.assert_allclose(RATES[:, None] * bets.hit + (1 - RATES[:, None]) * bets.miss, 1.0)
    assert (bets.miss > 0).all()
    assert (bets.hit > 1).all()


def test_a_block_is_bets_on_both_sides_that_open_at_its_beginning() -> None:
    """Too many and too few hits, against bounds and against what is expected; each is a fair bet."""
    bets = Bets(np.array([0.45, 0.65]), expected=2)
    hits, expected = np.array([True, False, True]), np.array([0.4, 0.41, 0.39])
    evidence = Evidence.of(bets)
    evidence.add_block(hits, expected)
    assert evidence.money.shape == (4, len(bets.miss))
    parts = 1 - bets.miss
    many = (1 + parts * (1 / 0.4 - 1)) * (1 - parts) * (1 + parts * (1 / 0.39 - 1))
    few = (1 - parts) * (1 + parts * (1 / 0.59 - 1)) * (1 - parts)
    np.testing.assert_allclose(evidence.money[2], 3 * many)
    np.testing.assert_allclose(evidence.money[3], 3 * few)
    np.testing.assert_allclose(evidence.money[0], 3 * (1 + parts * (1 / 0.45 - 1)) ** 2 * (1 - parts))
    np.testing.assert_allclose(evidence.money[1], 3 * (1 - parts) ** 2 * (1 + parts * (1 / 0.65 - 1)))
    assert evidence.seen == 3


def test_more_hits_than_the_rate_are_evidence() -> None:
    """Forty hits in a row are beyond any doubt, and a restart forgets them."""
    evidence = Evidence.of(Bets(RATES))
    for _ in range(40):
        value = evidence.add(np.array([True, True, True]))
    assert value > 1e12
    evidence.restart()
    assert evidence.value == 0.0


def test_an_expected_rate_is_bet_on_beside_the_bound() -> None:
    """Levels without one have one row, those with one have two; each row multiplies by its own factor."""
    bets = Bets(RATES, expected=2)
    evidence = Evidence.of(bets)
    evidence.add(np.array([False, True, True]), np.array([0.05, 0.001]))
    plain = Evidence.of(Bets(RATES))
    plain.add(np.array([False, True, True]))
    assert evidence.money.shape == (5, plain.money.shape[1])
    np.testing.assert_allclose(evidence.money[:3], plain.money)
    np.testing.assert_allclose(evidence.money[3], plain.money[1])
    assert (evidence.money[4] > evidence.money[2]).all()
