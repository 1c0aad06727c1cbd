"""What src/ and docs/ say, read from their text: reasons, metrics, tables."""
import re

from bed_cli import places

DOCS = places.CHECKOUT / "docs"
# Reasons of Events, and of no condition.
EVENTS = {"ExpiresSoon", "LeftBehind", "SwarmLost", "ContainerLeft", "ClusterKept", "ClusterDeleted", "RunCreated", "MissedSchedule", "Retrying", "CasesQuarantined"}
CONDITIONS = places.CHECKOUT / "src" / "api" / "conditions.rs"


def reasons() -> set[str]:
    """All of src/api/conditions.rs."""
    module = CONDITIONS.read_text().partition("pub mod reason {")[2].partition("\n}\n")[0]
    found = re.findall(r'pub const \w+: &str =\s*"(\w+)";', module)
    assert len(found) == module.count("pub const") > 30, "src/api/conditions.rs is not as this reads it"
    return set(found)


def cells(page: str) -> list[dict[str, str]]:
    """The rows of all tables of a page, each by the names of its columns."""
    rows, heads = [], None
    for line in (DOCS / page).read_text().splitlines():
        if not line.startswith("|"):
            heads = None
            continue
        values = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if heads is None:
            heads = values
        elif not set("".join(values)) <= set("-: "):
            rows.append(dict(zip(heads, values)))
    return rows


def in_tables(page: str, column: str) -> set[str]:
    """The words in code type in this column, wherever a table of the page has it, that could be reasons."""
    return {word for row in cells(page) if column in row for word in re.findall(r"`([A-Z][A-Za-z]+)`", row[column])} - {"Stalled", "Ready", "Reconciling"}
