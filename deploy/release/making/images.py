"""Images for several architectures as one OCI archive, made of static programs: no engine, no registry."""
import gzip
import hashlib
import json

from .archives import Files, tar

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


class Archive:
    """An OCI image layout that is being made."""

    def __init__(self):
        self.blobs: dict[str, bytes] = {}

    def _blob(self, kind: str, content: bytes) -> dict:
        digest = hashlib.sha256(content).hexdigest()
        self.blobs[digest] = content
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    def _document(self, kind: str, document: dict) -> dict:
        return self._blob(kind, json.dumps(document, sort_keys=True, separators=(",", ":")).encode())

    def image(self, architecture: str, files: Files, config: dict, created: str) -> dict:
        """An image of one layer."""
        layer = tar(files, 0)
        of_layer = self._blob(LAYER, gzip.compress(layer, compresslevel=9, mtime=0))
        of_config = self._document(CONFIG, {
            "architecture": architecture, "os": "linux", "created": created, "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
            "history": [{"created": created, "created_by": "deploy/release/release"}],
        })
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": of_config, "layers": [of_layer]}
        return self._document(MANIFEST, manifest) | {"platform": {"os": "linux", "architecture": architecture}}

    def whole(self, images: list[dict], tag: str, annotations: dict, mtime: int) -> bytes:
        index = self._document(INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": images, "annotations": annotations})
        top = {"schemaVersion": 2, "mediaType": INDEX,
               "manifests": [index | {"annotations": {"org.opencontainers.image.ref.name": tag}}]}
        files = [(f"blobs/sha256/{digest}", content, 0o644) for digest, content in self.blobs.items()]
        files += [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}', 0o644), ("index.json", json.dumps(top, sort_keys=True).encode(), 0o644)]
        return tar(files, mtime)
