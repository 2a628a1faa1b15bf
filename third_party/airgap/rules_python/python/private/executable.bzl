"""Programs: a launcher, a list of import roots, and a virtual environment made of both in the runfiles.

The environment is an ordinary one (PEP 405): `bin/python3`, `pyvenv.cfg` and a `.pth` file that names, by
relative paths, exactly the import roots of the declared dependencies. `sys.executable` is its interpreter, so
every child process (torchrun's workers, multiprocessing's spawn) sees the same packages and no others.
"""

load(":attributes.bzl", "COMMON_ATTRIBUTES", "collect")
load(":paths.bzl", "runfiles_path")

_SITE_PACKAGES = "lib/python3.11/site-packages"

def _main_file(ctx):
    if ctx.file.main:
        return ctx.file.main
    named = [file for file in ctx.files.srcs if file.basename == ctx.label.name + ".py"]
    if len(named) != 1:
        fail("%s: say which file is `main`" % ctx.label)
    return named[0]

def _program(ctx):
    info, runfiles = collect(ctx)
    main = _main_file(ctx)

    package = "%s/" % ctx.label.package if ctx.label.package else ""
    environment = "%s_%s.venv" % (package, ctx.label.name)

    # Runfiles symlinks lie under the folder of the main repository.
    site_packages = "%s/%s" % (environment, _SITE_PACKAGES)
    up = "../" * (len(site_packages.split("/")) + 1)
    roots = ctx.actions.declare_file("_%s.pth" % ctx.label.name)
    ctx.actions.write(roots, "".join([up + root + "\n" for root in info.imports.to_list()]))

    launcher = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.expand_template(
        template = ctx.file._launcher,
        output = launcher,
        substitutions = {
            "%environment%": "%s/%s" % (ctx.workspace_name, environment),
            "%interpreter_args%": " ".join(ctx.attr.interpreter_args),
            "%main%": runfiles_path(ctx, main),
        },
        is_executable = True,
    )
    runfiles = runfiles.merge(ctx.runfiles(
        files = [main, ctx.file._identity],
        symlinks = {
            environment + "/bin/python3": ctx.file._interpreter,
            environment + "/pyvenv.cfg": ctx.file._pyvenv,
            site_packages + "/declared.pth": roots,
        },
    ))
    return [
        DefaultInfo(executable = launcher, files = depset([launcher, roots]), runfiles = runfiles),
        info,
    ]

def _py_binary_impl(ctx):
    return _program(ctx)

def _py_test_impl(ctx):
    return _program(ctx) + [testing.TestEnvironment(ctx.attr.env)]

_ATTRIBUTES = dict(
    COMMON_ATTRIBUTES,
    interpreter_args = attr.string_list(doc = "Flags of the interpreter, before the program."),
    main = attr.label(
        allow_single_file = [".py"],
        doc = "The file to run; by default the source named like the target.",
    ),
    _identity = attr.label(
        allow_single_file = True,
        default = "@python_interpreter//:interpreter.json",
    ),
    _interpreter = attr.label(
        allow_single_file = True,
        default = "@python_interpreter//:bin/python3",
    ),
    _launcher = attr.label(
        allow_single_file = True,
        default = ":launcher.sh",
    ),
    _pyvenv = attr.label(
        allow_single_file = True,
        default = "@python_interpreter//:pyvenv.cfg",
    ),
)

py_binary = rule(
    implementation = _py_binary_impl,
    attrs = _ATTRIBUTES,
    doc = "A Python program that sees the packages it declares and the standard library.",
    executable = True,
)

py_test = rule(
    implementation = _py_test_impl,
    attrs = dict(
        _ATTRIBUTES,
        env = attr.string_dict(doc = "Environment variables of the test."),
    ),
    doc = "A py_binary that is a test.",
    test = True,
)
