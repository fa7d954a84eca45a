"""Ids that a reader takes for the same are said to be of different clients."""

import pytest

from fedtt.data.alike_clients import alike_notes


def test_every_pair_is_counted_and_a_few_are_shown() -> None:
    assert alike_notes(("north", "south", "North")) == (
        "Clients of their own that look alike: 'north' and 'North'.",
    )
    names = [name for i in range(9) for name in (f"site {i}", f"SITE {i}")]
    (note,) = alike_notes(names)
    assert note.endswith("'site 2' and 'SITE 2', and 6 more pairs.")


@pytest.mark.parametrize("other", ["Caf\u00e9", "Cafe\u0301", "caf\u00e9\u200b"])
def test_case_unicode_form_and_invisible_characters(other: str) -> None:
    assert alike_notes(("caf\u00e9", other)) != ()


def test_ids_that_differ_otherwise() -> None:
    assert alike_notes(()) == ()
    assert alike_notes(("a", "b", "a b", "1", "10")) == ()
