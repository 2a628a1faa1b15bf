"""Controllers: what makes objects true, over one registry, in one thread.

`retort.launch.cluster.controllers.controllers.Controllers(registry, node, claims)` starts all of them
and `close()` ends them. `Node` says what there is to give: the scheduler gives its name to pods that
fit, and whoever runs them acts on pods with that `spec.nodeName` and alone writes their status from
then on. A claim is a folder `claims/NAMESPACE/NAME`, made before the claim is Bound.

Every controller is a pure function from what there is to an `Outcome`
(`retort.launch.cluster.controllers.frame.outcome`), and a few lines that read and act.
"""
