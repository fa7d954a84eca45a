"""Flower as the carrier: one site a machine, each with its own data; the round is ours.

``fedtt serve`` holds the run; Flower's ServerApp and ClientApp only pass messages on, over unix
sockets: each is a new process for Flower, and loads neither torch nor a model.

::

    fedtt serve .. server app == SuperLink == fence ==== SuperNode == client app .. fedtt join
"""
