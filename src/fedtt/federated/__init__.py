"""Federated learning on named tensors: what a round is, whatever carries it."""
