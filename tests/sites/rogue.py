"""A site that joins as any other and then sends what no site should: ``rogue.py SERVER DATA``."""

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from fedtt.federated.types import ClientUpdate
from fedtt.federated.wire.frame import seal, unseal
from fedtt.federated.wire.update import encode_update
from fedtt.sites.address import parse_address
from fedtt.sites.flower.flower_site import join_federation
from fedtt.sites.frames import Frame
from fedtt.sites.site_data import SiteData
from fedtt.sites.site_worker import Worker

LARGE = 2**28  # 256 times what the server takes; a quarter of a minute on its way through Flower


class Rogue(Worker):
    """One after another: NaN, another method's names, far too much, too late, and NaN again."""

    asked = 0

    def answer(self, asked: Frame) -> Frame:
        reply = super().answer(asked)
        if asked.content.get("do") != "train" or "stale" in reply.content:
            return reply
        index = self.asked
        self.asked += 1
        if index == 1:
            return Frame(content=reply.content, blobs=[update({"lora_A.weight": torch.ones(4, 4)})])
        if index == 2:
            return Frame(content=reply.content, blobs=[bytes(LARGE)])
        if index == 3:
            time.sleep(asked.content["seconds"] + 5)
        sealed = unseal(reply.blobs[0])
        nan = b"\xff\xff\xff\x7f"  # in little-endian float32
        spoiled = seal(replace(sealed, body=sealed.body[:-4] + nan))
        return Frame(content=reply.content, blobs=[spoiled])


def update(delta: dict[str, torch.Tensor]) -> bytes:
    return encode_update(ClientUpdate(delta=delta, num_examples=14, num_steps=3, loss=0.5))


def main() -> None:
    server, data = sys.argv[1:]
    site = SiteData(name="rogue", data=Path(data))
    worker = Rogue(site, tell=lambda line: sys.stdout.write(line + "\n"), should_stop=lambda: False)
    with tempfile.TemporaryDirectory() as logs:
        join_federation(
            worker,
            server=parse_address(server, where="argument"),
            keys=None,
            logs=Path(logs),
            patience=600,
            should_stop=lambda: False,
        )


if __name__ == "__main__":
    main()
