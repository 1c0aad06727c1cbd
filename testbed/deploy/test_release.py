"""What packs a release: the same content gives the same bytes, and what is packed is what was meant. No program is built here."""
import gzip
import hashlib
import io
import json
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from bed_cli import places

sys.path.insert(0, str(places.CHECKOUT / "deploy" / "release"))

from making import archives, build, krew, targets  # noqa: E402
from making.images import Archive  # noqa: E402

FILES = [("program", b"\x7fELF", 0o755), ("LICENSE", b"as it is", 0o644), ("completions/fish", b"complete", 0o644)]


@pytest.mark.parametrize("pack", [archives.tar, archives.tar_gz, archives.zipped])
def test_the_order_of_files_and_the_time_of_packing_change_nothing(pack):
    assert pack(FILES, 1_700_000_000) == pack(FILES[::-1], 1_700_000_000)
    assert pack(FILES, 1_700_000_000) != pack(FILES, 1_700_086_400)


def test_archives_have_modes_and_the_time_that_is_given():
    with tarfile.open(fileobj=io.BytesIO(archives.tar_gz(FILES, 1_700_000_000))) as archive:
        assert [(m.name, m.mode, m.mtime, m.uid) for m in archive] == [
            ("LICENSE", 0o644, 1_700_000_000, 0), ("completions/fish", 0o644, 1_700_000_000, 0), ("program", 0o755, 1_700_000_000, 0)]
    with zipfile.ZipFile(io.BytesIO(archives.zipped(FILES, 0))) as archive:
        assert [(i.filename, i.external_attr >> 16 & 0o777, i.date_time[0]) for i in archive.infolist()][-1] == ("program", 0o755, 1980)


def test_a_package_of_somebody_else_is_packed_again_whole():
    packed = archives.tar_gz([("testkit/Chart.yaml", b"version: 1", 0o600)], 5)
    with tarfile.open(fileobj=io.BytesIO(archives.again(packed, 7))) as archive:
        [member] = archive
        assert (member.name, member.mtime, archive.extractfile(member).read()) == ("testkit/Chart.yaml", 7, b"version: 1")


def test_an_image_is_whole_and_has_both_architectures():
    archive = Archive()
    images = [archive.image(arch, [("e2e", arch.encode(), 0o755)], {"Entrypoint": ["/e2e"]}, "1970-01-01T00:00:00Z") for arch in ("amd64", "arm64")]
    with tarfile.open(fileobj=io.BytesIO(archive.whole(images, "0.1.0", {}, 0))) as layout:
        files = {member.name: layout.extractfile(member).read() for member in layout}
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}

    def follow(descriptor: dict) -> bytes:
        content = files[f"blobs/sha256/{descriptor['digest'].removeprefix('sha256:')}"]
        assert (f"sha256:{hashlib.sha256(content).hexdigest()}", len(content)) == (descriptor["digest"], descriptor["size"])
        return content

    [top] = json.loads(files["index.json"])["manifests"]
    assert top["annotations"]["org.opencontainers.image.ref.name"] == "0.1.0"
    told = json.loads(follow(top))["manifests"]
    assert [image["platform"]["architecture"] for image in told] == ["amd64", "arm64"]
    for image in told:
        manifest = json.loads(follow(image))
        config = json.loads(follow(manifest["config"]))
        layer = gzip.decompress(follow(manifest["layers"][0]))
        assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
        with tarfile.open(fileobj=io.BytesIO(layer)) as content:
            assert content.extractfile("e2e").read().decode() == config["architecture"] == image["platform"]["architecture"]


def test_the_manifest_for_krew_has_every_system_and_the_digests_of_its_archives(tmp_path):
    packed = {}
    for target in targets.TARGETS:
        packed[target] = tmp_path / f"kubectl-testkit-{target.name}.tar.gz"
        packed[target].write_text(target.name)
    manifest = yaml.safe_load(krew.text(packed))
    assert len(manifest["spec"]["shortDescription"]) <= 50
    for target, platform in zip(packed, manifest["spec"]["platforms"], strict=True):
        assert platform["selector"]["matchLabels"] == {"os": target.os, "arch": target.arch}
        assert platform["sha256"] == hashlib.sha256(target.name.encode()).hexdigest()
        assert platform["uri"].endswith(f"/v{targets.version()}/{packed[target].name}")


def test_a_program_that_needs_a_loader_is_no_static_one():
    assert build._elf(Path(sys.executable).resolve().read_bytes()) == "a Linux with libraries"
    assert build._elf(b"MZ" + bytes(64)) == "something else than 64-bit Linux"



def test_the_linker_for_macos_has_its_lists():
    assert {file.stem for file in build.FRAMEWORKS.glob("*.framework/*.tbd")} == {"CoreFoundation", "Security"}
