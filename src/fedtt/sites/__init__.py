"""A federation of sites: one a machine, each with its own data; the round is that of every engine.

Here lies what server and sites tell each other, and how each is held to it: messages, who is there,
replies, the sites' own data, keys. What carries the messages is a ``Carrier``; ``flower/`` is the
one there is, and nothing here knows it.
"""
