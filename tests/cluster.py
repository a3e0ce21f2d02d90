# SPDX-License-Identifier: Apache-2.0
"""A stand-in for a cluster, as none can run here: the part of the Kubernetes API that kubectl needs to apply and to scale.

It keeps what it is sent and runs nothing. That fields are valid is left to the schemas in tests/unit/test_manifests.py.
"""

import http.server
import json
import threading

KINDS = {
    "api/v1": {
        "ConfigMap": "configmaps",
        "PersistentVolumeClaim": "persistentvolumeclaims",
        "Secret": "secrets",
        "Service": "services",
        "ServiceAccount": "serviceaccounts",
    },
    "apis/apps/v1": {"Deployment": "deployments"},
}
APPS = {"groupVersion": "apps/v1", "version": "v1"}


class Cluster(http.server.ThreadingHTTPServer):
    """A context in which kubectl finds it at url; objects has what was applied, by its path."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects = {}
        self.url = "http://127.0.0.1:{}".format(self.server_port)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_unused):
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    def _do(self):
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0].strip("/")
        answer = self._change(path, json.loads(sent)) if sent else _discovery(path) or self.server.objects.get(path)
        if answer is None and path.endswith("/scale"):
            answer = _scale(self.server.objects.get(path[: -len("/scale")]))
        self.send_response(200 if answer else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer or {"kind": "Status", "status": "Failure", "reason": "NotFound"}).encode())

    do_GET = do_POST = do_PATCH = _do  # noqa: N815  names of the library

    def _change(self, path, sent):
        objects = self.server.objects
        if self.command == "POST":
            return objects.setdefault(path + "/" + sent["metadata"]["name"], sent)
        known = objects[path[: -len("/scale")] if path.endswith("/scale") else path]
        _merge(known, sent)
        return _scale(known) if path.endswith("/scale") else known

    def log_message(self, *_unused):
        """Say nothing."""


def _merge(known, sent):
    """Put what was sent into what is known; lists are replaced."""
    for key, value in sent.items():
        if isinstance(value, dict):
            _merge(known.setdefault(key, {}), value)
        else:
            known[key] = value


def _scale(known):
    return known and dict(known, kind="Scale", apiVersion="autoscaling/v1", spec={"replicas": known["spec"]["replicas"]})


def _discovery(path):
    """dict: what a cluster says of itself at a path; None where that is no such path."""
    if path in KINDS:
        verbs = {"namespaced": True, "verbs": ["get", "create", "patch"]}
        resources = [dict(verbs, name=name, kind=kind) for kind, name in KINDS[path].items()]
        if "Deployment" in KINDS[path]:
            resources.append(dict(verbs, name="deployments/scale", kind="Scale", group="autoscaling", version="v1"))
        return {"kind": "APIResourceList", "groupVersion": path.partition("/")[2], "resources": resources}
    if path.startswith("openapi/v3/"):
        *group, version = path[len("openapi/v3/") :].split("/")[1:]
        patches = [{"group": "".join(group), "version": version, "kind": kind} for kind in KINDS[path[len("openapi/v3/") :]]]
        validates = [{"name": "fieldValidation", "in": "query"}]  # the cluster does, so kubectl need not
        paths = {
            "/" + each["kind"]: {"patch": {"x-kubernetes-group-version-kind": each, "parameters": validates}} for each in patches
        }
        return {"openapi": "3.0.0", "info": {"title": "stand-in", "version": "1"}, "paths": paths}
    return {
        "version": {"major": "1", "minor": "32"},
        "api": {"kind": "APIVersions", "versions": ["v1"]},
        "apis": {"kind": "APIGroupList", "groups": [{"name": "apps", "versions": [APPS], "preferredVersion": APPS}]},
        "openapi/v3": {"paths": {group: {"serverRelativeURL": "/openapi/v3/" + group} for group in KINDS}},
    }.get(path)
