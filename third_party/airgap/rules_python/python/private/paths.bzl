"""Where files and import roots lie under a runfiles root."""

def runfiles_path(ctx, file):
    """The path of a file relative to the runfiles root, which holds one folder a repository."""
    if file.short_path.startswith("../"):
        return file.short_path[len("../"):]
    return ctx.workspace_name + "/" + file.short_path

def import_roots(ctx):
    """The `imports` of a target, made relative to the runfiles root.

    Args:
        ctx: of a rule with the attribute `imports`.
    Returns:
        A list of paths without `..`.
    """
    base = [ctx.label.workspace_name or ctx.workspace_name]
    if ctx.label.package:
        base += ctx.label.package.split("/")
    roots = []
    for entry in ctx.attr.imports:
        parts = list(base)
        for step in entry.split("/"):
            if step == "..":
                parts.pop()
            elif step not in ["", "."]:
                parts.append(step)
        if not parts:
            fail("imports: %r leaves the runfiles root" % entry)
        roots.append("/".join(parts))
    return roots
