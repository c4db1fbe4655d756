"""The results as a table for people and as JSON for programs."""

from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.rows import ROWS, TITLES, Figure, Missing, Results, verdicts

_DASH = "-"


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under what the figures were measured; nothing of it names the machine.

    Attributes:
        interpreter: The Python that ran our plugin, such as `CPython 3.11.2`.
        grpcio: The version of the measuring client.
        cpus: How many this process may use.
        load: The load average of the last minute when the run began: what else kept the machine busy.
        idle: For how long the peers were idle before they were looked at, in seconds.
        calls: How many Allocate calls were made.
        repetitions: How often a device was taken away, and how often the kubelet was restarted.
        starts: How often each peer was started.
    """

    interpreter: str
    grpcio: str
    cpus: int
    load: float
    idle: float
    calls: int
    repetitions: int
    starts: int

    def __str__(self) -> str:
        return (
            f"{self.interpreter}; client: grpcio {self.grpcio}; {self.cpus} CPUs, load {self.load:.1f}; "
            f"{self.starts} starts; idle for {self.idle:g} s; {self.calls:,} Allocates; "
            f"{self.repetitions} losses and restarts"
        )


def table(results: Results, conditions: Conditions, left_out: tuple[str, ...] = ()) -> str:
    """Lay the results out as text.

    Args:
        results: The figures of each column.
        conditions: Under what they were measured.
        left_out: Why columns are not there, one line each.
    """
    notes: list[str] = []
    lines = [["", "unit", *(TITLES[column] for column in results), "target"]]
    for row in ROWS:
        cells = [_cell(figures[row.key], row.digits, notes) for figures in results.values()]
        targets = "; ".join(f"{verdict.words} {_word(verdict.met)}" for verdict in verdicts(row, results))
        lines.append([row.title, row.unit, *cells, targets])
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    text = [str(conditions), ""]
    text += [_aligned(line, widths) for line in lines]
    if notes or left_out:
        text += ["", *(f"[{number}] {note}" for number, note in enumerate(notes, 1)), *left_out]
    return "\n".join(text)


def document(results: Results, conditions: Conditions, left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the results as what `json.dump` takes; a figure that there is not is null, with its reason beside it."""
    return {
        "version": 1,
        "conditions": asdict(conditions),
        "columns": {column: TITLES[column] for column in results},
        "left_out": list(left_out),
        "rows": [
            {
                "key": row.key,
                "title": row.title,
                "unit": row.unit,
                "figures": {c: _plain(figures[row.key]) for c, figures in results.items()},
                "missing": {
                    column: figure.reason
                    for column, figures in results.items()
                    if isinstance(figure := figures[row.key], Missing)
                },
                "targets": [
                    {"column": verdict.column, "limit": verdict.limit, "met": verdict.met}
                    for verdict in verdicts(row, results)
                ],
            }
            for row in ROWS
        ],
    }


def _cell(figure: Figure, digits: int, notes: list[str]) -> str:
    if isinstance(figure, float):
        return f"{figure:,.{digits}f}"
    if figure.reason not in notes:
        notes.append(figure.reason)
    return f"{_DASH} [{notes.index(figure.reason) + 1}]"


def _plain(figure: Figure) -> float | None:
    return round(figure, 4) if isinstance(figure, float) else None


def _word(met: bool | None) -> str:
    return {True: "met", False: "MISSED", None: "not known"}[met]


def _aligned(cells: list[str], widths: list[int]) -> str:
    title, unit, *figures, target = cells
    padded = [title.ljust(widths[0]), unit.ljust(widths[1])]
    padded += [figure.rjust(width) for figure, width in zip(figures, widths[2:-1], strict=True)]
    return "  ".join([*padded, target]).rstrip()
