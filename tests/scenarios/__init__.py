"""What a plugin and an operator see of a kubelet: stories written once, played against a real one and the embedded one.

A scenario is a public function of a module that `catalogue` names; it gets a `Stage`, plays its story there by plugins
that it scripts and pods that it hands in, and asserts what holds for every kubelet. What depends on the version is data,
in `versions`. All that was seen is `Observed`, and two kubelets agree where it is equal; what must differ between any two
is made equal in `observed`.
"""
