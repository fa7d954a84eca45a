"""An adapter that another package adds is one like ours: wrapped, exchanged, stacked, saved."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from tests.engine.test_together import assert_equal, cohorts  # noqa: F401 (a fixture)
from tests.experiment.runs import run
from tests.extending.toy_adapter import ShiftConfig
from tests.peft.methods import masked_logits, train
from tests.peft.tiny_architectures import HIDDEN, PEFT_WARNING, tiny_classifier, tokens
from torch.func import functional_call

from fedtt.config import RunConfig
from fedtt.methods import METHODS
from fedtt.peft import adapt, can_batch, count_by_kind, exchanged_parameters, stacked_forwards

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)
MakeConfig = Callable[..., RunConfig]
LABELS = torch.tensor([0, 1, 1, 0])


def adapted() -> PeftModel:
    torch.manual_seed(0)
    return adapt(tiny_classifier("bert"), ShiftConfig(task_type="SEQ_CLS", scale=0.5))


def test_it_is_put_in_exchanged_trained_saved_and_loaded(tmp_path: Path) -> None:
    ids, model = tokens(), adapted()
    base = masked_logits(tiny_classifier("bert"), ids)
    # two blocks, each with the output projection of its attention and of its MLP; a head of two
    assert count_by_kind(model) == {"shift": 4 * HIDDEN, "head": 2 * HIDDEN + 2}
    assert train(model, ids, LABELS) == set(exchanged_parameters(model))
    with model.disable_adapter():
        torch.testing.assert_close(masked_logits(model, ids), base)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(tiny_classifier("bert"), tmp_path)
    assert torch.equal(masked_logits(loaded, ids), masked_logits(model, ids))


def test_it_knows_its_state_and_rows_may_not_go_to_adapters_it_lacks() -> None:
    model = adapted().eval()
    assert model.get_model_status().num_adapter_layers == 4 + 1  # and the head
    with pytest.raises(ValueError, match="no adapter has that name"):
        model(input_ids=tokens(), adapter_names=["other"] * 4)


def test_the_parameters_of_several_clients_meet_their_own_rows() -> None:
    ids, model = tokens(), adapted().eval()
    names = list(exchanged_parameters(model))
    assert can_batch(model, names)
    stacks = {name: torch.randn(2, *model.get_parameter(name).shape) for name in names}
    with stacked_forwards(model, names), torch.no_grad():
        together = functional_call(model, stacks, kwargs={"input_ids": ids}).logits
    for client, rows in ((0, slice(0, 2)), (1, slice(2, 4))):
        own = {name: values[client] for name, values in stacks.items()}
        with torch.no_grad():
            alone = functional_call(model, own, kwargs={"input_ids": ids[rows]}).logits
        torch.testing.assert_close(together[rows], alone)


@pytest.fixture
def row() -> Iterator[None]:
    with METHODS.having("shift", "tests.extending.toy_adapter:SHIFT"):
        yield


@pytest.mark.usefixtures("row")
def test_clients_that_train_it_in_one_step_are_those_one_by_one(
    make_config: MakeConfig,
    tiny_bert: Path,
    cohorts: list[int],  # noqa: F811
) -> None:
    model = {"name": str(tiny_bert), "max_length": 16, "device": "cpu", "dropout": 0.0}
    assert_equal(make_config(model=model, method={"name": "shift", "scale": 0.5}))
    assert cohorts  # some did
    assert min(cohorts) > 1


@pytest.mark.usefixtures("row")
def test_a_run_of_it_is_recorded(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(rounds=1, method={"name": "shift"}, evaluation={"alone": False})
    summary = run(config, tmp_path / "run")
    assert set(summary["exchanged_parameters"]) == {"shift", "head", "total"}
