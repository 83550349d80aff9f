"""Whom to trust: a function that has once given what can change may give it again, however much it gave since."""

from __future__ import annotations

import pytest

from gristmill.worker.fixing import Fixer


@pytest.mark.parametrize("before", [0, 1, 999])
def test_a_function_that_has_given_what_can_change_is_not_trusted_any_more(before: int) -> None:
    fixer = Fixer()
    for x in range(before):
        fixer.fix(x)
    fixer.fix([1])
    for x in range(2000):
        fixer.fix(x)
    assert not fixer.trusts


def test_a_function_that_has_given_what_can_not_change_for_long_is_trusted() -> None:
    fixer = Fixer()
    for x in range(2000):
        fixer.fix(x)
    assert fixer.trusts
