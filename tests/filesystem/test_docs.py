# SPDX-License-Identifier: Apache-2.0
"""The pages are true: docs/errors.md has every error, every command can be given, and the ways out of a trouble, run as they
stand there, lead out of it."""

import ast
import glob
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree

import pytest
import yaml

from module_utils.cm_persist.errors import PersistError
from module_utils.cm_persist.store import steps as store_steps
from module_utils.cm_persist.store.steps import Sync
from tests.site import read, run, write
from tests.tree import assert_same, read_tree
from tests.upgrades import upgraded

from .test_unfinished import SimulatedError, interrupt

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOLS = os.path.dirname(sys.executable)
PAGES = ["README.md", "CONTRIBUTING.md", "deploy/kubernetes/README.md"]
PAGES += sorted(os.path.relpath(path, ROOT) for path in glob.glob(os.path.join(ROOT, "docs", "*.md")))


def page(name):
    return read(os.path.join(ROOT, name))


# --- errors.md has every text, and no other ---

HOLE = "\0"  # stands for what is known only when the text is made; on the page that is a word in capitals, or nothing
LOGIC, VARIABLES = "module_utils/cm_persist/", "container/variables.py"
# The kernel's own errors as well, as those that this code makes up stand in a REASON.
KINDS = [node.name for node in ast.parse(page(LOGIC + "errors.py")).body if getattr(node, "name", "").endswith("Error")]
KINDS.append("UnusableError")
IN_OTHERS = ["OSError", "PermissionError"]
# What gives a text that is no literal, and no name of one: the kernel. Anything else fails the test.
MADE_BY = ("os.strerror(errno.ELOOP)", "os.strerror(errno.ENOSYS)", "os.strerror(number_of_error)")
# Functions that give a part of a text: all that they return is looked for.
PARTS = [
    ("original/links.py", "_traces"),
    ("store/store.py", "find_store"),
    *(("host/processes.py", name) for name in ("describe", "_uses", "_does", "_was_started_with")),
]


