from pathlib import Path

import pytest

from kubelet_plugin.discovery import udev
from kubelet_plugin.discovery.udev import Record

DATABASE = """\
S:serial/by-id/usb-FTDI_FT232R_A50285BI-if00-port0
S:modem
S:by-name/a=b
SOMETHING=else
I:8230423
E:ID_SERIAL=FTDI_FT232R_A50285BI
E:ID_MODEL_ENC=FT232R\\x20USB
E:OPTIONS=a=b,c
E:EMPTY=
G:systemd
Q:systemd
V:1
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_properties_and_links_are_read_and_nothing_else(data: Path) -> None:
    (data / "c188:0").write_text(DATABASE)
    assert udev.record(("char", 188, 0), "tty", "ttyUSB0", str(data.parent)) == Record(
        {
            "ID_SERIAL": "FTDI_FT232R_A50285BI",
            "ID_MODEL_ENC": "FT232R\\x20USB",
            "OPTIONS": "a=b,c",
            "EMPTY": "",
        },
        ("/dev/serial/by-id/usb-FTDI_FT232R_A50285BI-if00-port0", "/dev/modem", "/dev/by-name/a=b"),
    )


@pytest.mark.parametrize("ours", ["c188:0", "b188:0", "+usb:1-1.2", "n3"])
def test_each_kind_of_device_has_a_record_of_its_own(data: Path, ours: str) -> None:
    for key in ("c188:0", "b188:0", "+usb:1-1.2", "n3"):
        (data / key).write_text(f"E:KEY={key}\n")
    found = {
        "c188:0": udev.record(("char", 188, 0), "tty", "ttyUSB0", str(data.parent)),
        "b188:0": udev.record(("block", 188, 0), "block", "sda", str(data.parent)),
        "+usb:1-1.2": udev.record(None, "usb", "1-1.2", str(data.parent)),
        "n3": udev.record(None, "net", "eth0", str(data.parent), ifindex="3"),
    }
    assert found[ours].properties == {"KEY": ours}


@pytest.mark.parametrize("directory", ["", "none"])
def test_without_a_record_nothing_is_known(tmp_path: Path, directory: str) -> None:
    assert udev.record(("char", 1, 3), "mem", "null", str(tmp_path / directory)) == Record()


def test_what_is_no_utf_8_spoils_nothing_else(data: Path) -> None:
    (data / "c1:3").write_bytes(b"E:A=\xff\nE:B=1\nE:C\n")
    assert udev.record(("char", 1, 3), "mem", "null", str(data.parent)).properties == {"A": "\ufffd", "B": "1"}


def test_a_value_may_hold_what_divides_lines_elsewhere(data: Path) -> None:
    (data / "c1:3").write_text("E:A=1\x0b2\u20283\n")
    assert udev.record(("char", 1, 3), "mem", "null", str(data.parent)).properties == {"A": "1\x0b2\u20283"}
