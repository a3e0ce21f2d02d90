# SPDX-License-Identifier: Apache-2.0
"""What is declared in several places is the same in each, and the logic needs nothing but Python."""

import ast
import glob
import os
import subprocess
import sys

import pytest
import yaml

from module_utils.cm_persist.link import link
from module_utils.cm_persist.report import audit, status
from module_utils.cm_persist.secret import secret
from module_utils.cm_persist.seed import seed

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LOGIC = os.path.join(ROOT, "module_utils", "cm_persist")
MODULES = {
    "persist_seed": seed.Settings, "persist_link": link.Settings, "secret_link": secret.Settings,
    "persist_info": status.Settings, "persist_audit": audit.Settings,
}  # fmt: skip
LOOKING = ("persist_info", "persist_audit")  # these change nothing, ever
# entry point of the role: (module, prefix of its variables, options they are passed to, options with a fixed value)
SEED = ["store", "paths", "require_mount", "required", "missing", "allow_foreign", "lease", "lease_timeout", "lease_holder"]
SEED += ["image", "backups", "allow_downgrade", "method"]
LINK = ["store", "paths", "require_mount", "method"]
LOOK = ["store", "paths", "require_mount"]
ROLE = [
    ("main", "persist_seed", "cm_persist_", SEED, {}),
    ("main", "persist_link", "cm_persist_", LINK, {}),
    ("restore", "persist_link", "cm_persist_", [*LINK, "restore"], {"state": "unlinked"}),
    ("rollback", "persist_seed", "cm_persist_", ["store", "paths", "require_mount", "backups"], {"state": "rolled_back"}),
    ("status", "persist_info", "cm_persist_", LOOK + ["image"], {"verify": "{{ __cm_persist_verify | default(false) }}"}),
    ("audit", "persist_audit", "cm_persist_", LOOK, {}),
    ("secret", "secret_link", "cm_persist_secret_", ["source", "target", "required", "user"], {}),
]


def load(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return yaml.safe_load(file)


def parse(path):
    with open(path, encoding="utf-8") as file:
        return ast.parse(file.read())


def imports(tree):
    """Yield (level, top name) of each import in a file, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, (node.module or "").split(".")[0]


class Declared:
    """The parts of a module's file, read without importing it."""

    def __init__(self, name):
        tree = parse(os.path.join(ROOT, "library", name + ".py"))
        texts = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        }
        self.documentation, self.examples, self.returned = (
            yaml.safe_load(texts[key]) for key in ("DOCUMENTATION", "EXAMPLES", "RETURN")
        )
        call = next(
            node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "AnsibleModule"
        )
        self.spec = ast.literal_eval(next(word.value for word in call.keywords if word.arg == "argument_spec"))
        self.check_mode = ast.literal_eval(next(word.value for word in call.keywords if word.arg == "supports_check_mode"))


@pytest.fixture(params=sorted(MODULES))
def module(request):
    return request.param


@pytest.mark.parametrize("path", sorted(glob.glob(LOGIC + "/**/*.py", recursive=True)), ids=lambda path: path[len(LOGIC) + 1 :])
def test_the_logic_imports_nothing_but_itself_and_the_standard_library(path):
    names = {top for level, top in imports(parse(path)) if not level}
    assert names <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", sorted(glob.glob(LOGIC + "/**/*.py", recursive=True)), ids=lambda path: path[len(LOGIC) + 1 :])
def test_public_methods_say_what_they_give_but_for_those_that_every_step_has(path):
    """In the place of ruff's D102, which knows no exception by name."""
    classes = [node for node in parse(path).body if isinstance(node, ast.ClassDef) and node.name[0] != "_"]
    methods = [(each.name, node) for each in classes for node in each.body if isinstance(node, ast.FunctionDef)]
    silent = {(kind, node.name) for kind, node in methods if node.name[0] != "_" and not ast.get_docstring(node)}
    assert {each for each in silent if each[1] not in ("describe", "execute")} <= {("DirectoryStack", "note")}


def test_the_logic_can_be_imported_where_there_is_no_ansible():
    code = "import sys; sys.path.insert(0, {!r}); import module_utils.cm_persist.{} as m; assert 'ansible' not in sys.modules"
    for name in ("seed.seed", "link.link", "secret.secret", "report.status", "report.audit"):
        subprocess.run([sys.executable, "-I", "-S", "-c", code.format(ROOT, name)], check=True)


