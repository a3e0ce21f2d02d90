# SPDX-License-Identifier: Apache-2.0
"""What the pages say to kubectl, said to it as it stands there. The cluster is a stand-in: tests/cluster.py says for what."""

import json
import os
import re
import shlex
import shutil
import subprocess

import pytest

from tests.cluster import Cluster

from .test_docs import PAGES, ROOT, page

NAME = "cloudify-manager"
DEPLOYMENT = "apis/apps/v1/namespaces/default/deployments/" + NAME
# They look into a running pod, which a stand-in does not have.
POD = ("kubectl describe pod", "kubectl exec", "kubectl get pods --all-namespaces --output wide")


@pytest.fixture
def kubectl(tmp_path):
    """A function that gives a command line to kubectl, and what it says; its cluster has no object yet."""
    binary = shutil.which("kubectl")
    if binary is None:
        pytest.skip("no kubectl on this machine")
    said = subprocess.run([binary, "version", "--client", "--output=json"], stdout=subprocess.PIPE, check=True).stdout
    if int(re.match(r"\d+", json.loads(said)["clientVersion"]["minor"])[0]) < 27:
        pytest.skip("no kubectl of 1.27 or later on this machine, which asks as the stand-in answers")
    with Cluster() as cluster:

        def give(command):
            words = [binary, "--server", cluster.url, *shlex.split(command.replace("NAME", NAME))[1:]]
            environment = dict(os.environ, HOME=str(tmp_path), KUBECONFIG=str(tmp_path / "none"))
            done = subprocess.run(
                words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
            )
            assert done.returncode == 0, done.stdout
            return done.stdout

        yield give, cluster.objects


def commands():
    """list of str: each command to kubectl of all pages, in blocks and within sentences."""
    text = "\n".join(page(name) for name in PAGES)
    return list(dict.fromkeys(" ".join(each.split()) for each in re.findall(r"(?m)(?:^ *|`)(kubectl [a-z][^`#\n]+)", text)))


def test_apply_and_scale(kubectl):
    give, objects = kubectl
    (apply,) = [command for command in commands() if command.startswith("kubectl apply ")]
    (scale,) = [command for command in commands() if command.startswith("kubectl scale ")]
    (restart,) = [command for command in commands() if command.startswith("kubectl rollout restart ")]
    assert "deployment.apps/{} created".format(NAME) in give(apply) and objects[DEPLOYMENT]["spec"]["replicas"] == 1
    assert "scaled" in give(scale) and objects[DEPLOYMENT]["spec"]["replicas"] == 0
    # The one after the other, as the migration has it.
    assert "deployment.apps/{} configured".format(NAME) in give(apply) and objects[DEPLOYMENT]["spec"]["replicas"] == 1
    assert "restarted" in give(restart) and "restartedAt" in json.dumps(objects[DEPLOYMENT]["spec"]["template"]["metadata"])


def test_no_other_command_is_passed_over():
    known = ("kubectl apply ", "kubectl scale ", "kubectl rollout restart ", *POD)
    assert [each for each in commands() if not each.startswith(known)] == []
