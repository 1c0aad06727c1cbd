"""Pages against what they tell of: no reason without a section, no command that is not there."""
import re

import yaml

import pages
from bed_cli import places
from manifests import CHART, DEPLOY


def sections(page: str) -> list[str]:
    return re.findall(r"^### `(\w+)`$", (pages.DOCS / page).read_text(), re.MULTILINE)


def alerts() -> list[dict]:
    return [rule for group in yaml.safe_load((DEPLOY / "monitoring" / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]


def test_every_reason_and_alert_has_a_section_and_no_other_has():
    found = sections("troubleshooting.md")
    assert len(found) == len(set(found)), "a reason has two sections"
    assert set(found) == pages.reasons() | {rule["alert"] for rule in alerts()}, "docs/troubleshooting.md (left); src/api/conditions.rs and deploy/monitoring (right)"


def test_every_section_says_something():
    text = (pages.DOCS / "troubleshooting.md").read_text()
    for part in text.split("\n### ")[1:]:
        heading, _, rest = part.partition("\n")
        assert len(rest.partition("\n#")[0].strip()) > 15, f"{heading} has nothing under it"


def test_links_lead_somewhere():
    """Of pages, to files and headings of this repository."""
    for page in [*pages.DOCS.glob("*.md"), *places.CHECKOUT.glob("*.md"), places.TESTBED / "README.md"]:
        for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text()):
            file = page.parent / target if target else page
            assert file.exists(), f"{page.name}: {target} is not there"
            if anchor:
                names = {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)}
                assert anchor in names, f"{page.name}: {target} has no heading #{anchor}"


def test_every_value_that_pages_name_is_there():
    """As helm's --set has it, on the pages that tell how to install."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    text = "".join((pages.DOCS / page).read_text() for page in ("operating.md", "security.md", "metrics.md"))
    named = re.findall(r"--set(?:-string)? ([\w.]+)", text)
    assert named
    for name in named:
        here = values
        for part in name.split("."):
            assert part in here, f"{name} is no value of the chart"
            here = here[part]


def is_tried(path: str, name: str) -> bool:
    """Whether this is a test there: of Rust's one that is marked so; of Python's one that pytest finds, or a part of one that is called."""
    file = places.CHECKOUT / path
    text = file.read_text() if file.is_file() else ""
    if path.endswith(".rs"):
        return re.search(rf"#\[(?:tokio::)?test\b[^\n]*\n(?:\s*#\[[^\n]*\n)*\s*(?:async )?fn {name}\(", text) is not None
    called = "".join(other.read_text() for other in file.parent.glob("test_*.py")) if file.parent.is_dir() else ""
    return re.search(rf"^def {name}\(", text, re.MULTILINE) is not None and (name.startswith("test_") or re.search(rf"^\s+(?:\w+\.)?{name}\(", called, re.MULTILINE) is not None)


def test_every_attack_is_tried_by_a_test_that_there_is():
    attacks = [row for row in pages.cells("security.md") if "Tried by" in row]
    assert len(attacks) >= 15
    for row in attacks:
        assert all(len(row[column]) > 10 for column in ("Without a defence", "What stops it")), row["Attack"]
        named = re.findall(r"`([\w./-]+\.(?:rs|py))::(\w+)`", row["Tried by"])
        assert named and len(named) == row["Tried by"].count("`") // 2, f"{row['Attack']}: {row['Tried by']}"
        for path, name in named:
            assert is_tried(path, name), f"{row['Attack']}: there is no test {name} in {path}"
    assert not is_tried("tests/host.rs", "nobody_wrote_this") and not is_tried("tests/nowhere.rs", "another_host_key_is_refused")
    assert not is_tried("tests/host.rs", "id"), "a function that is no test is none"
