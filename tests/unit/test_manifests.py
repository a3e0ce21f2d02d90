# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes manifests: valid by the schemas of each version, and of one piece with each other and with the role."""

import copy
import os
import re
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEPLOY = os.path.join(ROOT, "deploy", "kubernetes")
OVERLAYS = sorted(name for name in os.listdir(DEPLOY) if os.path.isdir(os.path.join(DEPLOY, name)))
SCHEMAS = os.path.join(os.path.dirname(kubernetes_validate.__file__), "kubernetes-json-schema")
VERSIONS = sorted(
    {match.group(1) for match in (re.match(r"v(1\.\d+)\.\d+", name) for name in os.listdir(SCHEMAS)) if match},
    key=lambda version: int(version.split(".")[1]),
)[-12:]  # three years of them
DAY = 86400  # seconds


def load(*path):
    with open(os.path.join(DEPLOY, *path), encoding="utf-8") as file:
        return list(yaml.safe_load_all(file))


def base(kind):
    listed = load("base", "kustomization.yaml")[0]["resources"]
    (found,) = (document for name in listed for document in load("base", name) if document["kind"] == kind)
    return found


def rendered(directory):
    """What kustomize makes of a directory, as kubectl would apply it; one of ours is given by its name."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl on this machine, which renders it")
    done = subprocess.run(
        ["kubectl", "kustomize", os.path.join(DEPLOY, directory)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    if "unknown field" in done.stderr:
        pytest.skip("no kubectl of 1.21 or later on this machine, which renders it")
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture
def pod():
    return base("Deployment")["spec"]["template"]["spec"]


@pytest.fixture
def container(pod):
    (only,) = pod["containers"]
    return only


def test_every_file_is_named_or_is_the_file_that_names():
    for overlay in OVERLAYS:
        (told,) = load(overlay, "kustomization.yaml")
        named = told["resources"] + [patch["path"] for patch in told.get("patches", ())]
        files = {name for name in named if name.endswith(".yaml")} | {"kustomization.yaml"}
        assert files == set(os.listdir(os.path.join(DEPLOY, overlay)))


@pytest.mark.parametrize("version", VERSIONS)
def test_each_manifest_is_valid(version):
    names = load("base", "kustomization.yaml")[0]["resources"]
    for name in names:
        for document in load("base", name):
            kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_kustomize_makes_of_them_is_valid(overlay, version):
    documents = rendered(overlay)
    assert "Deployment" in [document["kind"] for document in documents]
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_not_valid_is_noticed(version):
    for path, value in ((("strategy", "type"), 1), (("replicas",), "one"), (("startegy",), {})):
        broken = copy.deepcopy(base("Deployment"))
        place = broken["spec"]
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(broken, version, strict=True)


def test_they_name_each_other(pod):
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["state"]["persistentVolumeClaim"]["claimName"] == base("PersistentVolumeClaim")["metadata"]["name"]
    secret, account = base("Secret"), base("ServiceAccount")["metadata"]["name"]
    assert volumes["token"]["secret"]["secretName"] == secret["metadata"]["name"]
    assert secret["metadata"]["annotations"]["kubernetes.io/service-account.name"] == account == pod["serviceAccountName"]
    assert volumes["variables"]["configMap"]["name"] == base("ConfigMap")["metadata"]["name"]
    labels = base("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert base("Deployment")["spec"]["selector"]["matchLabels"] == labels == base("Service")["spec"]["selector"]


def test_each_is_mounted_where_the_role_looks_for_it(pod, container):
    with open(os.path.join(ROOT, "roles/cm_persist/defaults/main.yml"), encoding="utf-8") as file:
        defaults = yaml.safe_load(file)
    places = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(places) == {volume["name"] for volume in pod["volumes"]}
    assert places["state"] == defaults["cm_persist_store"] and places["token"] == defaults["cm_persist_secret_source"]
    assert places["variables"] == "/etc/cm_persist" and list(base("ConfigMap")["data"]) == ["vars.yml"]
    assert not [mount for mount in container["volumeMounts"] if "subPath" in mount]


def test_the_variables_are_the_role_s(container):
    with open(os.path.join(ROOT, "roles/cm_persist/meta/argument_specs.yml"), encoding="utf-8") as file:
        known = {name for point in yaml.safe_load(file)["argument_specs"].values() for name in point["options"]}
    (environment,) = (entry["value"] for entry in container["env"] if entry["name"] == "CM_PERSIST_VARS")
    for text in (base("ConfigMap")["data"]["vars.yml"], environment):
        assert set(yaml.safe_load(text)) <= known


def test_a_second_pod_is_not_asked_for_and_a_long_first_copy_is_let_be(container):
    spec = base("Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= DAY and spec["progressDeadlineSeconds"] >= DAY
    commands = [container[name + "Probe"]["exec"]["command"] for name in ("startup", "readiness", "liveness")]
    assert commands == [["/opt/cm_persist/container/probe", question] for question in ("started", "ready", "alive")]


def test_the_token_that_is_renewed_takes_the_place_of_the_other():
    documents = rendered("rotating-token")
    assert "Secret" not in [document["kind"] for document in documents]
    (deployment,) = (document for document in documents if document["kind"] == "Deployment")
    (volume,) = (each for each in deployment["spec"]["template"]["spec"]["volumes"] if each["name"] == "token")
    assert set(volume) == {"name", "projected"}
    paths = [list(source.values())[0] for source in volume["projected"]["sources"]]
    files = {path["path"] if "path" in path else path["items"][0]["path"] for path in paths}
    assert files == {"token", "ca.crt", "namespace"} and volume["projected"]["defaultMode"] == 0o444


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_readme_s_own_example_can_be_laid_over_them(tmp_path, overlay):
    with open(os.path.join(DEPLOY, "README.md"), encoding="utf-8") as file:
        (example,) = re.findall(r"```yaml\n(.*?)```", file.read(), re.DOTALL)
    told = yaml.safe_load(example)
    told["resources"] = [os.path.relpath(os.path.join(DEPLOY, overlay), str(tmp_path))]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(told))
    documents = {document["kind"]: document for document in rendered(str(tmp_path))}
    (image,) = (each["image"] for each in documents["Deployment"]["spec"]["template"]["spec"]["containers"])
    assert image == "registry.example.org/cloudify-manager:18.9-persist"
    claim = documents["PersistentVolumeClaim"]
    assert (claim["metadata"]["namespace"], claim["spec"]["storageClassName"]) == ("cloudify", "fast")
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
