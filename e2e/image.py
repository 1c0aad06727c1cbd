"""Writes an image archive of one static binary, as `docker load` of every engine since 1.10 reads it.

usage: image.py BINARY OUT.tar TAG ARCHITECTURE

Times and owners are fixed, so that the same binary gives the same image, which engines then know by its id.
The archive is put in place in one step, and left alone when it is what it would be.
"""

import hashlib
import io
import json
import os
import sys
import tarfile

EPOCH = "1970-01-01T00:00:00Z"


def entry(name, size, mode):
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, mode
    return info


def tar(files):
    """A tar of (name, content, mode), all owned by root and from the epoch."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content, mode in files:
            archive.addfile(entry(name, len(content), mode), io.BytesIO(content))
    return buffer.getvalue()


def image(binary, tag, architecture):
    layer = tar([("e2e", binary, 0o755)])
    layer_id = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": architecture,
        "os": "linux",
        "created": EPOCH,
        "config": {"Entrypoint": ["/e2e"], "ExposedPorts": {"80/tcp": {}}, "Labels": {"testkit.dev/case-filter": "Libtest"}},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_id}"]},
        "history": [{"created": EPOCH, "created_by": "e2e/image.sh"}],
    }
    config = json.dumps(config, sort_keys=True).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    layer_name = f"{layer_id}/layer.tar"
    manifest = [{"Config": config_name, "RepoTags": [tag], "Layers": [layer_name]}]
    return tar([
        (config_name, config, 0o644),
        (layer_name, layer, 0o644),
        ("manifest.json", json.dumps(manifest).encode(), 0o644),
    ])


def main(binary_path, out, tag, architecture):
    if ":" not in tag.rsplit("/", 1)[-1]:
        sys.exit(f"image.py: {tag} names no tag; write for example {tag}:latest")
    with open(binary_path, "rb") as file:
        archive = image(file.read(), tag, architecture)
    try:
        with open(out, "rb") as file:
            if file.read() == archive:
                print(f"{out}: {tag}, unchanged")
                return
    except FileNotFoundError:
        pass
    part = f"{out}.{os.getpid()}.part"
    with open(part, "wb") as file:
        file.write(archive)
    os.replace(part, out)
    print(f"{out}: {tag}, {len(archive) / 2**20:.1f} MiB")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
