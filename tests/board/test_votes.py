"""The arithmetic of votes, held against scipy and against chance."""

import numpy as np
import pytest
from scipy import stats

from paceline.board.votes import Vote, tally
from paceline.stats.votes import preference, votes_needed, votes_verdict


@pytest.mark.parametrize(("wins", "losses", "comparisons"), [(0, 1, 1), (7, 3, 1), (19, 2, 3), (30, 30, 2)])
def test_interval_and_p_are_scipys(wins: int, losses: int, comparisons: int) -> None:
    test = stats.binomtest(wins, wins + losses)
    bounds = test.proportion_ci(1 - 0.05 / comparisons, "exact")
    found = preference(wins, losses, comparisons)
    assert (found.p, found.share.low, found.share.high) == (test.pvalue, bounds.low, bounds.high)
    assert found.verdict == votes_verdict(wins, losses, comparisons)


def test_looking_after_every_vote_finds_a_difference_between_equals_in_one_of_twenty_at_most() -> None:
    votes = np.random.default_rng(0).integers(0, 2, (400, 100))
    wins = votes.cumsum(1)
    verdicts = {(w, n - w): votes_verdict(w, n - w) for n in range(1, 101) for w in range(n + 1)}
    wrong = sum(any(verdicts[int(w), n - int(w)] != "tie" for n, w in enumerate(row, 1)) for row in wins)
    assert wrong <= 20


def test_the_votes_needed_find_three_in_four_with_four_in_five() -> None:
    count = votes_needed()
    drawn = np.random.default_rng(1).binomial(count, 0.75, 2000)
    verdicts = {int(wins): votes_verdict(int(wins), count - int(wins)) for wins in set(drawn)}
    assert np.mean([verdicts[int(wins)] == "better" for wins in drawn]) >= 0.77
    assert votes_needed(5) > count


def test_only_votes_between_the_two_and_on_these_adapters_count() -> None:
    now = {"base": "0", "a": "1", "b": "2"}
    answers = {"base": "x", "a": "y", "b": "x"}
    votes = [
        Vote(prompt=str(n), answers=answers, identities=now, chosen=c)
        for n, c in enumerate(["a", "b", "base", None])
    ]
    votes.append(Vote(prompt="old", answers=answers, identities={**now, "a": "9"}, chosen="a"))
    others = Vote(prompt="without a", answers={"base": "x", "b": "y"}, identities=now, chosen="base")
    found = tally([*votes, others], now)
    assert found["a"][:2] == (1, 1)
    assert found["b"][:2] == (0, 1), "elsewhere it answered as the base did"
