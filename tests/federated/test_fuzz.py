"""A few thousand of the mutations of ``make fuzz``."""

from tests.federated.fuzz import DECODED, REFUSED, fuzz


def test_what_is_changed_is_refused_by_name_or_is_plausible() -> None:
    found = fuzz(5000, seed=20261128)
    assert found[REFUSED] > 3000
    assert found[DECODED] > 300  # the codecs themselves are reached
