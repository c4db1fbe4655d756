"""Offer a node's devices to pods through the kubelet and CDI."""
