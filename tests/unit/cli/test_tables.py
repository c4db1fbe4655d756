import pytest

from kubelet_plugin.cli import tables


def test_a_table_wider_than_the_terminal_keeps_its_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    tables.show(("NAME", "REASON"), [("vendor.example/thing", "it is not there\n"), ("b", "")])
    assert capsys.readouterr().out == ("NAME                  REASON\nvendor.example/thing  it is not there\\n\nb\n")
