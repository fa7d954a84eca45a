"""The secret of a run: kept, its own, and nowhere else."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fedtt.config import RunConfig
from fedtt.errors import RunError
from fedtt.experiment import create_run
from fedtt.experiment.run_secret import FILE, run_id, run_secret


def test_it_is_drawn_once_and_its_owner_alone_reads_it(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first = run_secret(tmp_path)
    assert run_secret(tmp_path) == first
    assert run_secret(tmp_path / "other") != first
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


def test_the_id_is_of_the_run_and_tells_nothing(tmp_path: Path) -> None:
    own = run_id(tmp_path)
    assert own == run_id(tmp_path)
    assert len(bytes.fromhex(own)) == 16
    assert own not in run_secret(tmp_path).hex()


def test_a_run_that_is_overwritten_is_another(
    make_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = make_config()
    first = create_run(tmp_path / "run", config, overwrite=False).run_id()
    assert create_run(tmp_path / "run", config, overwrite=True).run_id() != first


def test_a_damaged_secret_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"short")
    with pytest.raises(RunError, match=r"secret is damaged(.|\n)*5 bytes"):
        run_secret(tmp_path)
