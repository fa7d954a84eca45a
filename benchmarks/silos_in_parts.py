"""The four sentiment silos as one file of twelve clients: each silo dealt to three.

    python benchmarks/silos_in_parts.py runs/silos-in-parts.jsonl

Each part has so many examples, drawn by a fixed seed; ``tweets-0`` is the first of the tweets.
"""

import argparse
import json
import random
from pathlib import Path

from fedtt.data import load_sentiment_silos

PARTS, EXAMPLES = 3, 660


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    raw = load_sentiment_silos()
    stream = random.Random(0)
    rows = []
    for silo, texts in raw.texts_by_client.items():
        for place, index in enumerate(stream.sample(range(len(texts)), PARTS * EXAMPLES)):
            label = raw.label_names[texts.labels[index]]
            client = f"{silo}-{place // EXAMPLES}"
            rows.append({"text": texts.texts[index], "label": label, "client": client})
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    print(f"{out}: {len(rows):,} examples of {PARTS * len(raw.texts_by_client)} clients")


if __name__ == "__main__":
    main()
