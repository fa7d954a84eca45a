"""What the tuners that put layers of ours in place of a model's own do alike."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from fedtt.peft.mixed_batch import rows_by_name


class AddedLayerModel(BaseTuner):  # type: ignore[misc]
    """A tuner made of two functions: which layer takes a module's place, and what is added to it.

    ``tuner_layer_cls`` is the class of its layers; a module that is one already gets another
    adapter, any other is replaced.
    """

    @abstractmethod
    def layer_around(self, config: Any, target: nn.Module, name: str) -> nn.Module:
        """The layer that takes the place of ``target``, which it holds, without an adapter yet."""

    @abstractmethod
    def add_to(self, layer: Any, adapter_name: str, config: Any, name: str) -> None:
        """Add the adapter that ``config`` describes to ``layer``, which is called ``name``."""

    def _create_and_replace(  # noqa: PLR0917 (PEFT's signature)
        self,
        peft_config: Any,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,  # noqa: ARG002 (PEFT's signature)
    ) -> None:
        if isinstance(target, self.tuner_layer_cls):
            self.add_to(target, adapter_name, peft_config, current_key)
            return
        layer = self.layer_around(peft_config, target, current_key)
        self.add_to(layer, adapter_name, peft_config, current_key)
        self._replace_module(parent, target_name, layer, target)

    def _replace_module(
        self,
        parent: nn.Module,
        child_name: str,
        new_module: nn.Module,
        child: nn.Module,  # noqa: ARG002 (PEFT's signature)
    ) -> None:
        # PEFT's own looks for a `weight` too: to move the adapter, also to a placeholder's device,
        # which tuner layers see to; and to copy it in unload(), where a whole head has none.
        setattr(parent, child_name, new_module)

    @contextmanager
    def _enable_peft_forward_hooks(
        self,
        *_: Any,
        adapter_names: Sequence[str] | None = None,
        num_beams: int | None = None,
        **__: Any,
    ) -> Iterator[None]:
        with rows_by_name(
            self,
            self.tuner_layer_cls,
            known=tuple(self.peft_config),
            adapter_names=adapter_names,
            num_beams=num_beams,
        ):
            yield
