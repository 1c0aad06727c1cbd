"""Whether and how an instance reaches its metadata: as the launch says, or else the account's defaults, or else the image."""
from moto.core.responses import ActionResult
from moto.ec2.models.instances import InstanceBackend
from moto.ec2.responses.instances import InstanceResponse

from . import tags
from .requests import Call, Refusal

_OPTIONS = ("HttpTokens", "HttpPutResponseHopLimit", "HttpEndpoint", "InstanceMetadataTags")
# An AMI with ImdsSupport=v2.0.
_IMAGE = {"HttpTokens": "required", "HttpPutResponseHopLimit": "2"}
_MOST_HOPS = 64


class MetadataDefaults:
    """Those of the account, by region: what is set to `no-preference` (a limit: -1) is not there."""

    def __init__(self) -> None:
        self._of: dict = {}

    def install(self) -> None:
        defaults = self

        def modify_instance_metadata_defaults(response: InstanceResponse) -> ActionResult:
            known = defaults._of.setdefault(response.region, {})
            for name in _OPTIONS:
                if (value := response._get_param(name)) is not None:
                    known[name] = str(value)
                if known.get(name) in ("no-preference", "-1"):
                    del known[name]
            return ActionResult({"Return": True})

        def get_instance_metadata_defaults(response: InstanceResponse) -> ActionResult:
            return ActionResult({"AccountLevel": defaults._of.get(response.region, {})})

        InstanceResponse.modify_instance_metadata_defaults = modify_instance_metadata_defaults
        InstanceResponse.get_instance_metadata_defaults = get_instance_metadata_defaults
        InstanceBackend.modify_instance_metadata_options = _modify

    def complete(self, call: Call) -> None:
        for name, value in (_IMAGE | self._of.get(call.region, {})).items():
            call.parameters.setdefault(f"MetadataOptions.{name}", value)
        _check_hops(call.parameters["MetadataOptions.HttpPutResponseHopLimit"])
        if call.parameters.get("MetadataOptions.InstanceMetadataTags") == "enabled":
            tags.check_metadata(call)


def _modify(backend, instance_id, http_tokens=None, hop_limit=None, http_endpoint=None, dry_run=False, http_protocol=None,
            metadata_tags=None):
    """What is not mentioned stays as it is."""
    instance = backend.get_instance(instance_id)
    options = instance.metadata_options
    if hop_limit is not None:
        _check_hops(hop_limit)
    if metadata_tags == "enabled":
        for tag in instance.get_tags():
            tags.check_key_in_metadata(tag["key"])
    options.http_tokens = http_tokens or options.http_tokens
    options.http_put_response_hop_limit = hop_limit or options.http_put_response_hop_limit
    options.http_endpoint = http_endpoint or options.http_endpoint
    options.http_protocol_ipv6 = http_protocol or options.http_protocol_ipv6
    options.instance_metadata_tags = metadata_tags or options.instance_metadata_tags
    return options


def _check_hops(limit: "int | str") -> None:
    if not 1 <= int(limit) <= _MOST_HOPS:
        raise Refusal("InvalidParameterValue", f"Value ({limit}) for parameter HttpPutResponseHopLimit is invalid. Expecting a value "
                                               f"between 1 and {_MOST_HOPS}.")
