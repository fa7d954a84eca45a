"""Make the TT adapter known to PEFT without importing PEFT.

``import fedtt`` must stay light, and ``PeftModel.from_pretrained`` must find the TT adapter after
it. So the registration waits, as a finder on ``sys.meta_path``, for whoever imports PEFT.

Every command imports this file before it can answer a Ctrl-C: what it imports itself has to be next
to nothing.
"""

import sys
from importlib import import_module

TYPE_CHECKING = False  # as in typing, which takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_PEFT = "peft"
_TUNER = "fedtt.peft"


class _PeftFinder:
    """Finds PEFT as the other finders do, and registers the tuner once PEFT has been imported."""

    def find_spec(
        self, fullname: str, path: "Sequence[str] | None", target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """The spec of PEFT with a loader that registers; ``None`` for every other module."""
        if fullname != _PEFT:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            self._register_after(spec)
        return spec

    def _register_after(self, spec: "ModuleSpec") -> None:
        """Replace the loader's ``exec_module`` (on this one instance) until it has run once."""
        loader = spec.loader
        assert loader is not None
        execute = loader.exec_module

        def execute_and_register(module: "ModuleType") -> None:
            import logging

            from fedtt.quiet_logger import quiet_logger

            # It imports bitsandbytes, which warns of a kernel that it could download.
            with quiet_logger("bitsandbytes.backends.cpu.ops", level=logging.ERROR):
                execute(module)
            del loader.exec_module
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            _register()

        loader.exec_module = execute_and_register  # type: ignore[method-assign]


def install() -> None:
    """Register the TT adapter with PEFT: now if PEFT is imported, else as soon as it is.

    Changes ``sys.meta_path``. Calling it again changes nothing.
    """
    if _PEFT in sys.modules:
        _register()
    elif not any(isinstance(finder, _PeftFinder) for finder in sys.meta_path):
        # First, because the finders behind it would answer before it is asked.
        sys.meta_path.insert(0, _PeftFinder())


def _register() -> None:
    # Present, perhaps half imported: it imports PEFT itself and registers when it is done.
    if _TUNER not in sys.modules:
        import_module(_TUNER)
