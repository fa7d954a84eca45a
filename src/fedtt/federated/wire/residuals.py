"""Error feedback: what a codec lost of an update is added to the client's next one.

::

    sent = delta + residual        residual of the next round = sent - decode(encode(sent))

Seide et al., 1-Bit Stochastic Gradient Descent, Interspeech 2014; Karimireddy et al., Error
Feedback Fixes SignSGD, ICML 2019. So nothing is lost for good, however coarse the codec is, as
long as it loses less than it is given. A residual is the client's own, a number for every number
that it sends. What is not trained in a round keeps its residual.
"""

from torch import Tensor

from fedtt import params as p
from fedtt.params import Params


def with_residual(delta: Params, residual: Params) -> dict[str, Tensor]:
    """What is to be sent: the change, and what earlier ones still owe."""
    return {
        name: change + residual[name] if name in residual else change
        for name, change in delta.items()
    }


def residual_after(residual: Params, *, sent: Params, decoded: Params) -> dict[str, Tensor]:
    """What is owed once ``sent`` has arrived as ``decoded``."""
    return {**residual, **p.subtract(sent, decoded)}
