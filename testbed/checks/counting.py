"""How many tests passed and failed, read from what test tools write. Nothing is assumed: no result is a failure."""
import re
import xml.etree.ElementTree as xml
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Count:
    passed: int = 0
    failed: int = 0
    # What failed, for the summary.
    failures: list[str] = field(default_factory=list)

    def __iadd__(self, other: "Count") -> "Count":
        self.passed += other.passed
        self.failed += other.failed
        self.failures += other.failures
        return self


def one_failure(why: str) -> Count:
    return Count(failed=1, failures=[why])


def gate(stage: str, code: int, _log: str) -> Count:
    """A check that is one thing: it passes or it does not."""
    return Count(passed=1) if code == 0 else one_failure(f"{stage} (exit code {code})")


RESULT = re.compile(r"^test result: (?:ok|FAILED)\. (\d+) passed; (\d+) failed;", re.MULTILINE)
FAILED = re.compile(r"^test (.+?)(?: - should panic)? \.\.\. FAILED", re.MULTILINE)


def libtest(stage: str, code: int, log: str) -> Count:
    """`cargo test --no-fail-fast`: one result line for each binary."""
    count, results = Count(), RESULT.findall(log)
    for passed, failed in results:
        count += Count(int(passed), int(failed))
    # With output in between, a name may be missing; the number is what counts.
    count.failures = [f"{stage}: {name}" for name in FAILED.findall(log)]
    if not results:
        return one_failure(f"{stage}: no test ran (exit code {code})")
    if code and not count.failed:
        count += one_failure(f"{stage}: a test binary did not build or did not end by itself (exit code {code})")
    return count


def junit(report: Path):
    """For tools that write a JUnit file. A report of an earlier run must not be there."""
    def count(stage: str, code: int, _log: str) -> Count:
        try:
            cases = list(xml.parse(report).getroot().iter("testcase"))
        except (OSError, xml.ParseError) as error:
            return one_failure(f"{stage}: no results (exit code {code}): {error}")
        counted = Count()
        for case in cases:
            if case.find("failure") is not None or case.find("error") is not None:
                counted += one_failure(f"{stage}: {case.get('classname', '')}.{case.get('name', '')}".replace(": .", ": "))
            elif case.find("skipped") is None:
                counted += Count(passed=1)
        if not counted.passed and not counted.failed:
            return one_failure(f"{stage}: no test ran (exit code {code})")
        if code and not counted.failed:
            counted += one_failure(f"{stage}: the tool itself failed (exit code {code})")
        return counted
    return count
