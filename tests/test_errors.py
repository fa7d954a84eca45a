import inspect

import pytest

from fedtt import errors
from fedtt.errors import FedttError


def test_message_says_what_where_got_expected_and_the_way_out() -> None:
    error = FedttError("no fit", where="here", got=3, expected="4", fix="give 4")
    assert str(error) == "no fit\n  where: here\n  got: 3\n  expected: 4\n  fix: give 4"
    assert str(FedttError("no fit", got=0)) == "no fit\n  got: 0"


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ShapeError", ValueError),
        ("ConfigError", ValueError),
        ("DataError", ValueError),
        ("ModelError", ValueError),
        ("WireError", ValueError),
        ("RunError", OSError),
        ("DivergenceError", ArithmeticError),
    ],
)
def test_own_errors_are_also_the_built_in_kind(name: str, builtin: type) -> None:
    assert issubclass(getattr(errors, name), builtin)


def test_every_error_is_a_fedtt_error_and_drawn_in_the_tree() -> None:
    own = [
        c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == "fedtt.errors"
    ]
    assert all(issubclass(error, FedttError) for error in own)
    assert all(error.__name__ in (errors.__doc__ or "") for error in own)


def test_run_error_prints_its_message_and_not_an_errno() -> None:
    assert str(errors.RunError("cannot write", where="x")) == "cannot write\n  where: x"
