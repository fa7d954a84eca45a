import torch
from hypothesis import given
from hypothesis import strategies as st

from fedtt.seeds import derive_seed, random_stream

paths = st.lists(st.one_of(st.integers(-5, 1000), st.text(max_size=5)), max_size=4)


def test_derived_seed_is_the_same_on_every_machine() -> None:
    # SHA-256 of '[0,"cohort",3]', first 8 bytes, big-endian, shifted right by one bit.
    assert derive_seed(0, "cohort", 3) == 5941295602153413190


@given(st.integers(0, 2**40), paths, paths)
def test_different_paths_give_different_seeds(root: int, first: list, second: list) -> None:
    seeds = derive_seed(root, *first), derive_seed(root, *second)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert (seeds[0] == seeds[1]) == (first == second)


def test_number_and_its_text_are_different_names() -> None:
    assert derive_seed(0, 1) != derive_seed(0, "1")
    assert derive_seed(0, "a", "b") != derive_seed(0, "ab")


def test_random_stream_starts_at_its_seed_and_leaves_the_global_stream_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with random_stream(11):
        inside = torch.rand(4)
    assert torch.equal(torch.rand(4), expected)
    with random_stream(11):
        assert torch.equal(torch.rand(4), inside)
    assert not torch.equal(inside, expected)
