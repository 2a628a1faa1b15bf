"""Lock files to repositories: one a wheel, and hubs of aliases over them."""

def _normalise(name):
    """A distribution's name as labels spell it: lower case, underscores."""
    return name.lower().replace("-", "_").replace(".", "_")

def _parse(text):
    """Reads a lock that uv wrote with `--generate-hashes --annotation-style split`.

    Returns:
        {name: struct(version, hashes, wanted_by)}; `wanted_by` names the distributions that need it.
    """
    pins = {}
    name = None
    for line in text.split("\n"):
        word = line.strip()
        if "==" in word and line[:1] not in [" ", "#", ""]:
            spelled, _, version = word.rstrip(" \\").partition("==")
            name = _normalise(spelled.partition("[")[0])
            pins[name] = struct(version = version.partition(" ")[0], hashes = [], wanted_by = [])
        elif word.startswith("--hash="):
            pins[name].hashes.append(word[len("--hash="):].rstrip(" \\"))
        elif line.startswith("    #") and name:
            parent = word[1:].strip()
            if parent.startswith("via"):
                parent = parent[len("via"):].strip()
            if parent and not parent.startswith("-"):
                pins[name].wanted_by.append(_normalise(parent.partition("[")[0].partition(" ")[0]))
    for name, pin in pins.items():
        if not pin.hashes:
            fail("%s has no hash in the lock" % name)
    return pins

def _indexes(text):
    """{name: where the header says it is, if pip's own settings have no such place}."""
    found = {}
    for line in text.split("\n"):
        if line.startswith("# Index of "):
            name, _, address = line[len("# Index of "):].partition(": ")
            found[_normalise(name)] = address
    return found

def _closures(pins):
    """{name: every distribution it needs, itself first}."""
    needs = {name: [] for name in pins}
    for name, pin in pins.items():
        for parent in pin.wanted_by:
            if parent in needs:
                needs[parent].append(name)
    closures = {}
    for name in pins:
        closure = [name]
        seen = {name: True}
        for _ in range(len(pins)):
            grown = [need for have in closure for need in needs[have] if need not in seen]
            for need in grown:
                if need not in seen:
                    seen[need] = True
                    closure.append(need)
            if not grown:
                break
        closures[name] = closure
    return closures

def _repository(name, pin):
    # The same pin of two locks is one repository.
    return "pypi_%s_%s" % (name, pin.hashes[0].rpartition(":")[2][:8])

def _choose(values, several, refusal):
    """A BUILD expression: the value of the lock that the flag names, or the value where there is one lock."""
    if not several:
        return values.values()[0]
    branches = ["        \"//:%s\": %s,\n" % (lock, value) for lock, value in values.items()]
    return "select({\n%s    }, no_match_error = %r)" % ("".join(branches), refusal)

def _package(name, choices, several):
    """The BUILD file of one distribution of a hub.

    Args:
        name: the distribution, normalised.
        choices: {lock's name: the wheel repositories of the distribution's closure, its own first}.
        several: whether the hub has more than one lock.
    """
    refusal = "%s is not in the lock that is chosen" % name
    deps = {lock: repr(["@%s//:wheel" % wheel for wheel in wheels]) for lock, wheels in choices.items()}
    files = {lock: repr("@%s//:site-packages" % wheels[0]) for lock, wheels in choices.items()}
    return """\
load("@rules_python//python:py_library.bzl", "py_library")

package(default_visibility = ["//visibility:public"])

py_library(
    name = "pkg",
    deps = {deps},
)

alias(
    name = "{name}",
    actual = ":pkg",
)

alias(
    name = "data",
    actual = {files},
)
""".format(
        name = name,
        deps = _choose(deps, several, refusal),
        files = _choose(files, several, refusal),
    )

def _lock_repository_impl(rctx):
    wheels = {}
    hubs = {hub: {} for hub in rctx.attr.hubs}
    for label, use in rctx.attr.locks.items():
        hub, _, lock = use.partition(" ")
        text = rctx.read(label)
        pins, indexes = _parse(text), _indexes(text)
        repositories = {name: _repository(name, pin) for name, pin in pins.items()}
        for name, closure in _closures(pins).items():
            wheels[repositories[name]] = struct(
                name = name,
                pin = pins[name],
                index = indexes.get(name, ""),
            )
            hubs[hub].setdefault(name, {})[lock] = [repositories[need] for need in closure]

    lines = [
        "\"\"\"Made from the lock files.\"\"\"",
        "",
        "load(\"@retort//third_party/airgap/pypi:hub.bzl\", \"hub_repository\")",
        "load(\"@retort//third_party/airgap/pypi:wheel.bzl\", \"wheel_repository\")",
        "",
        "def install_wheels():",
    ]
    for repository, wheel in sorted(wheels.items()):
        lines.append("    wheel_repository(name = %r, distribution = %r, version = %r, hashes = %r, index = %r)" % (
            repository,
            wheel.name,
            wheel.pin.version,
            wheel.pin.hashes,
            wheel.index,
        ))
    for hub, packages in hubs.items():
        locks = [use.partition(" ")[2] for use in rctx.attr.locks.values() if use.startswith(hub + " ")]
        builds = {name: _package(name, choices, len(locks) > 1) for name, choices in packages.items()}
        lines.append("    hub_repository(name = %r, locks = %r, packages = %r)" % (hub, locks, builds))
    rctx.file("wheels.bzl", "\n".join(lines) + "\n", executable = False)
    rctx.file("BUILD.bazel", "", executable = False)

lock_repository = repository_rule(
    implementation = _lock_repository_impl,
    attrs = {
        "hubs": attr.string_list(
            doc = "The repositories of aliases to offer.",
            mandatory = True,
        ),
        "locks": attr.label_keyed_string_dict(
            doc = "Lock file to 'HUB LOCK'; of several locks in one hub, a flag chooses.",
            mandatory = True,
        ),
    },
    doc = "Reads the locks and writes `install_wheels()`, which declares a lazy repository a wheel.",
)