def texts_of(node, scope):
    """list of str: what an expression can give, what it is made of after it; [] where that is no text of this code."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, (ast.IfExp, ast.Tuple)):
        choices = node.elts if isinstance(node, ast.Tuple) else (node.body, node.orelse)
        return [text for each in choices for text in texts_of(each, scope)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = (texts_of(side, scope) for side in (node.left, node.right))
        return [one + other for one in left or [HOLE] for other in right or [HOLE]] if left or right else []
    if isinstance(node, ast.BinOp):  # %
        return [re.sub(r"%[sd]", HOLE, text) for text in texts_of(node.left, scope)]
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "format":
        made = [re.sub(r"\{[^{}]*\}", HOLE, text) for text in texts_of(node.func.value, scope)]
        return made + [text for each in node.args for text in texts_of(each, scope)]
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("join", "split"):  # " ".join(found.split())
        return texts_of(node.args[0] if node.args else node.func.value, scope)
    if isinstance(node, ast.Name) and scope is not None:
        return [text for name, value in assigned(scope) if name == node.id for text in texts_of(value, None)]
    return []


def assigned(scope):
    """Yield (name, expression) of what a function assigns."""
    for node in ast.walk(scope):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            several = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            for each, value in zip(target.elts, node.value.elts) if several else [(target, node.value)]:
                yield getattr(each, "id", None), value


def raised(source):
    """Yield (class, expression as it stands, list of texts) for the found of each error that a file (its text) makes."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for node in ast.walk(tree):
        kind = getattr(node.func, "id", getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""
        if kind in KINDS + IN_OTHERS and len(node.args) > 1:
            around = [each for each in functions if each.lineno <= node.lineno <= each.end_lineno]
            found = node.args[0 if kind == "UnusableError" else 1]
            yield kind, ast.unparse(found), texts_of(found, max(around, key=lambda each: each.lineno, default=None))


def parts_of(source, name):
    """list of str: the texts in what a function of a file (its text) returns."""
    (function,) = [node for node in ast.walk(ast.parse(source)) if getattr(node, "name", "") == name]
    nodes = [node for top in ast.walk(function) if isinstance(top, ast.Return) for node in ast.walk(top)]
    return [text for node in nodes if not isinstance(node, ast.Tuple) for text in texts_of(node, None) if "{" not in text]


def of_scripts():
    """Yield the texts with which container/play and container/entrypoint end."""
    for name in ("play", "entrypoint"):
        for text in re.findall(r'(?:\brefuse|say error failure) "([^"]*)', page("container/" + name)):
            yield re.sub(r"\$\(\([^)]*\)\)|\$\([^)]*\)?|\$\{[^}]*\}|\$\w+", HOLE, text)


def of_tasks(tasks):
    """Yield the sentences of ansible.builtin.fail in a list of tasks, and of the variables that they are made of."""
    for task in tasks:
        for key in ("block", "rescue", "always"):
            yield from of_tasks(task.get(key, ()))
        if "ansible.builtin.fail" in task:
            for text in (task["ansible.builtin.fail"]["msg"], *task.get("vars", {}).values()):
                yield from re.split(r"(?<=\.)\s+", re.sub(r"\{\{.*?\}\}", HOLE, text))
                choices = [each for hole in re.findall(r"\{\{.*?\}\}", text) for each in re.findall(r"'([^']*)'", hole)]
                yield from (each for each in choices if " " in each)


def expected():
    """Yield (text, whether it is all of an error, and not a part) of all that the page must have."""
    logic = sorted(glob.glob(LOGIC + "**/*.py", root_dir=ROOT, recursive=True))
    for file in [*logic, VARIABLES]:
        for kind, expression, texts in raised(page(file)):
            assert texts or expression in MADE_BY, "{}: what is {}?".format(file, expression)
            yield from ((text, not number and kind in KINDS) for number, text in enumerate(texts))
    others = [text for file, name in PARTS for text in parts_of(page(LOGIC + file), name)] + list(of_scripts())
    for path in sorted(glob.glob(os.path.join(ROOT, "roles/cm_persist/tasks/*.yml"))):
        others += of_tasks(yaml.safe_load(read(path)))
    yield from ((text, False) for text in others)


def is_in(text, whole, spans):
    """bool: whether a text is all of one of these spans of the page, but for where it was found; or, if it is a part, in one."""
    pattern = "[A-Z]*".join(re.escape(part) for part in re.split(HOLE + "+", " ".join(text.split())))
    pattern = r"([^ :]+: )?({})\Z".format(pattern) if whole else pattern
    return any((re.match if whole else re.search)(pattern, span) for span in spans)


def test_every_error_is_on_the_page_and_every_row_is_an_error():
    text = re.sub("(?s)```.*?```", "", page("docs/errors.md"))
    spans, rows = re.findall("`([^`]+)`", text.replace("\n", " ")), re.findall(r"(?m)^\| `([^`]+)`", text)
    wanted = [each for each in expected() if re.search("[a-z]{2}", each[0])]
    lacking = [found.replace(HOLE, "…") for found, whole in wanted if not is_in(found, whole, rows if whole else spans)]
    assert not lacking, "docs/errors.md lacks: " + "; ".join(lacking)
    stale = [row for row in rows if not any(is_in(found, whole, [row]) for found, whole in wanted)]
    assert not stale and len(rows) == len(set(rows)), "nothing says any more: " + "; ".join(stale)


# --- every command can be given ---

# Why a command of this name is not looked into: it is the system's, and needs what a test of a page does not have.
FILES = ["cat", "cp", "df", "du", "findmnt", "fuser", "ls", "mkdir", "mount", "mv", "rm", "umount"]
SYSTEM = dict.fromkeys(FILES, "many are run below")
SYSTEM.update({"podman": "scenarios run it", "systemctl": "a machine", "kubectl": "test_kubectl.py gives it"})
SYSTEM["ansible-galaxy"] = "needs a network; its file is looked for"
IN_IMAGE = "/opt/cm_persist/"


def commands():
    """Yield each line of the blocks of commands of all pages."""
    for block in (block for name in PAGES for block in re.findall(r"(?ms)^```sh\n(.*?)^```", page(name))):
        yield from (line for line in block.replace("\\\n", " ").splitlines() if line.strip() and line[0] != "#")


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_a_command_can_be_given(command):
    words = [word for word in shlex.split(command, comments=True) if word != "…"]
    name, arguments = words[0], words[1:]
    scripts = [word for word in words if word.startswith((IN_IMAGE, "container/"))]
    for script in scripts:
        inside = script.replace(IN_IMAGE, "")
        assert os.access(os.path.join(ROOT, inside), os.X_OK)
        if inside in ("container/play", "container/probe"):
            known = re.search(inside[10:] + r" ([a-z]+(?:\|[a-z]+)+)", page(inside))[1].split("|")
            (verb,) = [word for word in words[words.index(script) + 1 :] if word in known]
            assert inside == "container/probe" or os.path.exists(os.path.join(ROOT, "playbooks", verb + ".yml"))
    if name == "ansible-playbook":
        (book,) = [word for word in arguments if word.endswith(".yml") and word.startswith("playbooks/")]
        assert os.path.exists(os.path.join(ROOT, book)) and given(name, *arguments, "--syntax-check") == 0
    elif name == "ansible-doc":
        assert given(name, *arguments) == 0
    elif name == "make":
        assert all(re.search("(?m)^{}:".format(target), page("Makefile")) for target in arguments) and arguments
        assert given("make", "--dry-run", *arguments) == 0
    elif name == "kubectl" and arguments[:2] == ["apply", "--kustomize"]:
        top = os.path.join(ROOT, arguments[2])
        listed = yaml.safe_load(read(os.path.join(top, "kustomization.yaml")))["resources"]
        assert listed and all(os.path.exists(os.path.join(top, each)) for each in listed)
    elif name == "ansible-galaxy":
        assert os.path.exists(os.path.join(ROOT, arguments[-1]))
    else:
        assert name in SYSTEM or name in scripts, "no test knows this command"


def given(*command):
    """int: the exit status of a command."""
    environment = dict(os.environ, PATH=TOOLS + ":" + os.environ["PATH"], LC_ALL="C.UTF-8")
    return subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


def test_links_lead_somewhere():
    for name in PAGES:
        for target, anchor in re.findall(r"\]\((?!http)([^)#\s]*)(?:#([^)]+))?\)", page(name).replace("\n", " ")):
            path = os.path.join(os.path.dirname(name), target) if target else name
            assert os.path.exists(os.path.join(ROOT, path)), (name, target)
            if anchor:
                headings = [re.sub(r"[^\w -]", "", each).strip().lower() for each in re.findall("(?m)^#+ (.*)", page(path))]
                assert anchor in [each.replace(" ", "-") for each in headings], (name, anchor)


def test_the_diagram_is_small_and_plain():
    text = page("docs/how-it-works.svg")
    tags = {element.tag.rpartition("}")[2] for element in xml.etree.ElementTree.fromstring(text).iter()}
    assert len(text.encode()) < 15000 and {"text", "title", "desc"} < tags and not tags & {"script", "image", "foreignObject"}


# --- the ways out of a trouble, as they stand on the page ---


def follow(site, where, name):
    """str: what the commands behind a marker of a page say, with the site's places for those that the page names."""
    marked = r"(?ms)^<!-- test: {} -->\n```sh\n(.*?)^```".format(re.escape(name))
    (block,) = re.findall(marked, page("docs/{}.md".format(where)))
    places = {"/cfy-persist": site.store, "/var/lib/pgsql/9.5/data": site.path(), "/backup": site.top + "/backup"}
    block = re.sub(r"/cfy-persist|/var/lib/pgsql/9\.5/data|(?<!\w)/backup\b", lambda found: places[found[0]], block)
    given = {"cm_persist_store": site.store, "cm_persist_paths": [site.path()], "cm_persist_require_mount": False}
    given["cm_persist_lease"] = False  # which a process of this machine would keep
    os.makedirs(site.top + "/bin", exist_ok=True)
    shim = os.path.join(site.top, "bin", "ansible-playbook")
    write(shim, "#!/bin/sh\nexec {}/ansible-playbook \"$@\" -e '{}'\n".format(TOOLS, json.dumps(given)))
    os.chmod(shim, 0o755)
    environment = dict(os.environ, PATH=":".join([site.top + "/bin", TOOLS, os.environ["PATH"]]), LC_ALL="C.UTF-8")
    environment.update(ANSIBLE_CONFIG=os.path.join(ROOT, "ansible.cfg"), ANSIBLE_STDOUT_CALLBACK="cm_persist")
    return run("sh", "-e", "-c", block, cwd=ROOT, env=environment)


def refused(site):
    """str: how a start fails."""
    with pytest.raises(PersistError) as refusal:
        site.start()
    return str(refusal.value)


def is_well(site):
    """Whether the path leads to a whole copy of the original in the store, and a start finds nothing to do."""
    assert os.readlink(site.path()) == site.stored() and read(site.path("data/sub/two")) == "second"
    return not any(outcome.changed for outcome in site.start())


def tear(site):
    """What the earlier script leaves when it is killed: a part of a copy, and nobody who recorded it."""
    shutil.copytree(site.path(), site.stored(), symlinks=True)
    shutil.rmtree(site.stored("data/sub"))


def test_torn(site):
    tear(site)
    assert "nobody recorded" in site.seed(check_mode=True).warnings[0]
    assert "seeded, 3 files" in follow(site, "recovery", "torn") and is_well(site)
    assert read(site.store + "/.Trash-torn/data/one") == "first"


def test_torn_and_adopted(site):
    tear(site)
    site.start()
    assert not os.path.exists(site.path("data/sub"))
    assert "seeded, 3 files" in follow(site, "recovery", "torn-and-adopted") and is_well(site)


def test_emptied(site):
    site.start()
    shutil.rmtree(site.store)
    os.mkdir(site.store)
    assert "it is a link into the store, but the store has nothing" in refused(site)
    assert "seeded" in follow(site, "recovery", "emptied") and is_well(site)


def test_emptied_but_for_the_record(site):
    site.start()
    shutil.rmtree(site.stored())
    assert "but nothing is there" in refused(site)
    assert "seeded" in follow(site, "recovery", "emptied-but-for-the-record") and is_well(site)


@pytest.mark.root
def test_wrong_volume(site, mounts):
    site.start()
    os.unlink(site.path())
    os.rename(site.path("data-initial"), site.path())  # as in a new container
    os.mkdir(site.top + "/other")
    write(site.top + "/other/photos", "someone's")
    mounts("--bind", site.top + "/other", site.store)
    assert "no state path claims: photos" in refused(site)
    assert "photos" in follow(site, "recovery", "wrong-volume")
    assert "cm_persist: restart" in follow(site, "recovery", "right-volume") and is_well(site)
    assert os.listdir(site.top + "/other") == ["photos"]


def test_lost(site):
    site.start()
    write(site.path("data/row"), "written since")
    follow(site, "migration", "backup")
    shutil.rmtree(site.store)
    assert "does not exist" in refused(site)
    os.mkdir(site.store)
    assert "cm_persist: restart" in follow(site, "recovery", "lost") and is_well(site)
    assert read(site.path("data/row")) == "written since"


def test_killed(site, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, Sync)
        patch.setattr(store_steps.Run, "abandon", lambda _run: None)  # which a kill would not have let happen
        with pytest.raises(SimulatedError):
            site.seed()
    assert os.listdir(site.books + "/staging") and not os.path.lexists(site.stored())
    said = follow(site, "recovery", "killed")
    assert "remove what an earlier, interrupted run left" in said and "seeded, 3 files" in said and is_well(site)
    assert "staging" not in follow(site, "recovery", "killed-look")


def test_back_to_the_image(site):
    site.start()
    write(site.path("data/row"), "written since")
    said = follow(site, "recovery", "image")
    assert "cm_persist: first run" in said and is_well(site) and not os.path.exists(site.path("data/row"))
    assert read(site.store + "/.Trash-old/data/row") == "written since"


def test_back_after_a_merge(top):
    site = upgraded(top, "site")
    before = read_tree(site.stored())
    site.start_as(policy="merge")
    assert read_tree(site.stored()) != before
    assert "rolled back" in follow(site, "recovery", "rollback").splitlines()[-1] and read_tree(site.stored()) == before


def test_a_broken_record(site):
    site.start()
    write(site.books + "/record.json", "{")
    assert "the store's record is broken" in refused(site)
    assert "adopted as it is, 3 files" in follow(site, "recovery", "record") and is_well(site)


def test_full(site):
    site.start()
    os.makedirs(site.books + "/backups/data-0/1/tree")
    assert "cm_persist: restart" in follow(site, "recovery", "full") and not os.path.exists(site.books + "/backups")


def test_migration(site):
    """What the script has filled and linked on a machine is adopted; and back, to the script and off the volume."""
    shutil.copytree(site.path(), site.stored(), symlinks=True)
    os.rename(site.path(), site.path("data-initial"))
    os.symlink(site.stored(), site.path())
    write(site.path("data/row"), "written since")
    before = read_tree(site.stored())
    said = follow(site, "migration", "adopt")
    assert "would be adopted as it is, 4 files" in said and said.splitlines()[-1].startswith("cm_persist: restart")
    assert is_well(site)
    follow(site, "migration", "back-to-the-script")
    assert read_tree(site.stored()) == before and not os.path.exists(site.books) and os.path.islink(site.path())
    follow(site, "migration", "adopt")
    follow(site, "migration", "off")
    assert not os.path.islink(site.path())
    assert_same(site.stored(), site.path())


def test_every_marked_sequence_is_run():
    marked = {name for each in PAGES for name in re.findall(r"<!-- test: (\S+) -->", page(each))}
    assert marked == set(re.findall(r'follow\(site, "\w+", "([a-z-]+)"', read(os.path.abspath(__file__))))
