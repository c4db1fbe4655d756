"""Hints for tests. A mask is written as a binary number: 0b01 is NUMA node 0, 0b10 is node 1."""

from kubelet_plugin.kubelet.topology import Hint

ANY = Hint(None, preferred=True)


def wanted(*masks: int) -> list[Hint]:
    return [Hint(mask, preferred=True) for mask in masks]


def possible(*masks: int) -> list[Hint]:
    return [Hint(mask, preferred=False) for mask in masks]
