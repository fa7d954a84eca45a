"""How many tokens of text a model has positions for."""

from peft import PeftConfig
from transformers import PretrainedConfig

# These number their positions from pad_token_id + 1, so they have that many fewer for tokens.
POSITIONS_AFTER_PADDING = {"roberta", "xlm-roberta", "camembert", "mpnet"}


def text_positions(config: PretrainedConfig, adapter: PeftConfig) -> int | None:
    """Tokens of text that fit beside the adapter's virtual ones; None where there is no limit."""
    text = config.get_text_config()
    positions: int | None = getattr(text, "max_position_embeddings", None)
    if positions is None:
        return None
    if text.model_type in POSITIONS_AFTER_PADDING:
        positions -= (text.pad_token_id or 0) + 1
    return positions - (getattr(adapter, "num_virtual_tokens", None) or 0)
