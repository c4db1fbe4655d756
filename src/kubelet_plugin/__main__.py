"""`python -m kubelet_plugin` is the command `kubelet-plugin`."""

from kubelet_plugin.cli import main

if __name__ == "__main__":
    main(prog_name="kubelet-plugin")