def test_modules_import_the_logic_by_the_form_that_works_everywhere(module):
    levels = {level for level, top in imports(parse(os.path.join(ROOT, "library", module + ".py"))) if top == "module_utils"}
    assert levels == {2}


def test_documented_options_are_the_argument_spec(module):
    declared = Declared(module)
    kept = ("type", "default", "choices", "required", "elements")
    documented = {
        name: {key: option[key] for key in kept if key in option} for name, option in declared.documentation["options"].items()
    }
    assert documented == declared.spec
    assert all(option["description"] for option in declared.documentation["options"].values())


def test_every_option_has_its_place_in_the_logic(module):
    settings, spec = MODULES[module], Declared(module).spec
    assert set(settings._fields) - {"root"} == set(spec)  # of the audit: a test's
    defaults = dict(zip(reversed(settings._fields), reversed(settings.__new__.__defaults__)))
    for name, option in spec.items():
        if name in defaults:
            default = tuple(option["default"]) if isinstance(option["default"], list) else option["default"]
            assert default == defaults[name]


def test_check_mode_and_diff_are_supported_and_declared(module):
    declared = Declared(module)
    assert declared.check_mode is True
    attributes = declared.documentation["attributes"]
    found = {name: attributes[name]["support"] for name in ("check_mode", "diff_mode", "idempotent")}
    diff = "none" if module in LOOKING else "full"
    assert found == {"check_mode": "full", "diff_mode": diff, "idempotent": "full"}


def test_documentation_is_complete(module):
    declared = Declared(module)
    assert declared.documentation["module"] == module and declared.documentation["short_description"]
    assert all(value["description"] and value["type"] and value["returned"] for value in declared.returned.values())


def test_examples_use_the_module_with_options_that_it_has(module):
    declared = Declared(module)
    examples = [task for task in declared.examples if "ansible.builtin.debug" not in task]
    assert examples
    for task in examples:
        assert task["name"] and set(task) - {"register"} == {"name", module}
        assert set(task[module] or {}) <= set(declared.spec)


def test_what_is_returned_is_documented(module):
    documented = set(Declared(module).returned) | {"changed", "msg", "diff", "warnings"}
    own = {"secret_link": secret.SecretOutcome, "persist_info": status.Info, "persist_audit": audit.Audit}
    outcome = own.get(module, seed.Outcome)
    assert (set(outcome._fields) - {"message"}) | {"where", "hint"} <= documented


def test_role_defaults_are_the_argument_specs():
    specs = load("roles", "cm_persist", "meta", "argument_specs.yml")["argument_specs"]
    declared = {name: option["default"] for spec in specs.values() for name, option in spec["options"].items()}
    assert declared == load("roles", "cm_persist", "defaults", "main.yml")
    assert all(name.startswith("cm_persist_") for name in declared)


@pytest.mark.parametrize(("entry", "name", "prefix", "passed", "fixed"), ROLE)
def test_the_role_passes_its_variables_on_with_the_modules_types(entry, name, prefix, passed, fixed):
    options = load("roles", "cm_persist", "meta", "argument_specs.yml")["argument_specs"][entry]["options"]
    (task,) = (task for task in load("roles", "cm_persist", "tasks", entry + ".yml") if name in task)
    assert task[name] == dict({option: "{{ " + prefix + option + " }}" for option in passed}, **fixed)
    spec = Declared(name).spec
    for option in passed:
        declared = options[prefix + option]
        for key in ("type", "choices", "elements"):
            assert declared.get(key) == spec[option].get(key)
        if "default" in spec[option]:
            assert declared["default"] == spec[option]["default"]


def test_what_the_entry_points_share_they_declare_alike():
    specs = load("roles", "cm_persist", "meta", "argument_specs.yml")["argument_specs"]
    for name, option in {**specs["restore"]["options"], **specs["rollback"]["options"]}.items():
        assert name in ("cm_persist_restore", "cm_persist_backups") or option == specs["main"]["options"][name]


def test_the_role_offers_the_contract():
    offered = set(load("roles", "cm_persist", "defaults", "main.yml"))
    promised = "store paths require_mount required missing allow_foreign method secret_source secret_target secret_required"
    assert {"cm_persist_" + name for name in promised.split()} <= offered
