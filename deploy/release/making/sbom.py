"""Lists of what is in a program, in CycloneDX's form, by CycloneDX's tool."""
import json
import os
import re
from pathlib import Path

from . import tools
from .targets import CHECKOUT, Target, epoch


def of(target: Target, package: str, manifest: Path, *features: str) -> bytes:
    name = f"release-{os.getpid()}"
    made = manifest.with_name(f"{name}.json")
    try:
        tools.run(tools.cyclonedx(), "cyclonedx", "--quiet", "--manifest-path", manifest, "--format", "json", "--target", target.triple,
                  "--override-filename", name, *features, cwd=CHECKOUT, env=os.environ | {"SOURCE_DATE_EPOCH": str(epoch())})
        text = made.read_text()
    finally:
        # One for each package of the workspace.
        for folder in (CHECKOUT, CHECKOUT / "e2e"):
            (folder / f"{name}.json").unlink(missing_ok=True)
    # A path of this machine says nothing elsewhere, and would be another one in each checkout.
    text = re.sub(r"(path\+file|file)://" + re.escape(str(CHECKOUT)), r"\1:///testkit", text)
    return (json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n").encode()
