"""Launch templates: what a launch does not say itself, the template it names says for it.

moto knows of some parameters of a template and looks at none of them before it launches. Here they become parameters of the
call, so that permissions, checks and defaults meet what is really launched.
"""
from botocore.serialize import create_serializer
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.utils import get_service_model
from moto.ec2.models import ec2_backends
from moto.ec2.models.launch_templates import LaunchTemplate, LaunchTemplateVersion
from moto.ec2.responses.launch_templates import LaunchTemplates

from .requests import Call, Refusal

_RUN_INSTANCES = get_service_model("ec2").operation_model("RunInstances")
_NAMED = "LaunchTemplate"
# The tags that EC2 itself gives to what was launched from one.
_ID_TAG, _VERSION_TAG = "aws:ec2launchtemplate:id", "aws:ec2launchtemplate:version"


def install() -> None:
    plain = LaunchTemplates.create_launch_template_version

    def create_launch_template_version(response: LaunchTemplates):
        """A new version says again what the version it is made from says, where it says nothing itself."""
        answer, source = plain(response), response._get_param("SourceVersion")
        if source is not None:
            told = answer.result["LaunchTemplateVersion"]
            template = response.ec2_backend.launch_templates[told["LaunchTemplateId"]]
            for name, value in _version(template, source).data.items():
                told["LaunchTemplateData"].setdefault(name, value)
        return answer

    LaunchTemplates.create_launch_template_version = create_launch_template_version


def complete(call: Call) -> None:
    """Of a launch. What it said before stays in `call.asked`."""
    call.asked = dict(call.parameters)
    if not call.has(_NAMED):
        return
    version = _named(call)
    own = {name.split(".")[0] for name in call.parameters}
    call.parameters |= {name: value for name, value in _parameters(version).items() if name.split(".")[0] not in own}
    call.template = version


def leave_out(call: Call) -> None:
    """For moto, which would read the template once more."""
    for name in [name for name in call.parameters if name.split(".")[0] == _NAMED]:
        del call.parameters[name]


def tags(version: LaunchTemplateVersion) -> dict:
    return {_ID_TAG: version.template.id, _VERSION_TAG: str(version.number)}


def _named(call: Call) -> LaunchTemplateVersion:
    backend, given = ec2_backends[DEFAULT_ACCOUNT_ID][call.region], call.parameters
    known, name = given.get(f"{_NAMED}.LaunchTemplateId"), given.get(f"{_NAMED}.LaunchTemplateName")
    if known and name:
        raise Refusal("InvalidParameterCombination", "The request must specify either a launch template ID or a launch template name, "
                                                     "but not both.")
    if not known and not name:
        raise Refusal("MissingParameter", "The request must contain the parameter launchTemplateId or launchTemplateName")
    template = backend.launch_templates.get(known or backend.launch_template_name_to_ids.get(name))
    if template is None and known:
        raise Refusal("InvalidLaunchTemplateId.NotFound", f"The specified launch template, with template ID {known}, does not exist.")
    if template is None:
        raise Refusal("InvalidLaunchTemplateName.NotFoundException",
                      f"The specified launch template, with template name {name}, does not exist.")
    return _version(template, given.get(f"{_NAMED}.Version") or "$Default")


def _version(template: LaunchTemplate, number: str) -> LaunchTemplateVersion:
    wanted = {"$latest": template.latest_version_number, "$default": template.default_version_number}.get(str(number).lower(), number)
    found = next((version for version in template.versions if str(version.number) == str(wanted)), None)
    if found is None:
        raise Refusal("InvalidLaunchTemplateId.VersionNotFound",
                      f"Could not find the specified version {number} for the launch template with ID {template.id}.")
    return found


def _parameters(version: LaunchTemplateVersion) -> dict:
    """As a launch that says the same would have them on the wire."""
    said = {name: value for name, value in version.data.items() if name in _RUN_INSTANCES.input_shape.members and value is not None}
    if "UserData" in said:
        said["UserData"] = str(said["UserData"])
    # moto puts the template's own tags among those of what is launched.
    said["TagSpecifications"] = [one for one in said.get("TagSpecifications", []) if one.get("ResourceType") != "launch-template"]
    body = create_serializer("ec2", include_validation=False).serialize_to_request(said, _RUN_INSTANCES)["body"]
    return {name: str(value) for name, value in body.items() if name not in ("Action", "Version", "TagSpecification")}
